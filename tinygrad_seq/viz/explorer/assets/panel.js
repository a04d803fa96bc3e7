// The column on the right: one operation, or one weight.

const panel = document.getElementById("panel");

const link = (id) => {
  if (id < count) return make("button", { class: "link", "data-go": id, onclick: () => go(id) }, `${ops[id].name} #${id}${ops[id].step === null ? "" : ` at t = ${ops[id].step}`}`);
  const leaf = leafOf.get(id);
  return leaf.kind === "constant" ? make("span", {}, tail(leaf.name, 60)) : make("button", { class: "link", onclick: () => selectLeaf(id) }, tail(leaf.name, 60));
};

const formulas = (op, argument) => {
  const rule = data.rules[op.name];
  const lines = rule.formulas.map((text) => {
    const of = forwards() ? text.startsWith("y") : !text.startsWith("y");
    return make("div", { class: of ? "on" : "" }, text.replaceAll("-", "−"));
  });
  for (const text of rule.code) lines.push(make("div", { class: forwards() ? "" : "on" }, make("code", {}, text)));
  return lines.length ? make("div", { class: "formula", "aria-label": "Rule" }, lines) : null;
};

const checked = (id) => {
  const found = data.checks[id];
  if (!found) return null;
  const good = Number(found.difference) < 1e-4;
  return make("div", { "data-check": found.difference }, make("h2", {}, "Against a finite difference of the loss"),
    make("table", { class: "sum check" }, make("tbody", {},
      make("tr", {}, make("td", {}, "(L(y + εv) − L(y − εv)) / 2ε"), make("td", {}, short(found.numeric, 7))),
      make("tr", {}, make("td", {}, "⟨ȳ, v⟩"), make("td", {}, short(found.analytic, 7))),
      make("tr", { class: "top" }, make("td", {}, "difference, relative to ‖ȳ‖ ‖v‖"), make("td", {}, short(found.difference, 3))))),
    make("p", { class: "quiet" }, good ? "They agree; v is a random direction." : "They differ: is there a kink, a jump or a wrong rule?"));
};

const several = (numbers, name) => (numbers.length > 6
  ? [...numbers.slice(0, 6).map((k, slot) => heatMap(`${name}[${slot}]`, k)), make("p", { class: "quiet" }, `and ${numbers.length - 6} more results`)]
  : numbers.map((k, slot) => heatMap(numbers.length > 1 ? `${name}[${slot}]` : name, k)));

const valueOf = (source, slot) => (source < count ? ops[source].values[slot || 0] : leafOf.get(source).values[0]);

const forwardPart = (op) => [
  make("h2", {}, "Values in"),
  ...op.inputs.slice(0, 8).map(([argument, source, slot, , text]) => (source === null
    ? make("p", { class: "quiet" }, `${argument}: ${text ?? "a constant that no rule needs"}`)
    : make("div", {}, heatMap(argument, valueOf(source, slot)), make("p", { class: "quiet" }, "from ", link(source))))),
  op.inputs.length > 8 ? make("p", { class: "quiet" }, `and ${op.inputs.length - 8} more arguments`) : null,
  make("h2", {}, "Value out"), ...several(op.values, "y"),
];

/** The contributions to the gradient of a result, in the order of their arrival. */
const arrivals = (id, slot = 0) => {
  const found = [];
  for (const user of [...(users.get(id) || [])].reverse()) {
    for (const part of ops[user].handed) if (part.to === id && part.slot === slot) found.push({ user, ...part });
  }
  return found;
};

