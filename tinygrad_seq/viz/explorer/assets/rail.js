// Weights and inputs at the side: their gradients, and where they are used.

const rail = document.getElementById("rail");

/** Bars, one per time step from left to right: the norms of the parts of a gradient. */
const bars = (leaf) => {
  const parts = leaf.steps.filter((part) => part.step !== null);
  if (parts.length < 2) return null;
  const first = Math.min(...parts.map((part) => part.step)), n = Math.max(...parts.map((part) => part.step)) - first + 1;
  const most = greatest(parts.map((part) => Number(part.norm)), 1e-300);
  const picture = draw("svg", { viewBox: `0 0 ${n * 10} 26`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const part of parts) {
    const height = Math.max(0.8, (24 * Number(part.norm)) / most) || 0.8;
    picture.append(draw("rect", { class: Number(part.norm) === most ? "bar top" : "bar", x: (part.step - first) * 10 + 1, y: 26 - height, width: 8, height }));
  }
  return picture;
};

const light = (leaf) => {
  marks.lit = leaf ? usesOf(leaf) : new Set();
  if (leaf) marks.lit.add(leaf.id);
  dressAll();
};

/** Where values, and then gradients, first are NaN or infinite. */
const trouble = () => {
  const wrong = (numbers) => arraysIn(numbers).some((array) => array.nan || array.inf);
  const ahead = ops.find((op) => wrong(op.values)), back = ops.findLast((op) => wrong(op.gradients));
  const jump = (what, op, position) => make("button", { "data-trouble": what, onclick: () => { pause(); moveTo(position); } },
    make("b", {}, `${op.name} #${op.id}`), make("small", {}, `first ${what}${op.step === null ? "" : `, at t = ${op.step}`}`));
  return ahead || back ? [make("h2", {}, "NaN or infinite"), ...(ahead ? [jump("value", ahead, ahead.id)] : []), ...(back ? [jump("gradient", back, 2 * count - 1 - back.id)] : [])] : [];
};

const buildRail = () => {
  const group = (title, leaves) => {
    if (!leaves.length) return [];
    return [make("h2", {}, title), ...leaves.map((leaf) => {
      const timed = leaf.steps.filter((part) => part.step !== null).length;
      const grad = leaf.gradients[0];
      return make("button", {
        "data-leaf": leaf.id, "aria-pressed": "false",
        onclick: () => selectLeaf(leaf.id), onmouseenter: () => light(leaf), onmouseleave: () => light(leafOf.get(state.leaf)),
        onfocus: () => light(leaf), onblur: () => light(leafOf.get(state.leaf)),
      }, make("b", {}, ...breakable(leaf.name)), make("small", {}, `${shapeText(leaf.shape)} · ${leaf.dtype}`),
      make("small", {}, grad === null ? "no gradient" : `‖gradient‖ ${short(data.arrays[grad].norm, 3)}${timed > 1 ? ` · ${timed} steps` : ""}`), bars(leaf));
    })];
  };
  const named = (kind) => data.leaves.filter((leaf) => leaf.kind === kind);
  rail.replaceChildren(...trouble(), ...group("Weights", named("parameter")), ...group("Inputs", inputs));
  if (!rail.children.length) rail.append(make("p", {}, "No weights."));
};
