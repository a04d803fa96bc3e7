"""Forecast the yearly sunspot numbers, 1700 to 2008, the last 50 years held out.

    python examples/16_sunspots.py

d2l 9.1 (autoregressive models, and forecasts further ahead). The baselines: the value of 11 years
ago (a season), and an autoregression fitted by least squares,
x_t = a_0 + a_1 x_{t-1} + ... + a_p x_{t-p}, its order p chosen by Akaike's criterion on the
training years; once on the numbers (Yule 1927 invented the method for them), once on their square
roots, which have an even spread. The net reads the same p values a step and adds to a linear path
of its own what a small GRU makes of all the years before:

    ŷ_t = v · (x_{t-1}, ..., x_{t-p}) + w · h_t + b

309 numbers are few, so it is stopped early: when the 50 years before the held-out ones say. Then
it is trained anew on all training years, several times from other weights, and the forecasts are
averaged. Nothing is chosen by the held-out years; the root mean square errors are reported as they
come, one year ahead, and (in the picture) up to 11 years ahead, each forecast fed back as input.

You see that one year ahead the net beats the autoregression on the numbers, that the one on square
roots beats the net, and that half of each is best; and that further ahead the linear ones lead,
while the net is soon no better than the season.
"""

from __future__ import annotations

from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim

HELD_OUT, SEASON, HIGHEST_ORDER = 50, 11, 20


class SkipGRU(nn.Module):
    """The last p values in, the next one out: a linear path, and what a GRU adds to it."""

    def __init__(self, order: int, hidden: int):
        self.linear = nn.Linear(order, 1)
        self.recur = nn.GRU(order, hidden)
        self.read = nn.Linear(hidden, 1, bias=False)

    def forward(self, x, state=None):
        """x (T, N, p) and the state before -> forecasts (T, N) and the states h (T, N, H)."""
        h, _ = self.recur(x, state)
        return (self.linear(x) + self.read(h))[..., 0], h


class Autoregression:
    """The last p values in, the next one out: least squares on the training values."""

    def __init__(self, train: np.ndarray, order: int):
        x = lags(train, order)[:-1]
        ones = np.ones((len(x), 1))
        self.a = np.linalg.lstsq(np.hstack([ones, x]), train[order:], rcond=None)[0]

    def __call__(self, x, state=None):
        """x (T, N, p) -> forecasts (T, N); what it has for a state is in x."""
        return ts.Tensor(self.a[0] + x @ self.a[1:]), ts.zeros(*x.shape[:2], 1)

    @classmethod
    def best_order(cls, train: np.ndarray) -> int:
        """The order with the least AIC = m ln(residual variance) + 2 (p + 1), over the same m."""
        scores = []
        for order in range(1, HIGHEST_ORDER + 1):
            fitted = cls(train, order)(lags(train, order)[None, :-1])[0].numpy()[0]
            residual = (train[order:] - fitted)[HIGHEST_ORDER - order :]
            scores.append(len(residual) * np.log(np.mean(residual**2)) + 2 * (order + 1))
        return int(np.argmin(scores)) + 1


def lags(values: np.ndarray, order: int) -> np.ndarray:
    """Row i has the values i + p - 1, ..., i, newest first: what is known of value i + p."""
    return np.lib.stride_tricks.sliding_window_view(values, order)[:, ::-1].copy()


def train_net(values: np.ndarray, order: int, hidden: int, steps: int) -> SkipGRU:
    """Windows of 44 years at every place, 32 at a time; Adam; yields the net every 25 steps."""
    net = SkipGRU(order, hidden)
    windows = data.RandomWindows(lags(values, order), steps=44, batch_size=32, stride=1)
    optimizer = optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    count = 0
    while count < steps:
        for x, following in windows:
            forecast, _ = net(x)
            loss = nn.mse_loss(forecast, following[..., 0])
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            count += 1
            if count % 25 == 0:
                yield net
            if count == steps:
                break


@ts.no_grad()
def forecasts(model, values: np.ndarray, order: int, start: int, ahead: int) -> np.ndarray:
    """Of the values o, ..., o + ahead - 1, when those before o are known, for each o ≥ start.

    Returns:
        Shape (ahead, origins); a forecast is fed back as the newest value of the next.
    """
    rows = lags(values, order)
    first, states = model(rows[:-1, None])  # row i is all that is known of value i + p
    at = np.arange(start - order, len(values) - ahead + 1 - order)
    x, state, found = rows[at], states.numpy()[at, 0][None], [first.numpy()[at, 0]]
    for _ in range(ahead - 1):
        x = np.concatenate([found[-1][:, None], x[:, :-1]], axis=1).astype(rows.dtype)
        y, h = model(x[None], ts.Tensor(state))
        state = h.numpy()
        found.append(y.numpy()[0])
    return np.array(found)


