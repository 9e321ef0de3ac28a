"""Importance correction between trainer and sampler."""

__version__ = "0.1.0"
