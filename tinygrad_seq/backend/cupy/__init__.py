"""CuPy: the same arrays on a GPU. ``library`` holds every difference to NumPy, ``kernels`` the CUDA
sources, ``recurrent`` the loops over time that use them."""

from .library import load

__all__ = ["load"]
