"""Floor 5: optimizers, gradient clipping and learning-rate schedules.

Names, defaults and trajectories are PyTorch's, so that a recipe found elsewhere runs unchanged.
"""

from .adaptive import Adagrad, Adam, AdamW, RMSprop
from .base import Optimizer
from .clip import clip_grad_norm_, clip_grad_value_
from .schedules import CosineAnnealingLR, LinearWarmup, ReduceLROnPlateau, Schedule, StepLR
from .sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LinearWarmup",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]
