"""Derived loops: recording, rewriting, printing, and trust."""
