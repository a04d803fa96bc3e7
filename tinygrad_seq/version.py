"""The version of the library: what files that it writes say of it."""

__version__ = "0.1.0"