const backwardPart = (op) => [
  make("h2", {}, "Gradient in, complete"), ...several(op.gradients, "ȳ"),
  ...(arrivals(op.id).length > 1 ? [make("p", { class: "quiet" }, "Paths join here. What arrived, and the norm of the sum so far:"), adding(arrivals(op.id), null)] : []),
  make("h2", {}, "Gradients out"),
  ...op.handed.slice(0, 8).map((part) => {
    const all = arrivals(part.to, part.slot);
    const which = all.findIndex((one) => one.user === op.id && one.argument === part.argument) + 1;
    const [argument] = op.inputs[part.argument];
    return make("div", { "data-handed": part.argument }, heatMap(`${argument} gets`, part.array),
      make("p", { class: "quiet" }, "to ", link(part.to), all.length > 1 ? `: contribution ${which} of ${all.length}; ‖sum so far‖ ${short(part.sum)}` : ""));
  }),
];

const adding = (parts) => {
  const most = greatest(parts.map((part) => Number(part.norm)), 1e-300);
  return make("table", { class: "sum" }, make("thead", {}, make("tr", {}, make("th", {}, "from"), make("th", {}), make("th", {}, "‖part‖"), make("th", {}, "‖sum‖"))),
    make("tbody", {}, parts.slice(0, 12).map((part) => make("tr", {}, make("td", {}, link(part.user)), make("td", { class: "wide" }, make("i", { style: `width:${(100 * Number(part.norm)) / most || 0}%` })),
      make("td", {}, short(part.norm, 3)), make("td", {}, short(part.sum, 3))))));
};

/** The arrays that are kept when the walk stands at this operation. */
const aliveAt = (k) => {
  const found = new Map();
  for (const op of ops.slice(0, k + 1)) for (const [name, shape, , memory] of op.saved) {
    if (!held.has(memory) && !found.has(memory)) found.set(memory, { op, name, shape, bytes: data.memories[memory] });
  }
  return [...found.values()];
};

const memoryPart = (op) => {
  const own = op.saved.map(([name, shape, size, memory]) => make("span", { class: "chip" }, `${name} ${shapeText(shape)}, ${held.has(memory) ? "a weight or input, which stays anyway" : bytes(size)}`));
  const alive = aliveAt(op.id);
  const list = make("details", {}, make("summary", {}, `Alive now: ${alive.length} ${alive.length === 1 ? "array" : "arrays"}, ${bytes(keptAt[op.id])}`),
    make("ul", {}, alive.slice(-40).reverse().map((one) => make("li", {}, `${one.name} ${shapeText(one.shape)}, ${bytes(one.bytes)}, for `, link(one.op.id)))),
    alive.length > 40 ? make("p", { class: "quiet" }, `and ${alive.length - 40} older ones`) : "");
  return [make("h2", {}, "Kept in memory for backward"), make("p", {}, own.length ? own : "This operation keeps nothing."), list];
};

const showOperation = () => {
  const op = current();
  const rule = data.rules[op.name];
  const stop = state.stops.has(op.id);
  panel.replaceChildren(
    make("p", { class: "quiet" }, forwards() ? `Forward · step ${state.position + 1} of ${count}` : `Backward · step ${state.position - count + 1} of ${count}`),
    make("h3", {}, `${op.name} `, make("span", { class: "quiet" }, `#${op.id}`)),
    make("p", { class: "quiet" }, placeOf(op)),
    rule.words ? make("p", {}, `${rule.words}.`) : "", formulas(op) || "",
    data.profiled ? make("p", { class: "quiet" }, `Measured: ${short(op.seconds * 1e6, 3)} µs forward and backward.`) : "",
    op.settings.length ? make("p", {}, op.settings.map(([name, text]) => make("span", { class: "chip" }, `${name} = ${text}`))) : "",
    make("button", { id: "stop", "aria-pressed": stop, "aria-keyshortcuts": "b", onclick: toggleStop }, stop ? "● breakpoint set" : "○ set a breakpoint"),
    ...(forwards() ? forwardPart(op) : backwardPart(op)).filter(Boolean), ...memoryPart(op), checked(op.id) || "", make("h2", {}, "Scale"), legend(),
    make("p", { class: "quiet" }, `Each array on its own scale. Arrays of up to ${data.limit} numbers are stored exactly.`),
  );
};

