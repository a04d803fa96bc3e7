// Numbers: decoding, writing and colouring them.

const data = JSON.parse(document.getElementById("data").textContent);

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-")) node.setAttribute(name, value); // these say "true" and "false"
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null));
  return node;
};

const draw = (tag, attributes = {}, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

/** The greatest finite number of a list of any length. */
const greatest = (list, least = 0) => list.reduce((most, x) => (x > most && x < Infinity ? x : most), least);

/** A dotted name that may be broken after its dots and underscores. */
const breakable = (name) => name.split(/(?<=[._])/).flatMap((part) => [make("wbr"), part]).slice(1);

/** The stored cells of an array, row by row. */
const cellsOf = (array) => {
  if (!array.cells) {
    const bytes = Uint8Array.from(atob(array.data), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const size = array.kind === "f8" ? 8 : 4;
    array.cells = Array.from({ length: bytes.length / size }, (_, k) =>
      size === 8 ? view.getFloat64(8 * k, true) : view.getFloat32(4 * k, true));
  }
  return array.cells;
};

/** A number in four digits; Infinity and NaN came as text. */
const short = (given, digits = 4) => {
  const x = Number(given);
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text = size >= 1e5 || size < 1e-3 ? x.toExponential(Math.max(1, digits - 2)) : String(Number(x.toPrecision(digits)));
  return text.replace("-", "−").replace("e+", "e").replace("e-", "e−");
};

/** Bytes to three digits, as viz.listing writes them. */
const bytes = (n) => {
  if (n < 999.5) return `${n} B`;
  const power = Math.min(3, Math.floor(Math.log10(n * 1.0005) / 3));
  return `${Number((n / 1000 ** power).toPrecision(3))} ${["", "kB", "MB", "GB"][power]}`;
};

const shapeText = (shape) => (shape.length ? shape.join(" × ") : "scalar");

const isDark = () => document.documentElement.dataset.theme === "dark";

// Low, zero, high and NaN: told apart by all kinds of colour vision.
const SCALE = data.scale;

/** Red, green, blue of a value between −1 and 1: blue is negative, orange positive. */
const colour = (t) => {
  const [low, zero, high, nan] = SCALE[isDark() ? "dark" : "light"];
  if (Number.isNaN(t)) return nan;
  const end = t < 0 ? low : high;
  const share = Math.min(1, Math.abs(t));
  return zero.map((z, k) => Math.round(z + (end[k] - z) * share));
};

/** Black or white, whichever reads better on a colour. */
const inkOn = (rgb) => {
  const [r, g, b] = rgb.map((c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
};

/** The largest finite magnitude, which is the end of the scale. */
const reach = (array) => Math.max(Math.abs(Number(array.min) || 0), Math.abs(Number(array.max) || 0));

const describeArray = (array) =>
  `shape ${shapeText(array.shape)}, norm ${short(array.norm)}, from ${short(array.min)} to ${short(array.max)}` +
  (array.nan ? `, ${array.nan} NaN` : "") + (array.inf ? `, ${array.inf} infinite` : "") + (array.zero ? ", all zero" : "");

/** A heat map: numbers in coloured cells where they fit, else a picture. */
const heatMap = (name, number) => {
  if (number === null || number === undefined) {
    return make("div", { class: "array" }, make("div", { class: "name" }, make("b", {}, name), make("span", {}, "not kept")));
  }
  const array = data.arrays[number];
  const scale = reach(array) || 1;
  const cells = cellsOf(array);
  const title = make("div", { class: "name" }, make("b", {}, name), make("span", {}, `${shapeText(array.shape)} · ‖·‖ ${short(array.norm)}`));
  const box = make("div", { class: "array", "data-array": number }, title);
  if (array.exact && array.columns <= 6 && array.rows <= 16) {
    const rows = Array.from({ length: array.rows }, (_, i) => make("tr", {}, Array.from({ length: array.columns }, (_, j) => {
      const x = cells[i * array.columns + j];
      const rgb = colour(x / scale);
      return make("td", { style: `background:rgb(${rgb});color:${inkOn(rgb)}`, title: String(x), "data-value": String(x) }, short(x, 3));
    })));
    box.append(make("table", { "aria-label": `${name}: ${describeArray(array)}` }, make("tbody", {}, rows)));
  } else {
    const canvas = make("canvas", { role: "img", "aria-label": `${name}: ${describeArray(array)}`, width: array.columns, height: array.rows });
    canvas.style.height = `${Math.max(14, Math.min(150, array.rows * 12, (300 * array.rows) / array.columns + 8))}px`;
    const context = canvas.getContext("2d");
    const image = context.createImageData(array.columns, array.rows);
    cells.forEach((x, k) => image.data.set([...colour(x / scale), 255], 4 * k));
    context.putImageData(image, 0, 0);
    canvas.addEventListener("mousemove", (event) => {
      const j = Math.min(array.columns - 1, Math.floor((event.offsetX / canvas.clientWidth) * array.columns));
      const i = Math.min(array.rows - 1, Math.floor((event.offsetY / canvas.clientHeight) * array.rows));
      canvas.title = `row ${i}, column ${j}: ${cells[i * array.columns + j]}`;
    });
    box.append(canvas);
    if (!array.exact) box.append(make("p", { class: "quiet" }, `Coarse: the largest magnitude in each of ${array.rows} × ${array.columns} blocks.`));
  }
  const wrong = [array.nan && `${array.nan} NaN`, array.inf && `${array.inf} infinite`, array.zero && "all zero"].filter(Boolean);
  for (const text of wrong) box.append(make("span", { class: "chip wrong" }, text));
  return box;
};

const legend = () => {
  const stops = [-1, -0.5, 0, 0.5, 1].map((t) => `rgb(${colour(t)})`).join(",");
  return make("div", { class: "legend", role: "img", "aria-label": "Scale: blue negative, orange positive, each array to its own largest magnitude; NaN black, in the dark white" },
    "−max", make("i", { style: `background:linear-gradient(90deg,${stops})` }), "+max", make("i", { style: `flex:0 0 14px;background:rgb(${colour(NaN)})` }), "NaN");
};
