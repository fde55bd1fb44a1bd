// Put the page together.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (name) => document.getElementById(name);
Object.assign(extents, data.extents);

function openOperator(operator) {
  const row = graph.rows.find((one) => one.operator === operator);
  if (row) openRow(row.row);
}

function openRow(row) {
  openTab("graph");
graph.begin();
  graph.select(row);
  byId("graph-canvas").focus();
}

function openBuffer(name, device) {
  const row = graph.rows.find((one) => one.outputs.some((value) => data.values[value][0] === name && data.values[value][1] === device));
  if (row) openRow(row.row);
}

function openStep(step) {
  const row = graph.rows.find((one) => one.step === step);
  if (row) openRow(row.row);
}

const graph = new Graph(data, byId("graph-canvas"), byId("overview"), (row) => {
  details.show(row);
  const told = row >= 0 ? graph.rows[row] : null;
  byId("status").textContent = told ? `${told.title} ${told.name}, row ${row + 1} of ${graph.rows.length}` : "nothing selected";
});
const details = new Details(data, graph, byId("details"));
const memory = new MemoryMap(data, byId("arenas"), openBuffer);
const timeline = new Timeline(data, byId("lanes"), openStep);
const tables = data.tables.map((table) => new Table(table, openOperator));
byId("tables").replaceChildren(...tables.map((table) => table.section), aboutArtifact());

function aboutArtifact() {
  const facts = [["model", data.model], ["compiled for", data.target], ["made by", data.producer], ["digest", data.digest && `sha256:${data.digest}`]];
  const told = facts.filter(([, text]) => text).flatMap(([label, text]) => [element("dt", {}, label), element("dd", {}, text)]);
  return element("section", { id: "table-artifact" }, element("h2", {}, "Artifact"), element("dl", {}, ...told));
}

function drawAll() {
  for (const part of [graph, memory, timeline]) part.draw();
}

// ---- the head: what it comes to, and the extents

function tellFacts() {
  const { crossings, minimum, run_nbytes, casts, fallbacks } = data.totals;
  const counted = (count, what) => [formatNumber(count), count === 1 ? what : `${what}s`];
  const [crossed, crossing] = counted(crossings, "crossing");
  const facts = [
    counted(data.operators.length, "operator"), [crossed, `${crossing} (least possible: ${minimum})`],
    [formatBytes(evaluate(run_nbytes)), "cross in a run"], counted(casts, "conversion"), [formatNumber(fallbacks), "not native"],
  ];
  byId("facts").replaceChildren(...facts.flatMap(([number, label], index) => [index ? " · " : "", element("b", {}, number), ` ${label}`]));
}

function setExtent(name, text) {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0 || text === "") return;
  extents[name] = number;
  tellFacts();
  tables.forEach((table) => table.draw());
  details.show(graph.selected);
  drawAll();
}

byId("extents").addEventListener("submit", (event) => event.preventDefault());
byId("extents").replaceChildren(...data.dims.map((name) => element("label", {}, `${name} = `,
  element("input", { type: "number", min: 0, step: 1, value: data.extents[name], id: `extent-${name}`, oninput: (event) => setExtent(name, event.target.value) }))));
tellFacts();

// ---- tabs

const tabs = [...document.querySelectorAll("[role=tab]")];

function openTab(name) {
  for (const tab of tabs) {
    const open = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", `${open}`);
    tab.tabIndex = open ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !open;
  }
  drawAll();
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => openTab(tab.getAttribute("aria-controls")));
  tab.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = tabs[(index + by + tabs.length) % tabs.length];
    openTab(next.getAttribute("aria-controls"));
    next.focus();
  });
}

// ---- search

const search = byId("search");
let found = [];
let at = -1;

function find() {
  graph.find(search.value);
  found = [...graph.matches];
  at = -1;
  byId("matches").textContent = search.value.trim() ? `${formatNumber(found.length)} found` : "";
  graph.draw();
}

function step(by) {
  if (!found.length) return;
  at = at < 0 ? (by > 0 ? 0 : found.length - 1) : (at + by + found.length) % found.length;
  byId("matches").textContent = `${formatNumber(at + 1)} of ${formatNumber(found.length)}`;
  graph.select(found[at]);
}

search.addEventListener("input", find);
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
  if (event.key === "ArrowDown") byId("graph-canvas").focus();
  if (event.key === "Escape") {
    search.value = "";
    find();
    byId("graph-canvas").focus();
  }
});
byId("next").addEventListener("click", () => step(1));
byId("previous").addEventListener("click", () => step(-1));
byId("details").addEventListener("keydown", (event) => event.key === "Escape" && byId("graph-canvas").focus());
byId("zoom-in").addEventListener("click", () => graph.zoom(1.5));
byId("zoom-out").addEventListener("click", () => graph.zoom(1 / 1.5));
byId("zoom-fit").addEventListener("click", () => graph.fit());
byId("zoom-read").addEventListener("click", () => graph.readable());

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || ["INPUT", "TEXTAREA"].includes(event.target.tagName)) return;
  event.preventDefault();
  openTab("graph");
graph.begin();
  search.focus();
  search.select();
});

new ResizeObserver(drawAll).observe(document.querySelector("main"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (details.show(graph.selected), drawAll()));
window.addEventListener("beforeprint", drawAll);
matchMedia("print").addEventListener("change", drawAll);
openTab("graph");
graph.begin();
