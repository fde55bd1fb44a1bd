// The tables of the report. A click on a head sorts; a name that is an operator in the graph leads there.

const FIRST_ROWS = 200;

class Table {
  constructor(table, onOpen) {
    Object.assign(this, { table, onOpen, column: -1, down: false, all: false });
    this.body = element("tbody");
    this.heads = table.columns.map(([head], column) => element("th", { scope: "col", "aria-sort": "none" },
      element("button", { onclick: () => this.sort(column) }, head)));
    this.more = element("p", { class: "note" });
    const whole = element("table", { "aria-label": table.title }, element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    const note = table.note ? [element("p", { class: "note" }, table.note)] : [];
    const count = element("h2", {}, `${table.title} (${formatNumber(table.rows.length)})`);
    this.section = element("section", { id: `table-${table.name}` }, count, ...note, ...(table.rows.length ? [whole, this.more] : [element("p", {}, "None.")]));
    this.draw();
  }

  // What a cell is sorted by.
  key(row, column) {
    const cell = this.table.rows[row][column];
    const kind = this.table.columns[column][1];
    if (kind === "text") return cell;
    if (kind === "shape") return cell.reduce((product, size) => product * evaluate(size), 1);
    return cell === "" ? -1 : evaluate(cell);
  }

  sort(column) {
    this.down = this.column === column && !this.down;
    this.column = column;
    this.heads.forEach((head, index) => head.setAttribute("aria-sort", index === column ? (this.down ? "descending" : "ascending") : "none"));
    this.draw();
  }

  order() {
    const order = this.table.rows.map((_, row) => row);
    if (this.column < 0) return order;
    const keys = order.map((row) => this.key(row, this.column));
    const compare = (one, other) => (typeof keys[one] === "string" ? keys[one].localeCompare(keys[other]) : keys[one] - keys[other]);
    return order.sort((one, other) => (this.down ? compare(other, one) : compare(one, other)));
  }

  draw() {
    const order = this.order();
    const shown = this.all ? order : order.slice(0, FIRST_ROWS);
    this.body.replaceChildren(...shown.map((row) => this.row(row)));
    this.more.replaceChildren();
    if (shown.length < order.length) {
      const all = element("button", { onclick: () => ((this.all = true), this.draw()) }, `Show all ${formatNumber(order.length)} rows`);
      this.more.append(all);
    }
  }

  row(row) {
    const operator = this.table.operators[row];
    const cells = this.table.rows[row].map((cell, column) => {
      const kind = this.table.columns[column][1];
      const text = cell === "" ? "" : kind === "size" ? formatNumber(evaluate(cell)) : kind === "shape" ? formatShape(cell) : `${kind === "number" ? formatNumber(cell) : cell}`;
      const content = column === 0 && operator >= 0 ? element("button", { class: "link", onclick: () => this.onOpen(operator) }, text) : text;
      return element("td", { class: kind === "size" ? "number" : kind }, content);
    });
    return element("tr", {}, ...cells);
  }
}
