// Two strips below: the size of gradients over time, and bytes over the execution.

const strips = document.getElementById("strips");
const WIDE = 600, HIGH = 78;

const figure = (title, note, picture) => make("figure", {}, make("figcaption", {}, make("span", {}, title), make("span", {}, note)), picture);

const text = (x, y, words, anchor = "start") => {
  const node = draw("text", { x, y, "text-anchor": anchor });
  node.textContent = words;
  return node;
};

/** ‖∂L/∂h‖ at each step on a logarithmic scale, a line for each band of cells. */
const gradientStrip = () => {
  const known = data.bands.map((band, b) => [band, handedOn[b]]).filter(([, sums]) => sums?.size > 1);
  if (!known.length) return null;
  const all = known.flatMap(([, sums]) => [...sums.values()]).filter((x) => x > 0 && Number.isFinite(x)).map(Math.log10);
  if (!all.length) return null;
  const low = Math.floor(Math.min(...all) - 0.05), high = Math.max(low + 1, Math.ceil(Math.max(...all) + 0.05));
  const width = strips.clientWidth / 2 - 20 || WIDE;
  const names = known.length > 1 ? known.map(([band]) => tail(band.path || "top level", 22)) : [];
  const edge = width - 8 - (names.length ? 6.4 * Math.max(...names.map((name) => name.length)) + 14 : 0); // of the lines
  const x = (t) => 44 + ((t - steps[0] + 0.5) / (steps.at(-1) - steps[0] + 1)) * (edge - 46);
  const y = (norm) => 8 + (1 - (Math.log10(norm) - low) / (high - low)) * 54;
  const picture = draw("svg", { viewBox: `0 0 ${width} ${HIGH}`, role: "group", "aria-label": "Gradient norm at every time step, logarithmic" });
  for (let e = low; e <= high; e += Math.max(1, Math.ceil((high - low) / 4))) {
    picture.append(draw("line", { class: "grid", x1: 44, x2: edge, y1: y(10 ** e), y2: y(10 ** e) }), text(38, y(10 ** e) + 4, `1e${e}`.replace("-", "−"), "end"));
  }
  const ends = [];
  for (const [band, sums] of known) {
    const points = [...sums].sort((a, b) => a[0] - b[0]).filter(([, norm]) => norm > 0 && Number.isFinite(norm));
    picture.append(draw("polyline", { class: "trend", points: points.map(([t, norm]) => `${x(t)},${y(norm)}`).join(" ") }));
    if (points.length) ends.push({ name: band.path || "top level", x: x(points.at(-1)[0]), y: y(points.at(-1)[1]) });
    if (steps.length <= 60) for (const [t, norm] of points) {
      const dot = draw("circle", { class: "dot", cx: x(t), cy: y(norm), r: 3.5 });
      const title = draw("title");
      title.textContent = `${known.length > 1 ? `${band.path || "top level"}, ` : ""}t = ${t}: ${short(norm)}`;
      dot.append(title);
      dot.addEventListener("click", () => goStep(t));
      picture.append(dot);
    }
  }
  if (names.length) picture.append(...namesOf(ends, edge));
  const every = Math.ceil(steps.length / 16);
  steps.forEach((t, k) => { if (k % every === 0) picture.append(text(x(t), HIGH - 2, String(t), "middle")); });
  picture.append(draw("line", { class: "cursor", y1: 4, y2: 64, id: "time-cursor", "stroke-opacity": 0 }));
  const [band, sums] = known[0];
  const span = [...sums.keys()].sort((a, b) => a - b), from = span[0], to = span.at(-1);
  const ratio = sums.get(from) / sums.get(to);
  const strange = span.filter((t) => !Number.isFinite(sums.get(t)));
  const verdict = !Number.isFinite(ratio) ? "" : ratio < 0.01 ? "vanishes backwards" : ratio > 100 ? "explodes backwards" : "";
  timeX = x;
  const note = strange.length ? `not finite at t = ${strange.slice(0, 4).join(", ")}${strange.length > 4 ? " …" : ""}`
    : `${verdict ? `${verdict}: ` : ""}${known.length > 1 ? `${tail(band.path || "top level", 16)}: ` : ""}‖t = ${from}‖ / ‖t = ${to}‖ = ${short(ratio, 3)}`;
  return figure("Gradient reaching each time step  ‖∂L/∂h‖", note, picture);
};

