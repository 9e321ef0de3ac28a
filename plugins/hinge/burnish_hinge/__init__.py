"""Hinge loss of the preference gap (SLiC, RSO)."""

__version__ = "0.1.0"
