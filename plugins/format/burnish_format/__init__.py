"""Rewards for the form of a completion: tags, a regular expression, JSON."""

__version__ = "0.1.0"
