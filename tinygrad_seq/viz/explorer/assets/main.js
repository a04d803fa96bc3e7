// Everything together: folding, keys, the pointer, the theme, and the first view.

const FOLDS = { modules: "modules", time: "time", rolled: "rolled", all: "unfolded" };
const SPOKEN = {
  modules: "Folded by module and time step", time: "Folded by time step", rolled: "All steps in one cell", all: "Everything unfolded",
};
const folds = document.getElementById("folds");
const chooser = document.getElementById("step");

const setStep = (index) => {
  state.t = index;
  chooser.value = index;
  document.getElementById("step-now").textContent = `t = ${steps[index]}`;
  redraw();
};

const setFold = (fold) => {
  if (fold === "all" && count > LIMIT) {
    say(`${count} operations are too many to unfold at once; unfold a part.`);
    return;
  }
  state.fold = fold;
  state.flipped = new Set();
  for (const button of folds.children) {
    button.setAttribute("aria-checked", button.dataset.fold === fold);
    button.tabIndex = button.dataset.fold === fold ? 0 : -1;
  }
  document.getElementById("roll").hidden = fold !== "rolled";
  if (fold === "rolled") setStep(state.t);
  else redraw();
  fit(steps.length > 40 ? 0.6 : 0.45);
  if (state.leaf === null) reveal(plan.place.get(current().id));
  say(SPOKEN[fold]);
};

const toggleBox = (key) => {
  if (!state.flipped.delete(key)) state.flipped.add(key);
  const before = plan.byKey.get(`b${key}`);
  const at = { x: before.x * view.scale + view.x, y: (before.y + before.h) * view.scale + view.y };
  redraw();
  const after = plan.byKey.get(`b${key}`);
  view.x = at.x - after.x * view.scale; // what was clicked stays under the pointer
  view.y = at.y - (after.y + after.h) * view.scale;
  focusOn(after);
  say(labelOf(after));
};

const open = (element) => {
  if (!element) return;
  if (element.dataset.box !== undefined) toggleBox(element.dataset.box);
  else if (leafOf.has(Number(element.dataset.id))) selectLeaf(Number(element.dataset.id));
  else go(Number(element.dataset.id));
};

// The pointer: drag to move, wheel to zoom, click to open.
let drag = null;
svg.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, moved: false, from: event.target.closest("[role=button]") }; });
addEventListener("pointermove", (event) => {
  if (!drag) return;
  const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
  if (!drag.moved && Math.hypot(dx, dy) < 5) return;
  Object.assign(drag, { moved: true, x: event.clientX, y: event.clientY });
  svg.classList.add("dragging");
  view.x += dx;
  view.y += dy;
  requestCull();
});
addEventListener("pointerup", () => { svg.classList.remove("dragging"); setTimeout(() => { drag = null; }); });
svg.addEventListener("click", (event) => {
  const element = event.target.closest("[role=button]");
  if (!drag?.moved && element) { active = keyOf(itemOf(element)); open(element); }
});
svg.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 500)), event.offsetX, event.offsetY);
}, { passive: false });
let asked = false;
const requestCull = () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; cull(); });
};

const itemOf = (element) => {
  if (element.dataset.box !== undefined) return plan.byKey.get(`b${element.dataset.box}`);
  const at = plan.place.get(Number(element.dataset.id));
  return at;
};

// Keys.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
svg.addEventListener("keydown", (event) => {
  const element = event.target.closest("[role=button]");
  if (!element) return;
  if (ARROWS[event.key]) {
    event.preventDefault();
    const next = neighbour(itemOf(element), ...ARROWS[event.key]);
    if (next) focusOn(next);
  } else if (event.key === "Enter") { event.preventDefault(); open(element); }
});
const turnGuide = () => {
  const guide = document.getElementById("guide");
  guide.hidden = !guide.hidden;
  document.getElementById("help").setAttribute("aria-expanded", !guide.hidden);
  measure();
  fit(Math.min(view.scale, 0.45));
};
const zoomIn = () => zoomBy(1.25), zoomOut = () => zoomBy(0.8);
const KEYS = {
  ",": () => { pause(); moveTo(state.position - 1); }, ".": () => { pause(); moveTo(state.position + 1); },
  b: () => { if (state.leaf === null) toggleStop(); }, "/": () => box.focus(), "?": turnGuide, "+": zoomIn, "-": zoomOut, 0: () => fit(),
};
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=search]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && !event.target.matches("button, summary")) { event.preventDefault(); play(); }
  else if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

const setTheme = (dark) => {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  if (plan) refresh(false);
};
const night = matchMedia("(prefers-color-scheme: dark)");
night.addEventListener("change", () => setTheme(night.matches));

// Controls.
const on = (id, action) => document.getElementById(id).addEventListener("click", action);
on("theme", () => setTheme(!isDark()));
on("help", turnGuide);
on("first", () => { pause(); moveTo(0); });
on("back", KEYS[","]);
on("play", play);
on("forth", KEYS["."]);
on("turn", () => { pause(); moveTo(count); });
on("last", () => { pause(); moveTo(2 * count - 1); });
slider.addEventListener("input", () => { pause(); moveTo(Number(slider.value)); });
chooser.addEventListener("input", () => {
  setStep(Number(chooser.value));
  say(`Time step ${steps[state.t]}`);
  refresh(false);
});
document.getElementById("zoom").addEventListener("click", (event) => {
  const actions = { in: zoomIn, out: zoomOut, fit: () => fit() };
  actions[event.target.dataset.zoom]?.();
});
const marking = document.getElementById("marks");
marking.addEventListener("change", () => { state.marks = marking.value; redraw(); say(`Marks show ${marking.selectedOptions[0].textContent}`); });
addEventListener("resize", () => { measure(); buildStrips(); fit(Math.min(view.scale, 0.45)); refresh(false); });

for (const [fold, label] of Object.entries(FOLDS)) {
  const disabled = !steps.length && (fold === "time" || fold === "rolled");
  folds.append(make("button", { role: "radio", "data-fold": fold, disabled, onclick: () => setFold(fold) }, label));
}
folds.addEventListener("keydown", (event) => {
  const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!move) return;
  event.preventDefault();
  const those = [...folds.children].filter((button) => !button.disabled);
  const next = those[(those.indexOf(document.activeElement) + move + those.length) % those.length];
  setFold(next.dataset.fold);
  next.focus();
});

// The first view: whole, and the weight that most steps share, for its gradient is the question.
setTheme(night.matches);
document.title = `${data.title} · Explorer`;
document.getElementById("title").textContent = data.title;
document.getElementById("summary").textContent = `loss ${short(data.loss, 6)} · ${count} operations${steps.length ? ` · ${steps.length} time steps` : ""}${data.traced ? "" : " · not traced: no modules, steps and few values"}`;
const kinds = { gradient: "gradient norm", memory: "bytes kept for backward", ...(data.profiled ? { time: "measured time" } : {}) };
marking.append(...Object.entries(kinds).map(([value, label]) => make("option", { value }, label)));
chooser.max = Math.max(0, steps.length - 1);
state.t = Math.max(0, steps.length - 1);
state.position = count;
const shared = data.leaves.filter((leaf) => leaf.steps.filter((part) => part.step !== null).length > 1);
state.leaf = shared.length ? (shared.find((leaf) => /weight_hh/.test(leaf.name)) || shared[0]).id : null;
buildRail();
buildStrips();
setFold(count <= 40 ? "all" : "modules");
refresh(false);
