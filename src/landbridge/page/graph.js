// The graph: devices are lanes, crossings are bridges between them. Only what is in sight is drawn. Zooming changes the height of a
// row; the text stays as large as it is, and goes where there is no room for it.

const PITCH = { most: 64, text: 17, two: 33, start: 42 };
const HEAD = 30;
const LANE = { least: 210, most: 380 };

class Graph {
  constructor(data, canvas, overview, onSelect) {
    Object.assign(this, { data, canvas, overview, onSelect });
    Object.assign(this, makeLayout(data));
    this.pitch = PITCH.start;
    this.top = -8; // in pixels, of what is in sight
    this.left = 0;
    this.selected = -1;
    this.matches = new Set();
    this.listen();
  }

  // ---- where things are

  get height() {
    return this.rows.length * this.pitch;
  }

  measure() {
    this.view = { width: this.canvas.clientWidth, height: this.canvas.clientHeight - HEAD };
    const lanes = this.data.devices.length;
    this.laneWidth = Math.min(Math.max((this.view.width - 8) / lanes, LANE.least), LANE.most);
    const room = lanes * this.laneWidth + 8;
    this.left = Math.min(Math.max(this.left, 0), Math.max(room - this.view.width, 0));
    this.shift = Math.max((this.view.width - room) / 2, 0) + 4;
  }

  laneX(lane) {
    return this.shift + lane * this.laneWidth - this.left;
  }

  boxX(lane) {
    return this.laneX(lane) + 10 + this.rails[lane] * 7;
  }

  boxWidth(lane) {
    return this.laneWidth - (this.boxX(lane) - this.laneX(lane)) - 12;
  }

  trunkX(lane) {
    return this.boxX(lane) + Math.min(22, this.boxWidth(lane) / 3);
  }

  railX(lane, rail) {
    return this.laneX(lane) + 8 + rail * 7;
  }

  rowY(row) {
    return HEAD + (row + 0.5) * this.pitch - this.top;
  }

  get boxHeight() {
    return Math.max(Math.min(this.pitch - 5, 34), this.pitch * 0.6, 0.75);
  }

  // The middle of a row's box or bridge, in pixels of the canvas.
  middleOf(row) {
    const { lane, to } = this.rows[row];
    const x = to === undefined ? this.boxX(lane) + this.boxWidth(lane) / 2 : (this.trunkX(lane) + this.trunkX(to)) / 2;
    return { x, y: this.rowY(row) };
  }

  rowAt(x, y) {
    const row = Math.floor((y - HEAD + this.top) / this.pitch);
    return y > HEAD && row >= 0 && row < this.rows.length ? row : -1;
  }

  // ---- what is in sight

  clamp() {
    const most = Math.max(this.height - this.view.height + 24, -8);
    this.top = Math.min(Math.max(this.top, -8), most);
  }

  zoom(factor, y = HEAD + this.view.height / 2) {
    const row = (y - HEAD + this.top) / this.pitch;
    this.setPitch(this.pitch * factor);
    this.top = row * this.pitch - (y - HEAD);
    this.draw();
  }

  setPitch(pitch) {
    const least = Math.min((this.view.height - 16) / this.rows.length, PITCH.start);
    this.pitch = Math.min(Math.max(pitch, least), PITCH.most);
  }

  fit() {
    this.setPitch(0);
    this.top = -8;
    this.draw();
  }

  // What one sees first: everything, where that can be read, else the beginning.
  begin() {
    this.measure();
    this.pitch = Math.min(Math.max((this.view.height - 16) / this.rows.length, PITCH.two), PITCH.start);
    if (this.pitch * this.rows.length > this.view.height) this.pitch = PITCH.start;
    this.draw();
  }

  readable() {
    const row = this.selected >= 0 ? this.selected : (this.top + this.view.height / 2) / this.pitch;
    this.pitch = PITCH.start;
    this.top = (row + 0.5) * this.pitch - this.view.height / 2;
    this.draw();
  }

  show(row) {
    if (this.pitch < PITCH.text) this.pitch = PITCH.start;
    const y = (row + 0.5) * this.pitch;
    if (y < this.top + this.pitch * 1.5 || y > this.top + this.view.height - this.pitch * 1.5) this.top = y - this.view.height / 2;
    const { lane, to } = this.rows[row];
    const x = Math.min(lane, to ?? lane) * this.laneWidth;
    if (x < this.left || x + this.laneWidth > this.left + this.view.width) this.left = x;
  }

  select(row, { show = true } = {}) {
    this.selected = row;
    if (row >= 0 && show) this.show(row);
    this.draw();
    this.onSelect(row);
  }

  // ---- drawing

