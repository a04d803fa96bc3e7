"""The gradient of an expectation, estimated in two ways, and how much each of them errs.

    python examples/14_reparameterisation.py

Deep Learning 20.9; Kingma & Welling 2014, §2.4; Williams 1992. What a net draws at random it cannot
differentiate, but the mean over draws it can. Of F(μ) = E f(z) with z ~ N(μ, 1), the gradient is

    reparameterised:   z = μ + ε,    dF/dμ = E f'(z)                        the noise is an input
    score function:    dF/dμ = E (f(z) - b) d/dμ ln p(z; μ)                 any b; f may be anything

Both are right on average. Here f(z) = |z|² in d dimensions, where F = |μ|² + d, so dF/dμ = 2μ and
every variance can be written down: for the first it is 4, whatever d is; for the second it grows as
d², or as d with the constant b = E f. For a Bernoulli or categorical z only the second exists.
"""

from __future__ import annotations

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq.distributions import Normal

MEAN = 0.5  # every μ_i


def f(z):
    """|z|² of each vector (..., d)."""
    return (z * z).sum(axis=-1)


def reparameterised(d, samples):
    """A number whose gradient is the mean of f'(μ + ε)."""
    return f(d.rsample((samples,))).mean(axis=0)


def score_function(d, samples, baseline=0.0):
    """A number whose gradient is the mean of (f(z) - b) d/dμ ln p(z)."""
    z = d.sample((samples,))
    return ((f(z) - baseline) * d.log_prob(z).sum(axis=-1)).mean(axis=0)


def with_baseline(d, samples):
    """The same with b = E f, which would have to be learned where it is not known."""
    loc = d.loc.detach()
    return score_function(d, samples, baseline=f(loc) + loc.shape[-1])


ESTIMATORS = {
    "score function": score_function,
    "score function, b = E f": with_baseline,
    "reparameterised": reparameterised,
}


def estimates(estimator, mu, samples):
    """Gradients of F at each row of mu (R, d), each row from draws of its own."""
    loc = ts.Tensor(mu, requires_grad=True)
    estimator(Normal(loc, 1.0), samples).sum().backward()
    return loc.grad.numpy()


def exact_variance(name, d):
    """The variance of one component from one sample, from moments of the normal distribution."""
    m, rest = MEAN**2, d - 1
    if name == "reparameterised":
        return 4.0  # of 2 z
    own, a = m**2 + 18 * m + 15, 1 + m  # E[z⁴ε²] and E[z²]
    var_rest = rest * (2 + 4 * m)
    if name == "score function":
        return own + 2 * (m + 3) * rest * a + var_rest + (rest * a) ** 2 - 4 * m
    return own - 2 * a * (m + 3) + a**2 + var_rest - 4 * m


def descend(estimator, dims, steps, samples=10, rate=0.01, runs=20):
    """|μ| while μ follows an estimated gradient down to the minimum of F at 0; median of runs."""
    mu, path = np.full((runs, dims), 1.0), []
    for _ in range(steps):
        path.append(np.median(np.linalg.norm(mu, axis=1)))
        mu = mu - rate * estimates(estimator, mu, samples)
    return np.array(path)


def main(argv: list[str] | None = None) -> float:
    """Measure, compare with theory, draw; returns the ratio of the variances at d = 10."""
    options = course.arguments(__doc__).parse_args(argv)
    ts.manual_seed(options.seed)
    repeats = 4_000 if options.quick else 100_000
    dims, counts = (1, 3, 10, 30, 100), (1, 3, 10, 30, 100)

    variance, error = {}, {}
    for name, estimator in course.progress(ESTIMATORS.items()):
        variance[name] = [
            float(estimates(estimator, np.full((repeats * 2 // d + 200, d), MEAN), 1).var())
            for d in dims
        ]
        error[name] = [
            float(
                np.sqrt(
                    np.mean((estimates(estimator, np.full((400, 10), MEAN), n) - 2 * MEAN) ** 2)
                )
            )
            for n in counts
        ]
    paths = {name: descend(estimator, 10, 300) for name, estimator in ESTIMATORS.items()}

    at, rows = dims.index(10), []
    for name, estimator in ESTIMATORS.items():
        gradient = estimates(estimator, np.full((repeats, 10), MEAN), 1)
        bias, spread = gradient.mean() - 2 * MEAN, gradient.std() / np.sqrt(gradient.size)
        rows.append(
            (
                name,
                f"{2 * MEAN + bias:.3f} ± {spread:.3f}",
                variance[name][at],
                exact_variance(name, 10),
                float(paths[name][-1]),
            )
        )
        course.expect(abs(bias) < 6 * spread, f"{name} is biased by {bias:.3f} ± {spread:.3f}")
        off = variance[name][at] / exact_variance(name, 10) - 1
        course.expect(abs(off) < 0.2, f"the variance of {name} is {off:.0%} off the theory")
    print(f"the gradient of E|z|² in 10 dimensions; its components are {2 * MEAN}")
    course.table(("estimator", "mean", "variance", "in theory", "|μ| after 300 steps"), *rows)
    draw(options.out / "14_reparameterisation.png", dims, counts, variance, error, paths)
    ratio = variance["score function"][at] / variance["reparameterised"][at]
    course.expect(ratio > 20, f"one estimator errs only {ratio:.1f} times more than the other")
    course.expect(paths["reparameterised"][-1] < 0.5, "the descent did not arrive")
    return ratio


def draw(path, dims, counts, variance, error, paths):
    """Variance against dimension, error against samples, and what they do to a descent."""
    with course.picture(path, 1, 3, figsize=(13, 4.2)) as (left, middle, right):
        colors = dict(zip(ESTIMATORS, ("tab:red", "tab:orange", "tab:blue"), strict=True))
        fine = np.geomspace(1, 100, 100)
        for name, color in colors.items():
            left.loglog(fine, [exact_variance(name, d) for d in fine], color=color)
            left.loglog(dims, variance[name], "o", color=color, label=name)
            middle.loglog(counts, error[name], "o-", color=color, label=name)
            right.plot(paths[name], color=color, label=name)
        left.set(xlabel="dimensions d", ylabel="variance of one component")
        left.set_title("From one sample (lines: theory)")
        left.legend()
        middle.set(xlabel="samples S", ylabel="root mean square error")
        middle.set_title("The error falls as 1/√S, d = 10")
        right.set(xlabel="step", ylabel="|μ|, median of 20 runs", ylim=(0, None))
        right.set_title("Descent, 10 samples per step")


if __name__ == "__main__":
    main()
