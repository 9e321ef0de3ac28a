"""Solutions with every step marked: Math-Shepherd's form."""

__version__ = "0.1.0"