const showLeaf = (chosen = null) => {
  const leaf = leafOf.get(state.leaf);
  const grad = leaf.gradients[0];
  const timed = leaf.steps.filter((part) => part.step !== null);
  const most = greatest(leaf.steps.map((part) => Number(part.norm)), 1e-300);
  const top = leaf.steps.find((part) => Number(part.norm) === most) || leaf.steps[0];
  const adds = leaf.steps.reduce((one, other) => (Number(other.along) > Number(one.along) ? other : one), leaf.steps[0]);
  const partOf = (part) => (part.step === null ? "the part from outside of time" : `the part of step ${part.step}`);
  const strange = leaf.steps.filter((part) => !Number.isFinite(Number(part.norm)));
  const largest = strange.length ? `${strange.length} of the parts are not finite; the first to arrive is ${partOf(strange[0])}.`
    : top && `The largest is ${partOf(top)}${adds === top ? "" : `; along the gradient's direction ${partOf(adds)} adds more`}.`;
  const rows = leaf.steps.map((part) => make("tr", { class: part === top ? "top" : "", "data-step": part.step ?? "all" },
    make("td", {}, make("button", { class: "link", "aria-pressed": part === chosen, onclick: () => { showLeaf(part); panel.querySelector(`[data-step="${part.step ?? "all"}"] button`).focus(); } }, part.step === null ? "outside of time" : `t = ${part.step}`)),
    make("td", { class: "wide" }, make("i", { style: `width:${(100 * Number(part.norm)) / most || 0}%` })),
    make("td", {}, short(part.norm, 3)), make("td", {}, `${short(100 * Number(part.along), 3)} %`), make("td", {}, short(part.sum, 3))));
  const uses = [...usesOf(leaf)];
  panel.replaceChildren(
    make("p", { class: "quiet" }, leaf.kind === "parameter" ? "Weight" : "Input"), make("h3", {}, ...breakable(leaf.name)),
    make("p", { class: "quiet" }, `${shapeText(leaf.shape)} · ${leaf.dtype} · used in ${uses.filter((k) => !prepares[k]).length || uses.length} operations`),
    ...(timed.length > 1 ? [
      make("p", {}, `Every step uses this same ${leaf.kind === "parameter" ? "weight" : "input"}, so its gradient is the sum of ${leaf.steps.length} parts, one for each step that used it${timed.length < leaf.steps.length ? ", and one from outside of time" : ""}. ${largest}`),
      leaf.steps.some((part) => Number(part.norm) === 0) ? make("p", { class: "quiet" }, "A part is zero where no gradient arrives, or where it is multiplied by zeros, such as the state before the first step.") : "",
      make("h2", {}, "The gradient as a sum over time, in the order of arrival"),
      make("div", { class: "tall" }, make("table", { class: "sum", id: "parts" }, make("thead", {}, make("tr", {}, make("th", {}, "from"), make("th", {}), make("th", {}, "‖part‖"), make("th", { title: "⟨part, gradient⟩ / ‖gradient‖²: adds up to 100 %" }, "share"), make("th", {}, "‖sum‖"))), make("tbody", {}, rows))),
      make("p", { class: "quiet" }, "Share: how much of the gradient lies in this part, along the gradient's own direction; the shares add up to 100 %, and a negative one works against the rest."),
    ] : [make("p", {}, grad === null ? "The loss does not depend on it." : leaf.steps.length === 1 && timed.length === 1 ? `Its gradient comes from step ${timed[0].step} alone.` : "Its gradient comes at once, for all steps together.")]),
    chosen ? heatMap(partOf(chosen), chosen.array) : "",
    make("h2", {}, "Gradient"), heatMap("gradient", grad), make("h2", {}, "Value"), heatMap("value", leaf.values[0]),
    checked(leaf.id) || "", make("h2", {}, "Used by"), make("p", {}, uses.slice(0, 24).flatMap((id) => [link(id), " · "]).slice(0, -1), uses.length > 24 ? ` and ${uses.length - 24} more` : ""),
    make("h2", {}, "Scale"), legend(),
  );
};
