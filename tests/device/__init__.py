"""A device for machines that have none: see ``fake_cupy``."""
