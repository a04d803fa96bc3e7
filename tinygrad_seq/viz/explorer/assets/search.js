// Search by operation, module, weight or step; or for NaN, infinities and zero gradients.

const box = document.getElementById("search");
const found = document.getElementById("found");

const stored = (op) => [...op.values, ...op.gradients].filter((k) => k !== null).map((k) => data.arrays[k]);

const matches = (query) => {
  const wanted = query.trim().toLowerCase();
  const step = /^t\s*=?\s*(\d+)$/.exec(wanted);
  if (!wanted) return [];
  if (step) return ops.filter((op) => op.step === Number(step[1]));
  if (wanted === "nan") return ops.filter((op) => stored(op).some((array) => array.nan));
  if (wanted === "inf") return ops.filter((op) => stored(op).some((array) => array.inf));
  if (wanted === "zero") return ops.filter((op) => op.gradients.some((k) => k !== null && data.arrays[k].zero));
  const leaves = data.leaves.filter((leaf) => leaf.kind !== "constant" && leaf.name.toLowerCase().includes(wanted));
  return [...leaves, ...ops.filter((op) => `${op.name} #${op.id} ${op.path}`.toLowerCase().includes(wanted))];
};

const search = () => {
  const hits = matches(box.value);
  marks.hit = new Set(hits.map((hit) => hit.id));
  found.hidden = !box.value.trim();
  const line = (hit) => make("li", {}, make("button", { onclick: () => choose(hit) },
    leafOf.has(hit.id) ? `${hit.name} (weight or input)` : `${hit.name} #${hit.id} · ${placeOf(hit)}`));
  found.replaceChildren(make("li", {}, make("p", {}, hits.length ? `${hits.length} found` : "Nothing found. Try an operation, a module, t=3, nan, inf or zero.")), ...hits.slice(0, 60).map(line));
  dressAll();
  say(`${hits.length} found`);
};

const choose = (hit) => {
  found.hidden = true;
  if (leafOf.has(hit.id)) selectLeaf(hit.id);
  else go(hit.id);
};

const closeSearch = () => {
  found.hidden = true;
  box.value = "";
  marks.hit = new Set();
  dressAll();
};

box.addEventListener("input", search);
box.addEventListener("keydown", (event) => {
  const buttons = [...found.querySelectorAll("button")];
  if (event.key === "Enter" && buttons.length) buttons[0].click();
  else if (event.key === "ArrowDown" && buttons.length) { event.preventDefault(); buttons[0].focus(); }
  else if (event.key === "Escape") closeSearch();
});
found.addEventListener("keydown", (event) => {
  const buttons = [...found.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  if (event.key === "ArrowDown") { event.preventDefault(); buttons[Math.min(at + 1, buttons.length - 1)].focus(); }
  if (event.key === "ArrowUp") { event.preventDefault(); (buttons[at - 1] || box).focus(); }
  if (event.key === "Escape") { closeSearch(); box.focus(); }
});
