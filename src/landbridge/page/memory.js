// The planned memory: for each arena the buffers, across the moments in which they are in use, upwards where they are.

class MemoryMap {
  constructor(data, place, onOpen) {
    Object.assign(this, { data, place, onOpen });
    this.moments = Math.max(data.moments.reduce((sum, count) => sum + count, 0), 1);
    this.from = 0; // what is in sight, in moments; the same for all arenas
    this.span = this.moments;
    this.arenas = data.devices.filter((device) => device in data.arenas).map((device) => this.arena(device));
    place.replaceChildren(...(this.arenas.length ? this.arenas.map((arena) => arena.box) : [element("p", {}, "This plan has no buffers in arenas.")]));
  }

  arena(device) {
    const label = `Memory of ${device}: buffers across the moments of a run`;
    const canvas = element("canvas", { tabindex: 0, role: "application", "aria-label": label });
    const title = element("h2", {});
    const readout = element("p", { class: "readout", role: "status" });
    const buffers = this.data.buffers.filter((buffer) => buffer[1] === device);
    const arena = { device, canvas, title, readout, buffers, moment: -1, chosen: -1 };
    arena.box = element("div", { class: "arena" }, title, canvas, readout);
    canvas.addEventListener("click", (event) => this.click(arena, event));
    canvas.addEventListener("keydown", (event) => this.key(arena, event));
    canvas.addEventListener("wheel", (event) => this.wheel(arena, event), { passive: false });
    return arena;
  }

  // Where a moment begins, and which moment is at a place.
  x(arena, moment) {
    return MARGIN + ((moment - this.from) / this.span) * arena.width;
  }

  momentAt(arena, x) {
    return Math.min(Math.max(Math.floor(this.from + ((x - MARGIN) / arena.width) * this.span), 0), this.moments - 1);
  }

  zoom(factor, middle) {
    const share = (middle - this.from) / this.span;
    this.span = Math.min(Math.max(this.span * factor, Math.min(8, this.moments)), this.moments);
    this.pan(middle - share * this.span);
  }

  pan(from) {
    this.from = Math.min(Math.max(from, 0), this.moments - this.span);
    this.draw();
  }

  wheel(arena, event) {
    if (!event.ctrlKey && !event.shiftKey && !event.deltaX) return; // the page scrolls
    event.preventDefault();
    if (event.ctrlKey) this.zoom(Math.exp(event.deltaY / 300), this.from + ((event.offsetX - MARGIN) / arena.width) * this.span);
    else this.pan(this.from + ((event.deltaX + event.deltaY) / arena.width) * this.span);
  }

  // Where a buffer is drawn.
  rectangle(arena, [, , , , offset, nbytes, first, last]) {
    const x = this.x(arena, first);
    const width = Math.max(this.x(arena, Math.min(last + 1, this.moments)) - x, 1);
    const height = Math.max((evaluate(nbytes) / arena.nbytes) * arena.height, 1);
    return { x, width, height, y: 4 + arena.height - (evaluate(offset) / arena.nbytes) * arena.height - height };
  }

  live(arena, moment) {
    return arena.buffers.map((_, index) => index).filter((index) => arena.buffers[index][6] <= moment && moment <= arena.buffers[index][7]);
  }

  draw() {
    this.arenas.forEach((arena) => this.drawArena(arena));
  }

  drawArena(arena) {
    if (!arena.canvas.clientWidth) return;
    const { context, width, height } = prepare(arena.canvas);
    const palette = colours();
    arena.nbytes = Math.max(evaluate(this.data.arenas[arena.device]), 1);
    Object.assign(arena, { width: width - MARGIN - 8, height: height - 26 });
    const most = this.peak(arena);
    arena.title.textContent = `${arena.device}: arena of ${formatBytes(arena.nbytes)}, ${formatBytes(most)} in use at most`;
    const pattern = patternOf(context, this.data.devices.indexOf(arena.device), palette.stripe);
    context.save();
    context.beginPath();
    context.rect(MARGIN, 0, arena.width, height);
    context.clip();
    arena.buffers.forEach((buffer, index) => {
      const inSight = buffer[6] <= this.from + this.span && buffer[7] >= this.from - 1;
      if (inSight) this.drawBuffer(context, arena, buffer, palette, pattern, index === arena.chosen);
    });
    context.restore();
    this.drawAxes(context, arena, palette);
    if (arena.moment >= this.from && arena.moment < this.from + this.span) {
      const x = this.x(arena, arena.moment + 0.5);
      context.strokeStyle = palette.accent;
      context.lineWidth = 2;
      line(context, [x, 4], [x, 4 + arena.height]);
    }
  }

  drawBuffer(context, arena, buffer, palette, pattern, chosen) {
    const { x, y, width, height } = this.rectangle(arena, buffer);
    const thin = width <= 3 || height <= 3;
    context.fillStyle = chosen ? palette.solid : thin ? palette.muted : palette.cast;
    context.fillRect(x, y, thin ? Math.max(width - 0.5, 0.75) : width, height);
    if (pattern && !chosen) {
      context.fillStyle = pattern;
      context.fillRect(x, y, width, height);
    }
    if (!thin) {
      context.strokeStyle = palette.ink;
      context.lineWidth = 1;
      context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    }
    if (width > 40 && height > 14) {
      context.fillStyle = chosen ? palette["on-solid"] : palette.ink;
      context.font = `12px ${FONT}`;
      context.textBaseline = "middle";
      context.fillText(fitted(context, `${buffer[0]}  ${formatBytes(evaluate(buffer[5]))}`, width - 10), x + 6, y + height / 2);
    }
  }