  draw() {
    if (!this.canvas.clientWidth) return; // it is not in sight
    this.measure();
    this.clamp();
    const { context, width, height } = prepare(this.canvas);
    this.colours = colours();
    const first = Math.max(Math.floor(this.top / this.pitch) - 1, 0);
    const last = Math.min(Math.ceil((this.top + this.view.height) / this.pitch) + 1, this.rows.length - 1);
    this.drawLanes(context, height);
    context.save();
    context.beginPath();
    context.rect(0, HEAD, width, height - HEAD);
    context.clip();
    if (this.pitch >= 4) this.drawLines(context, first, last);
    for (let row = first; row <= last; row += 1) if (this.rows[row].to === undefined) this.drawBox(context, this.rows[row]);
    for (let row = first; row <= last; row += 1) if (this.rows[row].to !== undefined) this.drawBridge(context, this.rows[row]);
    context.restore();
    this.drawHeads(context, width);
    this.drawOverview();
  }

  drawLanes(context, height) {
    context.fillStyle = this.colours.paper;
    context.fillRect(0, 0, this.canvas.clientWidth, height);
    this.data.devices.forEach((_, lane) => {
      const x = this.laneX(lane);
      context.fillStyle = patternOf(context, lane, this.colours.stripe) ?? this.colours.ground;
      context.fillRect(x, HEAD, this.laneWidth - 4, height);
      context.strokeStyle = this.colours.faint;
      context.lineWidth = 1;
      context.strokeRect(x + 0.5, HEAD - 1, this.laneWidth - 5, height);
    });
  }

