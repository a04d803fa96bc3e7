// Where everything stands: time to the right, depth upwards.

const state = { fold: "modules", flipped: new Set(), t: 0, position: count, marks: "gradient", stops: new Set(), leaf: null, playing: false };

const NODE = 28, GAP = 22, HEAD = 26, PAD = 12, LIMIT = 4000;
const timedWidth = steps.length <= 14 ? 96 : steps.length <= 40 ? 60 : 40;

const LABEL = 26; // letters of a name beside the picture
const tail = (path, letters) => (path.length <= letters ? path : `…${path.slice(1 - letters)}`);

/** In which box an operation or input stands. */
const boxOf = (item) => {
  const timed = item.step !== null;
  if (state.fold === "time") return timed ? `time@${item.step}` : item.band < firstTimed ? "before" : "after";
  if (!timed) return `${item.band}`;
  return state.fold === "rolled" ? `${item.band}@roll` : `${item.band}@${item.step}`;
};
const firstTimed = data.bands.findIndex((band) => band.timed);

const collect = () => {
  const boxes = new Map();
  const now = steps[state.t];
  for (const item of [...inputs, ...ops]) {
    const key = boxOf(item);
    if (!boxes.has(key)) {
      const timed = item.step !== null;
      const row = state.fold === "time" ? (timed ? "time" : key) : timed ? `t${item.band}` : `l${data.bands[item.band].level}`;
      boxes.set(key, { key, timed, step: state.fold === "rolled" && timed ? now : item.step, band: item.band, row, items: [], all: [] });
    }
    const box = boxes.get(key);
    box.all.push(item);
    if (state.fold !== "rolled" || item.step === null || item.step === now) box.items.push(item);
  }
  for (const box of boxes.values()) {
    const wish = state.fold === "all" || (state.fold === "rolled" && box.timed);
    box.single = box.all.length === 1;
    box.open = !box.single && wish !== state.flipped.has(box.key);
    const path = data.bands[box.band].path;
    box.path = state.fold === "time" ? (box.timed ? "all modules" : box.key === "before" ? "before the steps" : "after the steps") : path || "top level";
  }
  return boxes;
};

/** The inside of an open box: rows by depth, each ordered by where its sources stand. */
const inside = (box) => {
  const depth = new Map();
  const rows = [];
  const placed = box.items.map((item) => {
    const sources = (item.inputs || []).map(([, source]) => source).filter((source) => depth.has(source));
    depth.set(item.id, Math.max(-1, ...sources.map((source) => depth.get(source))) + 1);
    return { item, sources };
  });
  for (const { item } of placed) if (!item.inputs) { // an input stands just below its first user
    depth.set(item.id, Math.max(0, Math.min(...users.get(item.id).map((user) => depth.get(user) ?? 1)) - 1));
  }
  for (const { item, sources } of placed) {
    const level = depth.get(item.id);
    (rows[level] ||= []).push({ id: item.id, item, sources, w: Math.min(224, Math.max(58, 7.2 * Math.max(textOf(item).length, nameOf(item.id).length) + 24)), h: NODE });
  }
  const centre = new Map();
  let width = 0;
  for (const row of rows) {
    for (const node of row) {
      const known = node.sources.map((source) => centre.get(source));
      node.wish = known.length ? known.reduce((a, b) => a + b, 0) / known.length : 0;
    }
    row.sort((a, b) => a.wish - b.wish || a.id - b.id);
    const full = row.reduce((sum, node) => sum + node.w + 12, -12);
    let x = -full / 2;
    for (const node of row) { node.x = x; centre.set(node.id, x + node.w / 2); x += node.w + 12; }
    width = Math.max(width, full);
  }
  box.w = Math.max(width + 2 * (rows.length > 2 ? 3 * PAD : PAD), timedWidth);
  box.h = HEAD + rows.length * (NODE + GAP) - GAP + 2 * PAD;
  box.nodes = rows.flatMap((row, level) => row.map((node) => Object.assign(node, { x: node.x + box.w / 2, y: box.h - PAD - NODE - level * (NODE + GAP) })));
};

const layout = () => {
  const boxes = collect();
  const rows = new Map();
  for (const box of boxes.values()) {
    if (box.open) inside(box);
    else Object.assign(box, { w: box.timed ? timedWidth : Math.max(110, 7.2 * Math.min(34, box.path.length) + 40), h: box.single ? 34 : 44, nodes: [] });
    if (!rows.has(box.row)) rows.set(box.row, { boxes: [], timed: box.timed, order: state.fold === "time" ? { before: 0, time: 1, after: 2 }[box.row] : data.bands[box.band].level });
    rows.get(box.row).boxes.push(box);
  }
  const columns = new Map();
  const between = steps.length > 40 ? 10 : 30;
  for (const { boxes: those, timed } of rows.values()) if (timed) for (const box of those) columns.set(box.step, Math.max(columns.get(box.step) || 0, box.w));
  const starts = new Map();
  let across = 0;
  for (const t of [...columns.keys()].sort((a, b) => a - b)) { starts.set(t, across); across += columns.get(t) + between; }
  across = Math.max(0, across - between);
  const sorted = [...rows.values()].sort((a, b) => a.order - b.order);
  const total = Math.max(across, 120, ...sorted.filter((row) => !row.timed).map((row) => row.boxes.reduce((sum, box) => sum + box.w + 20, -20)));
  const left = (total - across) / 2;
  let y = 0;
  for (const row of sorted) {
    const height = Math.max(...row.boxes.map((box) => box.h));
    if (row.timed) for (const box of row.boxes) { box.x = left + starts.get(box.step) + (columns.get(box.step) - box.w) / 2; }
    else {
      const own = row.boxes.reduce((sum, box) => sum + box.w + 20, -20);
      const extra = Math.max(0, Math.max(across, 120) - own) / row.boxes.length; // bars are as wide as all steps
      let x = (total - Math.max(own, Math.min(total, own + extra * row.boxes.length))) / 2;
      for (const box of row.boxes) {
        const grown = box.w + extra;
        for (const node of box.nodes) node.x += extra / 2;
        Object.assign(box, { x, w: grown });
        x += grown + 20;
      }
    }
    for (const box of row.boxes) box.y = y - height + (height - box.h) / 2;
    y -= height + 46;
  }
  const place = new Map(); // by id: the node or box that shows it
  for (const box of boxes.values()) {
    for (const item of box.all) place.set(item.id, box);
    for (const node of box.nodes) { node.x += box.x; node.y += box.y; node.box = box; place.set(node.id, node); }
  }
  const edges = new Map();
  for (const op of ops) {
    const to = place.get(op.id);
    for (const [, source] of op.inputs) {
      const from = place.get(source);
      if (!from || from === to || to.nodes?.length || from.nodes?.length) continue; // hidden in a rolled cell
      const key = `${from.key || from.id}>${to.key || to.id}`;
      if (!edges.has(key)) edges.set(key, { from, to, ids: [] });
      edges.get(key).ids.push(source, op.id);
    }
  }
  return { boxes, place, edges: [...edges.values()], bottom: 0, top: y + 46, width: total, rows: sorted };
};
