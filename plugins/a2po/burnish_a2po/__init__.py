"""Optimal advantage regression."""

__version__ = "0.1.0"
