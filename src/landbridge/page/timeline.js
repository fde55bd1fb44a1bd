// The timeline of a profiled run: a lane for each device, a bar for each step.

const BAR = 34;
const GAP = 12;

class Timeline {
  constructor(data, place, onOpen) {
    Object.assign(this, { data, onOpen, selected: -1, start: 0, span: 1 });
    this.spans = data.trace ?? [];
    if (!this.spans.length) {
      place.replaceChildren(element("p", {}, "No profiled run. ", element("code", {}, "landbridge run ARTIFACT --profile trace.json"), ", then ",
        element("code", {}, "landbridge report ARTIFACT --html F.html --profile trace.json"), " shows one here."));
      return;
    }
    this.lanes = [...new Set(this.spans.map((span) => span[0]))];
    this.whole = Math.max(...this.spans.map((span) => span[4] + span[5]));
    this.span = this.whole;
    this.canvas = element("canvas", { tabindex: 0, role: "application", "aria-label": "Timeline of one run: a lane for each device, a bar for each step" });
    this.canvas.style.height = `${this.lanes.length * (BAR + GAP) + 34}px`;
    this.readout = element("p", { class: "readout", role: "status" });
    const label = data.simulated ? ` The times of ${data.simulated}, simulated, say nothing about the hardware.` : "";
    const keys = "Keys: ← → a step, + − 0 zoom, Enter the operator, Esc nothing selected.";
    place.replaceChildren(
      element("h2", {}, `One run: ${this.format(this.whole)}`),
      element("p", { class: "note" }, `Each step timed by itself.${label} `, element("span", { class: "keys" }, keys)),
      element("div", { class: "lane-box" }, this.canvas, this.readout),
    );
    this.listen();
  }

  format(microseconds) {
    return microseconds >= 1000 ? `${(microseconds / 1000).toFixed(3)} ms` : `${microseconds.toFixed(2)} µs`;
  }

  x(microseconds) {
    return MARGIN + ((microseconds - this.start) / this.span) * this.room;
  }

  draw() {
    if (!this.canvas?.clientWidth) return;
    const { context, width, height } = prepare(this.canvas);
    const palette = colours();
    this.room = width - MARGIN - 10;
    context.font = `12px ${FONT}`;
    context.textBaseline = "middle";
    this.lanes.forEach((lane, index) => {
      const y = 6 + index * (BAR + GAP);
      context.fillStyle = palette.ground;
      context.fillRect(MARGIN, y, this.room, BAR);
      context.fillStyle = palette.ink;
      context.fillText(lane, 4, y + BAR / 2);
    });
    context.save();
    context.beginPath();
    context.rect(MARGIN, 0, this.room + 2, height);
    context.clip();
    this.spans.forEach((span, index) => this.drawSpan(context, span, palette, index === this.selected));
    context.restore();
    this.drawTicks(context, palette, height);
  }

  drawSpan(context, [lane, , phase, name, start, duration], palette, chosen) {
    const x = this.x(start);
    const width = Math.max((duration / this.span) * this.room, 1.5);
    const y = 6 + this.lanes.indexOf(lane) * (BAR + GAP);
    const solid = phase === "execute";
    context.fillStyle = solid ? palette.solid : phase.startsWith("copy") ? palette.paper : palette.cast;
    context.fillRect(x, y, width, BAR);
    if (phase.startsWith("copy")) {
      context.fillStyle = patternOf(context, phase === "copy in" ? 1 : 2, palette.muted);
      context.fillRect(x, y, width, BAR);
    }
    context.strokeStyle = chosen ? palette.accent : palette.ink;
    context.lineWidth = chosen ? 3 : 1;
    context.strokeRect(x, y, width, BAR);
    if (width < 26) return;
    context.fillStyle = solid ? palette["on-solid"] : palette.ink;
    const text = fitted(context, name, width - 10);
    if (phase.startsWith("copy") && text) {
      context.fillStyle = palette.paper;
      context.fillRect(x + 4, y + BAR / 2 - 8, textWidth(context, text) + 4, 16);
      context.fillStyle = palette.ink;
    }
    context.fillText(text, x + 6, y + BAR / 2);
  }

  drawTicks(context, palette, height) {
    const rough = this.span / 6;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    context.fillStyle = context.strokeStyle = palette.ink;
    context.lineWidth = 1;
    for (let at = Math.ceil(this.start / step) * step; at <= this.start + this.span; at += step) {
      line(context, [this.x(at), height - 26], [this.x(at), height - 21]);
      context.fillText(this.format(at), Math.min(this.x(at) + 3, MARGIN + this.room - textWidth(context, this.format(at))), height - 12);
    }
  }

  listen() {
    this.canvas.addEventListener("click", ({ offsetX, offsetY }) => {
      const lane = this.lanes[Math.floor((offsetY - 6) / (BAR + GAP))];
      this.choose(this.spans.findIndex((span) => span[0] === lane && this.x(span[4]) - 2 <= offsetX && offsetX <= this.x(span[4] + span[5]) + 2));
    });
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) this.zoom(Math.exp(event.deltaY / 300), this.start + ((event.offsetX - MARGIN) / this.room) * this.span);
      else this.pan(((event.deltaX + event.deltaY) / this.room) * this.span);
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const moves = {
        ArrowRight: () => this.choose(Math.min(this.selected + 1, this.spans.length - 1)),
        ArrowLeft: () => this.choose(Math.max(this.selected - 1, 0)),
        Escape: () => this.choose(-1),
        "+": () => this.zoom(1 / 1.5),
        "=": () => this.zoom(1 / 1.5),
        "-": () => this.zoom(1.5),
        0: () => this.zoom(Infinity),
        Enter: () => this.selected >= 0 && this.onOpen(this.spans[this.selected][1]),
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      moves[event.key]();
    });
  }

  zoom(factor, around) {
    const chosen = this.spans[this.selected];
    const middle = around ?? (chosen ? chosen[4] + chosen[5] / 2 : this.start + this.span / 2);
    const share = (middle - this.start) / this.span;
    this.span = Math.min(Math.max(this.span * factor, this.whole / 1e4), this.whole);
    this.start = middle - share * this.span;
    this.pan(0);
  }

  pan(by) {
    this.start = Math.min(Math.max(this.start + by, 0), this.whole - this.span);
    this.draw();
  }

  choose(index) {
    this.selected = index;
    const span = this.spans[index];
    this.readout.textContent = span
      ? `step ${span[1]}, ${span[2]} on ${span[0]}: ${span[3]}, ${this.format(span[5])} from ${this.format(span[4])} on (${((100 * span[5]) / this.whole).toFixed(1)} %)`
      : "";
    if (span && (span[4] < this.start || span[4] + span[5] > this.start + this.span)) this.start = span[4] - this.span / 3;
    this.pan(0);
  }
}