/** Names at the ends of lines, pushed apart; those that find no room are in the dots' titles. */
const namesOf = (ends, edge) => {
  const high = 11, most = 6;
  const named = [...ends].sort((a, b) => a.y - b.y).slice(0, most);
  let y = 2;
  for (const end of named) { end.at = Math.max(y + high, end.y + 3.5); y = end.at; }
  let below = 67;
  for (const end of [...named].reverse()) { end.at = Math.min(end.at, below); below = end.at - high; }
  return named.flatMap((end) => [
    draw("path", { class: "leader", d: `M${end.x + 4} ${end.y}L${edge + 2} ${end.y}L${edge + 10} ${end.at - 3.5}` }),
    Object.assign(text(edge + 13, end.at, tail(end.name, 22)), { style: "font-size: 10px" }),
  ]);
};
let timeX = null, executionX = null;

/** Saved bytes and gradients in flight, forward and then back. */
const bytesStrip = () => {
  const width = strips.clientWidth / (steps.length > 1 ? 2 : 1) - 20 || WIDE;
  const kept = [...keptAt, ...[...keptAt].reverse()];
  const flight = [...ops.map(() => 0), ...ops.map((op) => op.flight).reverse()];
  const both = kept.map((n, k) => n + flight[k]);
  const most = greatest(both, 1), peak = both.indexOf(most);
  const x = (position) => 60 + (position / (2 * count - 1 || 1)) * (width - 68);
  const y = (n) => 62 - (n / most) * 52;
  const area = (upper, lower) => `M${upper.map((n, k) => `${x(k).toFixed(1)} ${y(n).toFixed(1)}`).join("L")}L${[...lower].reverse().map((n, k) => `${x(lower.length - 1 - k).toFixed(1)} ${y(n).toFixed(1)}`).join("L")}Z`;
  const picture = draw("svg", { viewBox: `0 0 ${width} ${HIGH}`, role: "img", "aria-label": `Bytes kept over the execution; the peak is ${bytes(most)}` });
  picture.append(
    draw("line", { class: "grid", x1: 60, x2: width - 8, y1: y(0), y2: y(0) }), text(54, y(most) + 5, bytes(most), "end"), text(54, y(0) + 3, "0", "end"),
    draw("path", { class: "area", d: area(kept, kept.map(() => 0)) }), draw("path", { class: "area more", d: area(both, kept) }),
    draw("line", { class: "grid", x1: x(count - 0.5), x2: x(count - 0.5), y1: 4, y2: 66 }),
    text(x(count / 2), HIGH - 2, "forward →", "middle"), text(x(1.5 * count), HIGH - 2, "→ backward", "middle"),
    draw("line", { class: "cursor", y1: 2, y2: 66, id: "byte-cursor" }));
  const top = draw("circle", { class: "dot", cx: x(peak), cy: y(most), r: 3.5 });
  const words = draw("title");
  words.textContent = `peak: ${bytes(kept[peak])} saved, ${bytes(flight[peak])} of gradients`;
  top.append(words);
  picture.append(top);
  picture.style.cursor = "pointer";
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const at = ((event.clientX - box.left) * (width / box.width) - 60) / (width - 68);
    moveTo(Math.round(Math.max(0, Math.min(1, at)) * (2 * count - 1)));
  });
  executionX = x;
  const note = make("span", { id: "bytes-now" });
  const title = make("span", {}, "Memory", make("i", { class: "key" }), "saved for backward", make("i", { class: "key more" }), "gradients");
  return figure(title, note, picture);
};

const moveCursors = () => {
  const at = executionX(state.position);
  for (const name of ["x1", "x2"]) document.getElementById("byte-cursor").setAttribute(name, at);
  const op = current();
  document.getElementById("bytes-now").textContent = `now ${bytes(keptAt[op.id])} + ${bytes(forwards() ? 0 : op.flight)}`;
  const line = document.getElementById("time-cursor");
  if (!line) return;
  line.setAttribute("stroke-opacity", op.step === null ? 0 : 1);
  if (op.step !== null) for (const name of ["x1", "x2"]) line.setAttribute(name, timeX(op.step));
};

const buildStrips = () => {
  const shown = [gradientStrip(), bytesStrip()].filter(Boolean);
  strips.style.gridTemplateColumns = shown.length === 1 ? "1fr" : "";
  strips.replaceChildren(...shown);
};
