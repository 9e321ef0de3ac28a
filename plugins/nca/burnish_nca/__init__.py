"""Noise contrastive alignment."""

__version__ = "0.1.0"