  drawHeads(context, width) {
    context.fillStyle = this.colours.paper;
    context.fillRect(0, 0, width, HEAD - 1);
    context.font = `600 13px ${FONT}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = this.colours.ink;
    this.data.devices.forEach((device, lane) => context.fillText(device, this.laneX(lane) + this.laneWidth / 2, HEAD / 2));
    context.textAlign = "left";
  }

  drawLines(context, first, last) {
    for (const one of this.lines) {
      if (one.from > last) break;
      if (one.to < first) continue;
      const touched = one.from === this.selected || one.taps.includes(this.selected);
      context.strokeStyle = touched ? this.colours.accent : this.colours.muted;
      context.fillStyle = context.strokeStyle;
      context.lineWidth = touched ? 3 : 1.25;
      const from = this.rowY(one.from) + this.boxHeight / 2;
      if (one.rail < 0) {
        const x = this.trunkX(one.lane);
        const end = this.rowY(one.to) - (this.rows[one.to].to === undefined ? this.boxHeight / 2 : 0);
        line(context, [x, from - (this.rows[one.from].to === undefined ? 0 : this.boxHeight / 2)], [x, end]);
        if (this.pitch >= PITCH.text && this.rows[one.to].to === undefined) arrow(context, x, end, 0, 1);
      } else {
        this.drawRail(context, one);
      }
    }
  }

  drawRail(context, { lane, from, to, rail, taps }) {
    const x = this.railX(lane, rail);
    const bridge = this.rows[from].to !== undefined;
    const start = this.rowY(from) + (bridge ? 0 : Math.min(this.boxHeight / 4, 7));
    line(context, [bridge ? this.trunkX(lane) : this.boxX(lane), start], [x, start], [x, this.rowY(to) - Math.min(this.boxHeight / 4, 7)]);
    for (const tap of taps) {
      const y = this.rowY(tap) - Math.min(this.boxHeight / 4, 7);
      const end = this.rows[tap].to === undefined ? this.boxX(lane) : this.trunkX(lane);
      line(context, [x, y], [end, y]);
      if (this.pitch >= PITCH.text && this.rows[tap].to === undefined) arrow(context, end, y, 1, 0);
    }
  }

  drawBox(context, row) {
    const height = this.boxHeight;
    const x = this.boxX(row.lane);
    const y = this.rowY(row.row) - height / 2;
    const width = this.boxWidth(row.lane);
    const solid = row.kind === "extern";
    const round = row.kind === "input" || row.kind === "output" ? height / 2 : 4;
    context.beginPath();
    if (this.pitch >= 6) context.roundRect(x, y, width, height, Math.min(round, height / 2));
    else context.rect(x, y, width, height);
    context.fillStyle = solid ? this.colours.solid : row.kind === "cast" ? this.colours.cast : this.colours.paper;
    if (this.pitch < 6 && !solid) context.fillStyle = this.colours.muted;
    context.fill();
    if (this.pitch >= 6) {
      context.setLineDash(row.kind === "view" ? [3, 3] : []);
      context.strokeStyle = this.colours.ink;
      context.lineWidth = solid ? 2 : 1;
      context.stroke();
      context.setLineDash([]);
    }
    this.drawMarks(context, row, x, y, width, height);
    if (this.pitch >= PITCH.text) this.drawLabel(context, row, x, y, width, height, solid);
  }

  drawMarks(context, row, x, y, width, height) {
    if (this.matches.has(row.row)) {
      context.fillStyle = this.colours.accent;
      context.fillRect(x - 5, y, 4, Math.max(height, 2));
    }
    if (row.row === this.selected) {
      context.strokeStyle = this.colours.accent;
      context.lineWidth = 3;
      context.strokeRect(x - 3, y - 3, width + 6, height + 6);
    }
  }

  drawLabel(context, row, x, y, width, height, solid) {
    const two = this.pitch >= PITCH.two;
    const value = this.data.values[row.outputs[0] ?? row.inputs[0]];
    const spread = Math.min(height / 4 - 0.8, 7.5);
    const middle = two ? y + height / 2 - spread : y + height / 2;
    let at = x + 9;
    const room = () => x + width - 9 - at;
    context.textBaseline = "middle";
    context.fillStyle = solid ? this.colours["on-solid"] : this.colours.ink;
    context.font = `600 12px ${FONT}`;
    const title = fitted(context, row.title, room());
    context.fillText(title, at, middle);
    at += textWidth(context, title) + 7;
    context.font = `12px ${FONT}`;
    if (row.name !== row.title) context.fillText(fitted(context, row.name, room()), at, middle);
    if (two && value) {
      at = x + 9;
      context.font = `11px ${FONT}`;
      if (!solid) context.fillStyle = this.colours.muted;
      context.fillText(fitted(context, `${value[2]} ${formatShape(value[3])}`, room()), at, y + height / 2 + spread);
    }
  }

  // A crossing: a bridge between two lanes, dashed where both sides share the memory.
  drawBridge(context, row) {
    const y = this.rowY(row.row);
    const from = this.trunkX(row.lane);
    const to = this.trunkX(row.to);
    const way = Math.sign(to - from) || 1;
    const shared = row.step < 0;
    context.strokeStyle = row.row === this.selected ? this.colours.accent : this.colours.ink;
    context.fillStyle = context.strokeStyle;
    if (this.pitch < PITCH.text) {
      context.lineWidth = Math.max(Math.min(this.pitch * 0.6, 3), 0.5);
      line(context, [from, y], [to, y]);
      return;
    }
    const half = 3.5;
    context.lineWidth = 1.5;
    context.save();
    context.fillStyle = this.colours.paper;
    context.fillRect(Math.min(from, to), y - half - 2, Math.abs(to - from), 2 * half + 4);
    context.restore();
    context.setLineDash(shared ? [5, 4] : []);
    line(context, [from, y - half], [to - way * 7, y - half]);
    line(context, [from, y + half], [to - way * 7, y + half]);
    context.setLineDash([]);
    if (!shared) for (let x = from + way * 12; way * (to - x) > 16; x += way * 12) line(context, [x, y - half], [x, y + half]);
    context.beginPath();
    context.arc(from, y, 5, 0, 7);
    context.fill();
    context.beginPath();
    context.moveTo(to + way * 3, y);
    context.lineTo(to - way * 8, y - 7);
    context.lineTo(to - way * 8, y + 7);
    context.fill();
    this.drawPlate(context, row, (from + to) / 2, y, Math.abs(to - from) - 44, shared);
  }

  drawPlate(context, row, x, y, room, shared) {
    const value = this.data.values[row.outputs[0]];
    const moved = shared ? "no byte moves" : formatBytes(nbytesOf(value));
    context.font = `600 12px ${FONT}`;
    const name = fitted(context, row.name, room / 2);
    const nameWidth = textWidth(context, name);
    context.font = `12px ${FONT}`;
    const rest = fitted(context, `  ${value[2]}, ${moved}`, room - nameWidth - 12);
    const width = nameWidth + textWidth(context, rest) + 16;
    context.beginPath();
    context.roundRect(x - width / 2, y - 10, width, 20, 10);
    context.fillStyle = this.colours.paper;
    context.fill();
    context.lineWidth = row.row === this.selected ? 3 : 1.25;
    context.stroke();
    if (this.matches.has(row.row)) {
      context.fillStyle = this.colours.accent;
      context.fillRect(x - width / 2 - 5, y - 10, 4, 20);
    }
    context.fillStyle = this.colours.ink;
    context.textBaseline = "middle";
    context.font = `600 12px ${FONT}`;
    context.fillText(name, x - width / 2 + 8, y);
    context.font = `12px ${FONT}`;
    context.fillText(rest, x - width / 2 + 8 + nameWidth, y);
  }

  drawOverview() {
    const { context, width, height } = prepare(this.overview);
    const lanes = this.data.devices.length;
    const pitch = Math.min(height / this.rows.length, 6);
    const x = (lane) => 5 + (lane * (width - 10)) / lanes;
    const laneWidth = (width - 10) / lanes;
    for (const row of this.rows) {
      const y = row.row * pitch;
      const tall = Math.max(pitch * 0.7, 0.6);
      context.fillStyle = row.kind === "extern" ? this.colours.solid : this.colours.muted;
      if (row.to === undefined) context.fillRect(x(row.lane) + 1, y, laneWidth - 2, tall);
      else context.fillRect(x(Math.min(row.lane, row.to)) + laneWidth / 2, y, Math.abs(row.to - row.lane) * laneWidth, Math.min(tall, 1.5));
    }
    context.fillStyle = this.colours.accent;
    for (const row of this.matches) context.fillRect(0, row * pitch - 1, 5, 3);
    if (this.selected >= 0) context.fillRect(0, this.selected * pitch - 1, width, 3);
    context.strokeStyle = this.colours.ink;
    context.lineWidth = 2;
    const from = Math.max((this.top / this.pitch) * pitch, 0);
    const tall = Math.min((this.view.height / this.pitch) * pitch, this.rows.length * pitch - from);
    context.strokeRect(1, from + 1, width - 2, Math.max(tall - 2, 3));
    this.overviewPitch = pitch;
  }

  // ---- mouse and keys

  listen() {
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("dblclick", (event) => this.zoom(2, event.offsetY));
    let held = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      held = { x: event.offsetX, y: event.offsetY, top: this.top, left: this.left, moved: false };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      held.moved ||= Math.hypot(event.offsetX - held.x, event.offsetY - held.y) > 4;
      if (!held.moved) return;
      this.top = held.top - (event.offsetY - held.y);
      this.left = held.left - (event.offsetX - held.x);
      this.draw();
    });
    this.canvas.addEventListener("pointerup", (event) => {
      if (held && !held.moved) this.select(this.rowAt(event.offsetX, event.offsetY), { show: false });
      held = null;
    });
    const jump = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      this.top = (event.offsetY / this.overviewPitch) * this.pitch - this.view.height / 2;
      this.draw();
    };
    this.overview.addEventListener("pointerdown", jump);
    this.overview.addEventListener("pointermove", jump);
  }

  wheel(event) {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) {
      this.zoom(Math.exp(-event.deltaY / 300), event.offsetY);
      return;
    }
    this.top += event.shiftKey ? 0 : event.deltaY;
    this.left += event.shiftKey ? event.deltaY : event.deltaX;
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(Math.floor(this.view.height / this.pitch) - 1, 1);
    const row = this.selected;
    const first = Math.max(Math.ceil(this.top / this.pitch), 0);
    const go = (to) => this.select(Math.min(Math.max(to, 0), this.rows.length - 1));
    const moves = {
      ArrowDown: () => go(row < 0 ? first : row + 1),
      ArrowUp: () => go(row < 0 ? first : row - 1),
      PageDown: () => go(row < 0 ? first : row + page),
      PageUp: () => go(row < 0 ? first : row - page),
      Home: () => go(0),
      End: () => go(this.rows.length - 1),
      ArrowLeft: () => this.along(row, (from) => from.inputs.map((value) => this.uses[value].maker)),
      ArrowRight: () => this.along(row, (from) => from.outputs.flatMap((value) => this.uses[value].readers)),
      Escape: () => this.select(-1),
      "+": () => this.zoom(1.5),
      "=": () => this.zoom(1.5),
      "-": () => this.zoom(1 / 1.5),
      0: () => this.fit(),
      1: () => this.readable(),
      Enter: () => row >= 0 && document.getElementById("details").focus(),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  }

  along(row, next) {
    if (row < 0) return;
    const to = next(this.rows[row]).find((found) => found >= 0);
    if (to !== undefined) this.select(to);
  }

  find(words) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (row) => {
      const text = `${row.title} ${row.name} ${row.source} ${this.data.devices[row.lane]}`.toLowerCase();
      return wanted.every((word) => text.includes(word));
    };
    this.matches = new Set(wanted.length ? this.rows.filter(has).map((row) => row.row) : []);
  }
}

const BITS = { bool: 8, bfloat16: 16, complex64: 64, complex128: 128 };

// Bytes of a tensor; what only the data will tell counts as nothing.
function nbytesOf([, , dtype, shape]) {
  const bits = BITS[dtype] ?? Number((dtype.match(/^[a-z]+(\d+)/) ?? [0, 0])[1]);
  return Math.ceil((shape.reduce((product, size) => product * (size === -1 ? 0 : evaluate(size)), 1) * bits) / 8);
}
