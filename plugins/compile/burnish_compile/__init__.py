"""Compiled blocks. In: a transformers model. Out: the same model, its blocks compiled, its numbers unchanged."""

__version__ = "0.1.0"
