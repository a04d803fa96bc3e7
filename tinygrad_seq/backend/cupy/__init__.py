"""CuPy: the same arrays on a GPU. ``library`` has every difference to NumPy, ``kernels`` the CUDA
sources written by hand."""

from .library import load

__all__ = ["load"]
