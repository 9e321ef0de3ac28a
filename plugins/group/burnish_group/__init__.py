"""Advantages relative to the group."""

__version__ = "0.1.0"
