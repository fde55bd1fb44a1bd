// What all canvases share: sharp pixels, the colours of the style sheet, and patterns that tell devices apart without colour.

const FONT = 'system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';

function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "muted", "faint", "paper", "ground", "solid", "on-solid", "accent", "cast", "stripe"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// Make a canvas as fine as the screen; returns its context, and its size in CSS pixels.
function prepare(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const PATTERNS = [
  [],
  [[0, 8, 8, 0]],
  [[0, 0, 8, 8]],
  [[0, 4, 8, 4]],
  [[4, 0, 4, 8]],
  [[0, 8, 8, 0], [0, 0, 8, 8]],
  [[0, 4, 8, 4], [4, 0, 4, 8]],
];

// The pattern of a device; null for the first, the CPU.
function patternOf(context, lane, colour) {
  const lines = PATTERNS[lane === 0 ? 0 : 1 + ((lane - 1) % (PATTERNS.length - 1))];
  if (!lines.length) return null;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const drawing = tile.getContext("2d");
  drawing.strokeStyle = colour;
  for (const [x0, y0, x1, y1] of lines) {
    drawing.beginPath();
    drawing.moveTo(x0, y0);
    drawing.lineTo(x1, y1);
    drawing.stroke();
  }
  return context.createPattern(tile, "repeat");
}

const widths = new Map();

function textWidth(context, text) {
  const key = context.font + text;
  let width = widths.get(key);
  if (width === undefined) {
    if (widths.size > 20000) widths.clear();
    width = context.measureText(text).width;
    widths.set(key, width);
  }
  return width;
}

// As much of a text as there is room for.
function fitted(context, text, room) {
  if (room < 8) return "";
  if (textWidth(context, text) <= room) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (textWidth(context, `${text.slice(0, middle)}…`) <= room) low = middle;
    else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}

function line(context, ...points) {
  context.beginPath();
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function arrow(context, x, y, dx, dy) {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x - 6 * dx - 4 * dy, y - 6 * dy - 4 * dx);
  context.lineTo(x - 6 * dx + 4 * dy, y - 6 * dy + 4 * dx);
  context.fill();
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
