"""Reward models: scores learnt from preferences or ratings."""

__version__ = "0.1.0"
