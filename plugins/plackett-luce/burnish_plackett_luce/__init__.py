"""Preference optimisation of ranked lists."""

__version__ = "0.1.0"
