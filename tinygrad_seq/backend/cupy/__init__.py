"""CuPy: the same arrays on a GPU. ``library`` holds every difference to NumPy, ``kernels`` the CUDA
sources that are written by hand."""

from .library import load

__all__ = ["load"]
