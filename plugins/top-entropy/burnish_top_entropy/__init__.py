"""Learning from the most uncertain tokens."""

__version__ = "0.1.0"
