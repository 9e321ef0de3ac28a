"""Advantages of steps or turns."""

__version__ = "0.1.0"
