// Search by operation, module, weight or step; or for NaN, infinities and zero gradients.

const box = document.getElementById("search");
const found = document.getElementById("found");

const arraysIn = (numbers) => numbers.filter((k) => k !== null).map((k) => data.arrays[k]);
const stored = (one) => arraysIn([...one.values, ...one.gradients, ...(one.handed || []).map((part) => part.array)]);
const everything = [...data.leaves.filter((leaf) => leaf.kind !== "constant"), ...ops];

const matches = (query) => {
  const wanted = query.trim().toLowerCase();
  const step = /^t\s*=?\s*(\d+)$/.exec(wanted);
  if (!wanted) return [];
  if (step) return ops.filter((op) => op.step === Number(step[1]));
  if (wanted === "nan") return everything.filter((one) => stored(one).some((array) => array.nan));
  if (wanted === "inf") return everything.filter((one) => stored(one).some((array) => array.inf));
  if (wanted === "zero") return everything.filter((one) => arraysIn(one.gradients).some((array) => array.zero));
  return everything.filter((one) => `${one.name} #${one.id} ${one.path || ""}`.toLowerCase().includes(wanted));
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
