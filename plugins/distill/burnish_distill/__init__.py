"""Distillation from a teacher on the same vocabulary."""

__version__ = "0.1.0"
