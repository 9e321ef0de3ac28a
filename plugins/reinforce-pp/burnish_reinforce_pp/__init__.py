"""Advantages whitened over the rollout batch."""

__version__ = "0.1.0"
