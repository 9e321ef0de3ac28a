"""Process reward models: every step of a solution judged."""

__version__ = "0.1.0"
