// The walk through the execution: forward over all operations, then back over them.

const forwards = () => state.position < count;
const current = () => ops[forwards() ? state.position : 2 * count - 1 - state.position];
const still = matchMedia("(prefers-reduced-motion: reduce)");
const live = document.getElementById("live");
const slider = document.getElementById("position");
slider.max = 2 * count - 1;
let timer = null;

const say = (words) => { live.textContent = words; };

const sentence = () => {
  const op = current();
  const where = op.step === null ? "" : ` at step ${op.step}`;
  if (forwards()) return `Forward ${state.position + 1} of ${count}: ${op.name}${where}.`;
  const out = op.handed.map((part) => `${op.inputs[part.argument][0]} gets ${short(part.norm, 3)}`).join(", ");
  const rule = data.rules[op.name].formulas.filter((one) => !one.startsWith("y")).join(", ");
  return `Backward ${state.position - count + 1} of ${count}: ${op.name}${where}. ${rule ? `${rule}. ` : ""}Gradient norm in ${short(op.norm, 3)}; ${out}.`;
};

/** Show the operation at the present position everywhere. */
const refresh = (bring = true) => {
  const op = current();
  if (state.fold === "rolled" && op.step !== null && steps[state.t] !== op.step && state.leaf === null) setStep(steps.indexOf(op.step));
  slider.value = state.position;
  slider.setAttribute("aria-valuetext", sentence());
  document.getElementById("where").textContent = `${forwards() ? "forward" : "backward"} · ${op.name} #${op.id}`;
  if (state.leaf === null) showOperation();
  else showLeaf();
  for (const button of rail.querySelectorAll("[data-leaf]")) button.setAttribute("aria-pressed", Number(button.dataset.leaf) === state.leaf);
  marks.lit = state.leaf === null ? new Set() : usesOf(leafOf.get(state.leaf));
  moveCursors();
  if (bring && state.leaf === null) reveal(plan.place.get(op.id));
  dressAll();
};

const moveTo = (position) => {
  state.leaf = null;
  state.position = Math.max(0, Math.min(2 * count - 1, position));
  refresh();
  say(sentence());
};

/** To an operation, in the direction in which the walk is. */
const go = (id) => moveTo(forwards() ? id : 2 * count - 1 - id);

const goStep = (t) => {
  const last = ops.findLast((op) => op.step === t);
  if (last) moveTo(2 * count - 1 - last.id);
};

const selectLeaf = (id) => {
  pause();
  state.leaf = id;
  panel.scrollTop = 0;
  refresh();
  const leaf = leafOf.get(id);
  say(`${leaf.name}: ${leaf.steps.length > 1 ? `gradient is the sum of ${leaf.steps.length} parts` : "gradient in one part"}.`);
};

const pause = () => {
  clearInterval(timer);
  timer = null;
  state.playing = false;
  document.getElementById("play").textContent = "▶ play";
  document.getElementById("play").setAttribute("aria-label", "Play");
};

const play = () => {
  if (state.playing) return pause();
  if (state.position === 2 * count - 1) state.position = 0;
  state.playing = true;
  document.getElementById("play").textContent = "❚❚ pause";
  document.getElementById("play").setAttribute("aria-label", "Pause");
  timer = setInterval(() => {
    moveTo(state.position + 1);
    if (state.position === 2 * count - 1) pause();
    else if (state.stops.has(current().id)) { pause(); say(`Stopped at the breakpoint. ${sentence()}`); }
  }, still.matches ? 1500 : 450);
};

const toggleStop = () => {
  const { id } = current();
  if (!state.stops.delete(id)) state.stops.add(id);
  refresh(false);
  document.getElementById("stop").focus();
  say(state.stops.has(id) ? "Breakpoint set." : "Breakpoint removed.");
};
