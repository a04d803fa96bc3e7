"""Recurrent nets: cells, wrappers around them, and layers that apply them along time."""
