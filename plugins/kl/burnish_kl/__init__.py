"""Divergence from a reference, estimated at the sampled tokens."""

__version__ = "0.1.0"
