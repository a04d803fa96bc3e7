// The picture: only what is in view is in the document.

const svg = document.getElementById("graph");
const world = document.getElementById("world");
const view = { x: 0, y: 0, scale: 1 };
let plan = null;
let shown = new Map(); // key: element
let active = null; // the key that Tab reaches
const marks = { lit: new Set(), hit: new Set() };

const keyOf = (item) => (item.nodes ? `b${item.key}` : `n${item.id}`);
const idOf = (item) => (item.nodes ? (item.single ? item.all[0].id : null) : item.id);

const curve = ({ from, to }) => {
  const a = from.box || from, b = to.box || to;
  const middle = (item) => item.x + item.w / 2;
  const within = (x, item) => Math.max(item.x + 10, Math.min(item.x + item.w - 10, x));
  if (a !== b && a.row === b.row && a.timed) {
    const ahead = a.x < b.x;
    const x1 = ahead ? from.x + from.w : from.x, x2 = ahead ? to.x : to.x + to.w;
    const y1 = from.y + from.h / 2, y2 = to.y + to.h / 2, bend = Math.max(14, Math.abs(x2 - x1) / 2.4) * (ahead ? 1 : -1);
    const tip = ahead ? -5 : 5;
    return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}m${tip} -3.5L${x2} ${y2}l${tip} 3.5`;
  }
  if (a === b && from.y - to.y > NODE + GAP + 2) { // past other rows: around them
    const right = middle(from) >= middle(to), side = right ? 1 : -1;
    const x1 = from.x + (right ? from.w : 0), x2 = to.x + (right ? to.w : 0), y1 = from.y + from.h / 2, y2 = to.y + to.h / 2;
    const bend = side * Math.min(60, 14 + (y1 - y2) / 9), far = right ? Math.max(x1, x2) : Math.min(x1, x2);
    return `M${x1} ${y1}C${far + bend} ${y1} ${far + bend} ${y2} ${x2} ${y2}m${5 * side} -3.5L${x2} ${y2}l${5 * side} 3.5`;
  }
  const x1 = from.w > 200 ? within(middle(to), from) : middle(from), x2 = to.w > 200 ? within(middle(from), to) : middle(to);
  const y1 = from.y, y2 = to.y + to.h, bend = Math.max(12, Math.abs(y2 - y1) / 2.2);
  return `M${x1} ${y1}C${x1} ${y1 - bend} ${x2} ${y2 + bend} ${x2} ${y2}m-3.5 5L${x2} ${y2}l3.5 5`;
};

const labelOf = (box) => {
  const many = `${partsOf(box).length} operations`;
  return `${box.path}${box.step === null ? "" : `, step ${box.step}`}, ${many}, ${box.open ? "unfolded" : "folded"}`;
};

/** What the mark of an item measures, and how wide that makes it, between 0 and 1. */
const MEASURES = {
  gradient: (item) => (item.timed && handedOn[item.band]?.get(item.step)) || greatest(partsOf(item).map((op) => op.norm)),
  memory: (item) => partsOf(item).reduce((sum, op) => sum + newAt[op.id], 0),
  time: (item) => partsOf(item).reduce((sum, op) => sum + op.seconds, 0),
};
const partsOf = (item) => (item.nodes ? item.all : [item.item]).filter((one) => one.inputs);
const loudnessOf = (item) => {
  const amount = MEASURES[state.marks](item);
  return state.marks === "gradient" ? loudness(amount) : amount / (plan.most || 1);
};

const mark = (item) => {
  const loud = loudnessOf(item);
  return draw("rect", { class: "mark", x: 5, y: 7, width: (1 + 7 * loud).toFixed(2), height: Math.max(1, item.h - 14), rx: 1.5, opacity: loud > 0 ? 1 : 0 });
};

/** Where a name is written: in the middle, but of a bar wider than the view near its start. */
const middleOf = (item) => (item.w > 1200 ? 300 : item.w / 2);

const elementOf = (item) => {
  const id = idOf(item);
  if (id !== null) {
    const leaf = leafOf.get(id);
    const group = draw("g", { class: leaf ? "op leaf" : "op", role: "button", tabindex: -1, "data-id": id });
    const op = ops[id];
    const name = leaf ? leaf.name : op.name;
    group.append(draw("rect", { class: "frame", width: item.w, height: item.h }), mark(item));
    const text = draw("text", { x: middleOf(item) + 3, y: item.h / 2 + 4, "text-anchor": "middle" });
    const room = Math.max(4, Math.floor((item.w - 14) / 6.6)), full = textOf(leaf || op);
    text.textContent = full.length <= room ? full : tail(name, room);
    group.append(text);
    group.setAttribute("aria-label", leaf ? `input ${name}, ${shapeText(leaf.shape)}` : `${name}, operation ${id}, ${placeOf(op)}, ${op.shapes.map(shapeText).join("; ")}, gradient norm ${short(op.norm)}`);
    const hint = draw("title");
    hint.textContent = group.getAttribute("aria-label");
    group.append(hint);
    return group;
  }
  const group = draw("g", { class: item.open ? "box open" : "box", role: "button", tabindex: -1, "data-box": item.key, "aria-expanded": item.open, "aria-label": labelOf(item) });
  group.append(draw("rect", { class: "frame", width: item.w, height: item.h }));
  if (!item.open) group.append(mark(item));
  const write = (x, y, text, quiet, anchor = "start") => {
    const node = draw("text", { x, y, "text-anchor": anchor, ...(quiet ? { class: "quiet" } : {}) });
    node.textContent = text;
    group.append(node);
  };
  const narrow = item.timed && !item.open;
  const when = item.timed ? (narrow && timedWidth < 50 ? `${item.step}` : `t = ${item.step}`) : tail(item.path, Math.floor((item.w - 40) / 7));
  if (item.open) write(14, 19, item.timed ? `${when}  ·  ${tail(item.path, Math.max(4, Math.floor(item.w / 8) - 7))}` : when, true);
  else {
    const centre = middleOf(item) + 2;
    write(centre, 20, when, false, "middle");
    write(centre, 35, `${partsOf(item).length} ops`.slice(0, timedWidth < 50 && item.timed ? 3 : 12), true, "middle");
  }
  return group;
};

const place = () => world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);

let bounds = { width: 0, height: 0 };
const measure = () => { bounds = svg.getBoundingClientRect(); };

/** Put into the document what the view shows, and take out the rest. */
const cull = () => {
  place();
  svg.classList.toggle("far", view.scale < 0.4);
  svg.classList.toggle("farther", view.scale < 0.18);
  const margin = 150 / view.scale;
  const low = { x: -view.x / view.scale - margin, y: -view.y / view.scale - margin };
  const high = { x: (bounds.width - view.x) / view.scale + margin, y: (bounds.height - view.y) / view.scale + margin };
  const sees = (item) => item.x < high.x && item.x + item.w > low.x && item.y < high.y && item.y + item.h > low.y;
  const focused = document.activeElement;
  for (const item of plan.items) {
    const key = keyOf(item);
    const element = shown.get(key);
    if (!sees(item)) {
      if (element && element !== focused) { element.remove(); shown.delete(key); }
    } else if (!element) {
      const made = elementOf(item);
      made.setAttribute("transform", `translate(${item.x} ${item.y})`);
      shown.set(key, made);
      (item.nodes && item.open ? plan.frames : plan.front).append(made);
      dress(item, made);
    }
  }
  const lines = plan.edges.filter(({ from, to }) => sees(from) || sees(to));
  plan.lines.setAttribute("d", lines.map(curve).join(""));
  paintFlow();
};

/** What is marked at this moment: the current operation, lit uses, search hits, breakpoints. */
const dress = (item, element = shown.get(keyOf(item))) => {
  if (!element) return;
  const ids = item.nodes ? (item.open ? [] : item.all.map((one) => one.id)) : [item.id];
  const now = state.leaf === null ? current().id : null;
  element.classList.toggle("now", ids.includes(now));
  element.classList.toggle("lit", ids.some((id) => marks.lit.has(id)));
  element.classList.toggle("hit", ids.some((id) => marks.hit.has(id)));
  const stopped = ids.some((id) => state.stops.has(id));
  const dot = element.querySelector("circle");
  element.classList.toggle("stop", stopped);
  if (stopped && !dot) element.append(draw("circle", { cx: item.w - 8, cy: 8, r: 4.5 }));
  if (!stopped && dot) dot.remove();
  element.setAttribute("tabindex", keyOf(item) === active ? 0 : -1);
};

const paintFlow = () => {
  const op = state.leaf === null ? current() : null;
  const flows = op ? plan.edges.filter(({ ids }) => ids.some((id, k) => id === op.id && k % 2)) : []; // its own arguments
  plan.flow.setAttribute("d", flows.map(curve).join(""));
};

const dressAll = () => { for (const item of plan.items) dress(item); paintFlow(); };

const redraw = () => {
  plan = layout();
  const boxes = [...plan.boxes.values()];
  plan.items = [...boxes, ...boxes.flatMap((box) => box.nodes)];
  plan.most = greatest(plan.items.filter((item) => !item.open).map(MEASURES[state.marks]));
  plan.byKey = new Map(plan.items.map((item) => [keyOf(item), item]));
  plan.lines = draw("path", { class: "edge" });
  plan.flow = draw("path", { class: "edge flow" });
  plan.frames = draw("g");
  plan.front = draw("g");
  world.replaceChildren(plan.frames, plan.lines, plan.flow, plan.front);
  for (const row of plan.rows) {
    if (!row.timed || (state.fold !== "rolled" && row.boxes.every((those) => those.open))) continue;
    const first = row.boxes.reduce((one, other) => (other.x < one.x ? other : one)); // also where time is read backwards
    const text = draw("text", { class: "quiet", x: first.x - 14, y: first.y + first.h / 2 + 4, "text-anchor": "end", fill: "var(--quiet)", "font-size": 12 });
    text.textContent = tail(first.path, LABEL);
    if (state.fold === "rolled") {
      const { x, y, w, h } = row.boxes[0];
      plan.frames.append(draw("path", { class: "edge", d: `M${x + w} ${y + h / 2}c46 0 46 ${h / 2 + 22} 0 ${h / 2 + 22}H${x}c-46 0 -46 ${-h / 2 - 22} 0 ${-h / 2 - 22}` }));
      const loop = draw("text", { class: "quiet", x: x + w + 44, y: y + h / 2 + 4, fill: "var(--quiet)", "font-size": 11 });
      loop.textContent = `from step to step, ${steps.length} steps`;
      plan.frames.append(loop);
      text.setAttribute("x", x - 46);
    }
    plan.frames.append(text);
  }
  shown = new Map();
  if (!plan.byKey.has(active)) active = plan.items.length ? keyOf(plan.items[0]) : null;
  measure();
  cull();
};

const fit = (least = 0.02) => {
  measure();
  const names = state.fold === "all" ? [] : plan.rows.filter((row) => row.timed).map((row) => Math.min(LABEL, row.boxes[0].path.length));
  const labels = names.length ? Math.max(state.fold === "rolled" ? 170 : 60, 30 + 7 * Math.max(...names)) : 30;
  const width = plan.width + 2 * labels, height = plan.bottom - plan.top + 40;
  const room = bounds.height - 50; // above the tools
  view.scale = Math.max(least, Math.min(1.25, bounds.width / width, room / height));
  view.x = Math.max((bounds.width - plan.width * view.scale) / 2, labels * view.scale);
  if (plan.width * view.scale < bounds.width - 40) view.x = (bounds.width - plan.width * view.scale) / 2;
  view.y = room - 20 * view.scale - Math.max(0, (room - height * view.scale) / 2) - plan.bottom * view.scale;
  cull();
};

const zoomBy = (factor, x = bounds.width / 2, y = bounds.height / 2) => {
  const scale = Math.max(0.02, Math.min(3, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  cull();
};

/** Bring an item into view, if it is not. */
const reveal = (item) => {
  if (view.scale < 0.3) view.scale = 0.6;
  const x = item.x * view.scale + view.x, y = item.y * view.scale + view.y;
  const w = Math.min(item.w * view.scale, bounds.width - 60), h = Math.min(item.h * view.scale, bounds.height - 60);
  if (x < 20) view.x += 40 - x;
  else if (x + w > bounds.width - 20) view.x -= x + w - bounds.width + 40;
  if (y < 20) view.y += 40 - y;
  else if (y + h > bounds.height - 60) view.y -= y + h - bounds.height + 80;
  cull();
};

const focusOn = (item) => {
  active = keyOf(item);
  reveal(item);
  dressAll();
  shown.get(active)?.focus({ preventScroll: true });
};

/** The nearest item in a direction. */
const neighbour = (item, dx, dy) => {
  const cx = item.x + item.w / 2, cy = item.y + item.h / 2;
  let best = null, least = Infinity;
  for (const other of plan.items) {
    if (other === item || (other.nodes && other.open && other === item.box && dy >= 0)) continue;
    const x = other.x + other.w / 2 - cx;
    const y = (other.open ? other.y + 12 : other.y + other.h / 2) - (item.open ? item.y + 12 : cy);
    const along = x * dx + y * dy, aside = Math.abs(x * dy + y * dx);
    if (along <= 2) continue;
    const overlap = dy !== 0 && other.x <= cx && other.x + other.w >= cx ? 0 : aside;
    const far = along + 2.5 * overlap;
    if (far < least) { least = far; best = other; }
  }
  return best;
};
