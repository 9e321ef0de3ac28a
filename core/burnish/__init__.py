"""burnish: a plugin-based toolkit for post-training language models."""

__version__ = "0.1.0"