  drawAxes(context, arena, palette) {
    const bottom = 4 + arena.height;
    context.strokeStyle = context.fillStyle = palette.ink;
    context.lineWidth = 1;
    context.font = `11px ${FONT}`;
    line(context, [MARGIN, 4], [MARGIN, bottom], [MARGIN + arena.width, bottom]);
    context.textAlign = "right";
    context.textBaseline = "top";
    context.fillText(formatBytes(arena.nbytes), MARGIN - 5, 2);
    context.textBaseline = "bottom";
    context.fillText("0 B", MARGIN - 5, bottom);
    context.textAlign = "left";
    context.textBaseline = "top";
    let moment = 0;
    let free = 0;
    this.data.moments.forEach((count, step) => {
      const x = this.x(arena, moment);
      const room = (count / this.span) * arena.width;
      if (x >= Math.max(free, MARGIN) && x < MARGIN + arena.width - 8) {
        line(context, [x, bottom], [x, bottom + 5]);
        const whole = `${step} ${this.data.steps[step][0]}`;
        const text = textWidth(context, whole) < room - 6 ? whole : `${step}`;
        context.fillText(text, x + 3, bottom + 6);
        free = x + Math.max(textWidth(context, text) + 8, 12);
      }
      moment += count;
    });
  }

  // The most bytes in use at one moment.
  peak(arena) {
    const change = new Float64Array(this.moments + 2);
    for (const buffer of arena.buffers) {
      change[Math.min(buffer[6], this.moments)] += evaluate(buffer[5]);
      change[Math.min(buffer[7], this.moments) + 1] -= evaluate(buffer[5]);
    }
    let now = 0;
    let most = 0;
    for (const by of change) most = Math.max(most, (now += by));
    return most;
  }

  tell(arena) {
    const parts = [];
    if (arena.moment >= 0) {
      const live = this.live(arena, arena.moment);
      const nbytes = live.reduce((sum, index) => sum + evaluate(arena.buffers[index][5]), 0);
      parts.push(`moment ${arena.moment} of step ${this.stepAt(arena.moment)}: ${live.length} buffers, ${formatBytes(nbytes)} in use`);
    }
    if (arena.chosen >= 0) {
      const [name, , dtype, shape, offset, nbytes, first, last] = arena.buffers[arena.chosen];
      parts.push(`${name}: ${dtype} ${formatShape(shape)}, ${formatNumber(evaluate(nbytes))} bytes at ${formatNumber(evaluate(offset))}, moments ${first} to ${last}`);
    }
    arena.readout.textContent = parts.join("; ");
    this.drawArena(arena);
  }

  stepAt(moment) {
    let end = 0;
    const step = this.data.moments.findIndex((count) => moment < (end += count));
    return step < 0 ? this.data.moments.length - 1 : step;
  }

  click(arena, { offsetX, offsetY }) {
    arena.moment = this.momentAt(arena, offsetX);
    arena.chosen = this.live(arena, arena.moment).find((index) => {
      const { y, height } = this.rectangle(arena, arena.buffers[index]);
      return offsetY >= y && offsetY <= y + height;
    }) ?? -1;
    this.tell(arena);
  }

  key(arena, event) {
    const go = (by) => {
      arena.moment = Math.min(Math.max(arena.moment + by, 0), this.moments - 1);
      if (arena.chosen >= 0 && !this.live(arena, arena.moment).includes(arena.chosen)) arena.chosen = -1;
      if (arena.moment < this.from || arena.moment >= this.from + this.span) this.pan(arena.moment - this.span / 2);
    };
    const middle = arena.moment >= 0 ? arena.moment + 0.5 : this.from + this.span / 2;
    const choose = (by) => {
      if (arena.moment < 0) go(1);
      const live = this.live(arena, arena.moment).sort((one, other) => evaluate(arena.buffers[one][4]) - evaluate(arena.buffers[other][4]));
      const at = live.indexOf(arena.chosen);
      arena.chosen = live.length ? live[at < 0 ? 0 : (at + by + live.length) % live.length] : -1;
    };
    const moves = {
      ArrowRight: () => go(1),
      ArrowLeft: () => go(-1),
      Home: () => go(-this.moments),
      End: () => go(this.moments),
      ArrowUp: () => choose(1),
      ArrowDown: () => choose(-1),
      "+": () => this.zoom(1 / 1.5, middle),
      "=": () => this.zoom(1 / 1.5, middle),
      "-": () => this.zoom(1.5, middle),
      0: () => this.zoom(Infinity, middle),
      Escape: () => Object.assign(arena, { moment: -1, chosen: -1 }),
      Enter: () => arena.chosen >= 0 && this.onOpen(arena.buffers[arena.chosen][0], arena.device),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
    this.tell(arena);
  }
}

const MARGIN = 74;
