"""Floor 6: save and load, without pickle and without half-written files."""

from .checkpoint import Checkpoint
from .files import CheckpointError, load, save

__all__ = ["Checkpoint", "CheckpointError", "load", "save"]
