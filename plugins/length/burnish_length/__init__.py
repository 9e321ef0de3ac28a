"""Rewards for how much a completion says: overlong, cosine, repetition."""

__version__ = "0.1.0"
