"""Variational sequence-level soft policy optimisation."""

__version__ = "0.1.0"
