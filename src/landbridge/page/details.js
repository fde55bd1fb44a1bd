// What is known of the selected operator, and what the shapes in the graph mean.

class Details {
  constructor(data, graph, place) {
    Object.assign(this, { data, graph, place });
    this.show(-1);
  }

  show(row) {
    const found = row >= 0 ? this.facts(this.graph.rows[row]) : [element("h2", {}, "Nothing selected"), element("p", { class: "plain" },
      "Click an operator, or press ↓ in the graph: its name in the model, its shapes, and its text in the IR stand here.")];
    this.place.replaceChildren(...found, this.legend());
    this.place.scrollTop = 0;
  }

  facts(row) {
    const device = row.to === undefined ? this.data.devices[row.lane] : `${this.data.devices[row.lane]} → ${this.data.devices[row.to]}`;
    const facts = [["name", row.name], ["kind", KINDS[row.kind]]];
    if (row.source) facts.push(["node", row.source]);
    facts.push(["device", device]);
    if (row.step >= 0) facts.push(["step", `${row.step} of the plan (${this.data.steps[row.step][0]})`]);
    else if (row.operator !== undefined) facts.push(["step", row.kind === "copy" ? "none: both sides share the memory" : "none of its own"]);
    const list = element("dl", {}, ...facts.flatMap(([label, text]) => [element("dt", {}, label), element("dd", {}, text)]));
    const made = [element("h2", {}, row.title), list];
    made.push(...this.why(row));
    made.push(...this.values("reads", row.inputs, (value) => [this.graph.uses[value].maker]));
    made.push(...this.values("makes", row.outputs, (value) => this.graph.uses[value].readers));
    if (row.text) made.push(element("h3", {}, row.operator !== undefined && row.text.startsWith("R.") ? "in the IR" : "operators"), element("pre", {}, row.text));
    return made;
  }

  // What the report says of a crossing or a conversion.
  why(row) {
    const table = this.data.tables.find((one) => one.name === { copy: "crossings", cast: "casts" }[row.kind]);
    const at = table ? table.operators.indexOf(row.operator) : -1;
    if (at < 0) return [];
    const cell = (name) => table.rows[at][table.columns.findIndex(([head]) => head === name)];
    const made = [element("h3", {}, "why"), element("p", { style: "margin:0" }, cell("why"))];
    if (cell("what would spare it")) made.push(element("h3", {}, "what would spare it"), element("p", { style: "margin:0" }, cell("what would spare it")));
    return made;
  }

  values(label, values, ends) {
    if (!values.length) return [];
    const items = values.map((value) => {
      const [name, device, dtype, shape] = this.data.values[value];
      const others = ends(value).filter((row) => row >= 0);
      const links = others.slice(0, 12).flatMap((row) => [" ", this.link(row)]);
      if (others.length > 12) links.push(` and ${others.length - 12} more`);
      const arrow = label === "reads" ? " ←" : " →";
      return element("li", {}, `${name}: ${dtype} ${formatShape(shape)} on ${device}`, ...(links.length ? [element("br"), arrow, ...links] : []));
    });
    return [element("h3", {}, label), element("ul", {}, ...items)];
  }

  link(row) {
    const { title, name } = this.graph.rows[row];
    return element("button", { class: "link", onclick: () => this.graph.select(row) }, title === name ? name : `${title} ${name}`);
  }

  legend() {
    const items = LEGEND.map(([kind, text]) => {
      const canvas = element("canvas", { width: 52, height: 22, "aria-hidden": "true" });
      drawSwatch(canvas.getContext("2d"), kind);
      return element("div", {}, canvas, text);
    });
    return element("div", { class: "legend" }, element("h3", {}, "shapes"), ...items);
  }
}

const LEGEND = [
  ["host", "operator on the CPU"], ["cast", "conversion of the element type"], ["view", "another shape, no work"],
  ["extern", "offline model or fallback region"], ["copy", "crossing"], ["shared", "crossing in shared memory"],
];

const KINDS = {
  input: "input of the model", output: "output of the model", host: "operator on the CPU", view: "another shape of the same bytes",
  cast: "conversion of the element type", copy: "crossing", extern: "offline model",
};

function drawSwatch(context, kind) {
  const palette = colours();
  context.strokeStyle = context.fillStyle = palette.ink;
  if (kind === "copy" || kind === "shared") {
    context.setLineDash(kind === "shared" ? [4, 3] : []);
    line(context, [4, 8], [42, 8]);
    line(context, [4, 14], [42, 14]);
    context.setLineDash([]);
    if (kind === "copy") for (let x = 12; x < 40; x += 8) line(context, [x, 8], [x, 14]);
    arrow(context, 50, 11, 1, 0);
    return;
  }
  context.beginPath();
  context.roundRect(3, 3, 44, 16, 4);
  context.fillStyle = kind === "extern" ? palette.solid : kind === "cast" ? palette.cast : palette.paper;
  context.fill();
  context.setLineDash(kind === "view" ? [3, 3] : []);
  context.stroke();
}
