"""What the tests of the optimizers share: cases, parameters, and gradients that depend on them."""

from __future__ import annotations

import numpy as np
from device import host

from tinygrad_seq import optim
from tinygrad_seq.tensor import Tensor

SHAPES = [(3, 4), (5,), ()]
CASES = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.02}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "eps": 1e-3}),
    ("Adagrad", {"initial_accumulator_value": 0.7}),
    ("Adam", {}),
    ("Adam", {"lr": 0.03, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "lr": 0.1}),
    ("AdamW", {}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.03, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.05, "momentum_decay": 0.1}),
    ("RAdam", {"lr": 0.01}),
    ("RAdam", {"lr": 0.03, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.03, "betas": (0.5, 0.9), "weight_decay": 0.2, "amsgrad": True}),
]
NAMES = sorted({name for name, _ in CASES})


def values(dtype: type = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [np.array(rng.normal(size=shape), dtype=dtype) for shape in SHAPES]


def parameters(dtype: type = np.float64) -> list[Tensor]:
    return [Tensor(value, requires_grad=True) for value in values(dtype)]


def gradient(p: np.ndarray, step: int) -> np.ndarray:
    """A gradient that depends on the parameter, so that an error is carried on."""
    noise = np.random.default_rng(step).normal(size=p.shape)
    return np.asarray(np.tanh(p) + 0.5 * noise * (1 + step % 7), dtype=p.dtype)


def train(optimizer: optim.Optimizer, params: list[Tensor], steps: range) -> None:
    for step in steps:
        for p in params:
            p.grad = Tensor(gradient(host(p), step))
        optimizer.step()


def make(name: str, params: object, **options: object) -> optim.Optimizer:
    return getattr(optim, name)(params, **options)