def rmse(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Root of the mean square over the last axis."""
    return np.sqrt(np.mean((found - truth) ** 2, axis=-1))


def draw(years, truth, one_ahead, by_horizon, path: Path) -> None:
    """Left the held-out years, forecast one year ahead; right the error further ahead."""
    with course.picture(path, columns=2, figsize=(12, 4.2), width_ratios=(3, 2)) as (left, right):
        left.plot(years, truth, "o-", color="black", markersize=3, linewidth=1, label="observed")
        styles = {"GRU": (course.COLORS["GRU"], "-"), "AR on √": ("tab:blue", "--")}
        for name, (color, line) in styles.items():
            left.plot(years, one_ahead[name], line, color=color, label=f"{name}, one year ahead")
        left.set(xlabel="year", ylabel="sunspot number", ylim=(0, 255))
        left.set(title="The held-out years, forecast one year ahead")
        left.legend(ncols=3, loc="upper center")
        colors = ["tab:gray", "tab:cyan", "tab:blue", "tab:orange", "tab:green"]
        for (name, errors), color in zip(by_horizon.items(), colors, strict=True):
            right.plot(range(1, len(errors) + 1), errors, "o-", color=color, label=name)
        right.set(xlabel="years ahead", ylabel="RMSE, sunspot number", ylim=(0, None))
        right.set(title="Further ahead")
        right.legend()


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Fit, choose when to stop, train, forecast; returns the RMSE of each one year ahead."""
    parser = course.arguments(__doc__)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--nets", type=int, default=10, help="whose forecasts are averaged")
    options = parser.parse_args(argv)
    if options.quick:
        options.nets = 4
    ts.manual_seed(options.seed)
    table = data.read_csv(Path(__file__).parent / "sunspots.csv", ["year", "sunspots"])
    years, numbers = table.T
    start = len(numbers) - HELD_OUT

    order = Autoregression.best_order(numbers[:start])
    scale = data.Standardizer(np.sqrt(numbers[:start]))
    z = scale.encode(np.sqrt(numbers))

    def number(found):
        return np.maximum(scale.decode(found), 0) ** 2

    def ensemble(known: int, end: int, steps: int, ahead: tuple[int, ...]) -> list[np.ndarray]:
        """Mean forecasts of nets trained on z[:known], after every 25 steps, for each ``ahead``."""
        runs = []
        for _ in course.progress(range(options.nets)):
            nets = train_net(z[:known], order, options.hidden, steps)
            runs.append([[forecasts(n, z[:end], order, known, a) for a in ahead] for n in nets])
        return [
            [np.mean([run[k][a] for run in runs], 0) for a in range(len(ahead))]
            for k in range(len(runs[0]))
        ]

    before = start - HELD_OUT  # the years that say when to stop
    errors = [
        rmse(number(found[0]), numbers[before:start])
        for (found,) in ensemble(before, start, 250, (1,))
    ]
    steps = 25 * (int(np.argmin(errors)) + 1)
    print(
        f"AR({order}) by AIC; the GRU stops after {steps} steps, by {years[before]:.0f}-"
        f"{years[start - 1]:.0f}: RMSE {min(errors):.2f}"
    )

    ahead = (1, SEASON)
    linear, root = Autoregression(numbers[:start], order), Autoregression(z[:start], order)
    net = ensemble(start, len(z), steps, ahead)[-1]
    roots = [forecasts(root, z, order, start, a) for a in ahead]
    origins = np.arange(start, len(numbers) - SEASON + 1)
    found = {
        "11 years ago": [
            numbers[start - SEASON : -SEASON][None],
            np.array([numbers[origins + k - SEASON] for k in range(SEASON)]),
        ],
        "AR": [forecasts(linear, numbers, order, start, a) for a in ahead],
        "AR on √": [number(each) for each in roots],
        "GRU": [number(each) for each in net],
        "half AR on √, half GRU": [number((a + b) / 2) for a, b in zip(roots, net, strict=True)],
    }
    truth = np.array([numbers[origins + k] for k in range(SEASON)])
    reached = {name: float(rmse(one[0], numbers[start:])) for name, (one, _) in found.items()}
    by_horizon = {name: rmse(many, truth) for name, (_, many) in found.items()}
    course.table(
        ["forecast", "RMSE 1 year ahead", "5 years", "11 years"],
        *([name, reached[name], by_horizon[name][4], by_horizon[name][-1]] for name in found),
    )
    one_ahead = {name: one[0] for name, (one, _) in found.items()}
    draw(years[start:], numbers[start:], one_ahead, by_horizon, options.out / "16_sunspots.png")
    course.expect(reached["GRU"] < 0.55 * reached["11 years ago"], f"RMSE {reached['GRU']:.2f}")
    return reached


if __name__ == "__main__":
    main()
