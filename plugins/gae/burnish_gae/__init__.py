"""Generalised advantage estimation."""

__version__ = "0.1.0"
