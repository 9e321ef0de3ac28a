"""Answers that are right if they are mathematically equal."""

__version__ = "0.1.0"
