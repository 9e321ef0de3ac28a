"""Advantages normalised reward by reward."""

__version__ = "0.1.0"
