"""Layer 8: data-parallel training, the same program on many processes, with MPI.

Every rank holds the whole model and a part of each batch. Launch a program with

    mpiexec -n 4 python -m tinygrad_seq.parallel train.py

or run it with plain ``python``: then it is a team of one and needs no MPI.
"""

from ..messages import publish
from .channel import TeamError
from .launch import team
from .team import Team

__all__ = ["Team", "TeamError", "team"]

publish(__name__)
