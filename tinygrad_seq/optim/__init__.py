"""Layer 6: optimizers, clipping, learning-rate schedules, weight averages, early stopping.

Names, defaults and trajectories are PyTorch's, so that a recipe found elsewhere runs unchanged.
"""

from ..hints import OPTIM
from ..messages import publish
from .adaptive import Adagrad, Adam, AdamW, RMSprop
from .base import Optimizer
from .clip import clip_grad_norm_, clip_grad_value_
from .keeping import EarlyStopping, WeightAverage
from .nadam import NAdam, RAdam
from .rates import ExponentialLR, LambdaLR, MultiStepLR, OneCycleLR, SequentialLR
from .schedules import CosineAnnealingLR, LinearWarmup, ReduceLROnPlateau, Schedule, StepLR
from .sgd import SGD

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "CosineAnnealingLR", "EarlyStopping", "ExponentialLR",
    "LambdaLR", "LinearWarmup", "MultiStepLR", "NAdam", "OneCycleLR", "Optimizer", "RAdam",
    "RMSprop", "ReduceLROnPlateau", "Schedule", "SequentialLR", "StepLR", "WeightAverage",
    "clip_grad_norm_", "clip_grad_value_",
]  # fmt: skip

publish(__name__, OPTIM)
