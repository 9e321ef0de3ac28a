"""Text games: an environment that plays them, and rows that begin them."""

__version__ = "0.1.0"
