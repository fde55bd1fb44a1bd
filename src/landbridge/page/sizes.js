// Sizes over named dimensions: a number, a name, or [operator, size, size], as in the artifact's plan.

const OPERATORS = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "//": (a, b) => Math.floor(a / b),
  "%": (a, b) => a - b * Math.floor(a / b),
  max: Math.max,
  min: Math.min,
};

// What the dimensions are now; the page lets one change them.
const extents = {};

function evaluate(size) {
  if (typeof size === "number") return size;
  if (typeof size === "string") return size in extents ? extents[size] : NaN;
  return OPERATORS[size[0]](evaluate(size[1]), evaluate(size[2]));
}

function formatNumber(number) {
  return Number.isFinite(number) ? number.toLocaleString("en-US") : "?";
}

function formatBytes(nbytes) {
  if (nbytes < 10000) return `${formatNumber(nbytes)} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let unit = -1;
  while (nbytes >= 1024 && unit < units.length - 1) {
    nbytes /= 1024;
    unit += 1;
  }
  return `${nbytes.toFixed(nbytes < 10 ? 2 : nbytes < 100 ? 1 : 0)} ${units[unit]}`;
}

function formatShape(shape) {
  return `[${shape.map((size) => (size === -1 ? "?" : formatNumber(evaluate(size)))).join(", ")}]`;
}
