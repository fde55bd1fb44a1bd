// Where everything in the graph is: a row for each operator in the order in which they run, a lane for each device. Linear time.

const MOST_RAILS = 10;

// A row is an input, an operator, or an output of the model. One that copies is in two lanes, all others in one.
function makeRows(data) {
  const laneOf = (value) => Math.max(data.devices.indexOf(data.values[value][1]), 0);
  const rows = data.inputs.map(([name, value]) => ({
    kind: "input", title: "input", name, source: "", step: -1, inputs: [], outputs: [value], text: "", lane: laneOf(value),
  }));
  data.operators.forEach(([kind, name, title, source, step, inputs, outputs, text], operator) => {
    const lane = laneOf(kind === "copy" && inputs.length ? inputs[0] : outputs.length ? outputs[0] : 0);
    const row = { kind, title, name, source, step, inputs, outputs, text, lane, operator };
    if (kind === "copy" && outputs.length) row.to = laneOf(outputs[0]);
    rows.push(row);
  });
  for (const [name, value] of data.outputs) {
    rows.push({ kind: "output", title: "output", name, source: "", step: -1, inputs: [value], outputs: [], text: "", lane: laneOf(value) });
  }
  rows.forEach((row, index) => (row.row = index));
  return rows;
}

// Who makes and who reads each value, by row.
function makeUses(data, rows) {
  const uses = data.values.map(() => ({ maker: -1, readers: [] }));
  for (const row of rows) {
    row.outputs.forEach((value) => (uses[value].maker = row.row));
    row.inputs.forEach((value) => uses[value].readers.push(row.row));
  }
  return uses;
}

// The lines within lanes. A value that the next row in its lane reads goes straight down; to later readers it goes on a rail at
// the side, which it has for itself from its maker to its last reader.
function makeLines(data, rows, uses) {
  const before = rows.map(() => ({}));
  const last = {};
  for (const row of rows) {
    for (const lane of row.to === undefined ? [row.lane] : [row.lane, row.to]) {
      before[row.row][lane] = last[lane] ?? -1;
      last[lane] = row.row;
    }
  }
  const lines = [];
  const taken = data.devices.map(() => []);
  const order = uses.map((use, value) => [use, value]).filter(([use]) => use.maker >= 0 && use.readers.length);
  order.sort(([one], [other]) => one.maker - other.maker);
  for (const [{ maker, readers }, value] of order) {
    const lane = rows[maker].to ?? rows[maker].lane;
    const next = before[readers[0]][lane] === maker ? readers[0] : -1;
    if (next >= 0) lines.push({ value, lane, from: maker, to: next, rail: -1, taps: [next] });
    const taps = next >= 0 ? readers.slice(1) : readers;
    if (!taps.length) continue;
    const rails = taken[lane];
    let rail = rails.findIndex((end) => end <= maker);
    if (rail < 0) rail = Math.min(rails.length, MOST_RAILS - 1);
    rails[rail] = Math.max(rails[rail] ?? 0, taps[taps.length - 1]);
    lines.push({ value, lane, from: maker, to: taps[taps.length - 1], rail, taps });
  }
  lines.sort((one, other) => one.from - other.from);
  return { lines, rails: taken.map((rails) => rails.length) };
}

function makeLayout(data) {
  const rows = makeRows(data);
  const uses = makeUses(data, rows);
  return { rows, uses, ...makeLines(data, rows, uses) };
}
