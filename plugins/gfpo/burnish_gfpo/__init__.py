"""Advantages of the best completions of a group."""

__version__ = "0.1.0"
