"""Entropy bonus, fixed or adaptive."""

__version__ = "0.1.0"
