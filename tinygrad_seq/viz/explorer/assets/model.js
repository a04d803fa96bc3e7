// What is known of the graph beyond its description: users, sizes, and what steps hand on.

const ops = data.operations;
const count = ops.length;
const leafOf = new Map(data.leaves.map((leaf) => [leaf.id, leaf]));
const inputs = data.leaves.filter((leaf) => leaf.kind === "input");
const users = new Map(); // by id: the operations that read it
ops.forEach((op, k) => {
  op.id = k;
  for (const [, source] of op.inputs) {
    if (source === null) continue;
    if (!users.has(source)) users.set(source, []);
    if (users.get(source).at(-1) !== k) users.get(source).push(k);
  }
});

const steps = [...new Set(ops.map((op) => op.step).filter((t) => t !== null))].sort((a, b) => a - b);

const normOf = (numbers) => Math.hypot(...numbers.filter((k) => k !== null).map((k) => Number(data.arrays[k].norm)));
for (const op of ops) op.norm = normOf(op.gradients);

const nameOf = (id) => (id < count ? `${ops[id].name} #${id}` : leafOf.get(id).name);
/** The only number of an array that has one element. */
const numberIn = (numbers) => {
  const array = numbers.length === 1 && numbers[0] !== null ? data.arrays[numbers[0]] : null;
  return array && array.exact && array.rows * array.columns === 1 ? short(cellsOf(array)[0], 3) : null;
};
/** What a node says: its name, and of a scalar its value and gradient. */
const textOf = (item) => {
  const value = numberIn(item.values), gradient = numberIn(item.gradients);
  return tail(item.name, 20) + (value === null ? "" : ` = ${value}`) + (gradient === null ? "" : `, ∂ ${gradient}`);
};
const placeOf = (op) => [op.path || "top level", op.step === null ? null : `t = ${op.step}`].filter(Boolean).join(" · ");

/** An input stands where its first user does. */
for (const leaf of inputs) {
  const first = ops[(users.get(leaf.id) || [0])[0]];
  Object.assign(leaf, { band: first.band, step: first.step });
}

/** Operations outside of time that only prepare weights: what reads them uses the weight. */
const prepares = ops.map(() => false);
for (const op of ops) {
  prepares[op.id] = op.step === null && op.inputs.every(([, source, , wanted]) =>
    !wanted || (source < count ? prepares[source] : leafOf.get(source).kind === "parameter"));
}

/** Where a leaf is used: within its own module, through what is outside of time, up to the steps. */
const usesOf = (leaf) => {
  const direct = users.get(leaf.id) || [];
  const home = direct.length ? ops[direct[0]].path : "";
  const related = ({ path }) => home && path && (`${home}.`.startsWith(`${path}.`) || `${path}.`.startsWith(`${home}.`));
  const found = new Set(direct);
  const stack = [...direct];
  while (stack.length) {
    const from = ops[stack.pop()];
    if (from.step !== null) continue;
    for (const user of users.get(from.id) || []) {
      if (found.has(user) || !(prepares[from.id] || related(ops[user]))) continue;
      found.add(user);
      stack.push(user);
    }
  }
  return found;
};

/** By timed band: the norm of the gradient at what each step hands on. */
const handedOn = data.bands.map((band, b) => {
  if (!band.timed) return null;
  const sums = new Map();
  for (const op of ops) {
    if (op.band !== b || op.step === null) continue;
    const leaves = (users.get(op.id) || []).some((user) => ops[user].band !== b || ops[user].step !== op.step);
    if (leaves) sums.set(op.step, Math.hypot(sums.get(op.step) || 0, op.norm));
  }
  return sums;
});

// Bytes kept when operation k is the newest recorded, or the next to go back through.
const held = new Set(data.leaves.filter((leaf) => leaf.kind !== "constant").map((leaf) => leaf.memory));
const firstSaved = new Map();
for (const op of ops) for (const [, , , memory] of op.saved) if (!held.has(memory) && !firstSaved.has(memory)) firstSaved.set(memory, op.id);
const keptAt = [];
const newAt = ops.map(() => 0);
for (const [memory, first] of firstSaved) newAt[first] += data.memories[memory];
newAt.reduce((total, more) => (keptAt.push(total + more), total + more), 0);

const largest = greatest(ops.map((op) => op.norm));
/** How large a gradient is, between 0 and 1, over six powers of ten below the largest. */
const loudness = (norm) => (norm > 0 && largest > 0 ? Math.max(0.04, Math.min(1, 1 + Math.log10(norm / largest) / 6)) : 0);
