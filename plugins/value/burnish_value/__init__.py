"""Clipped value loss."""

__version__ = "0.1.0"
