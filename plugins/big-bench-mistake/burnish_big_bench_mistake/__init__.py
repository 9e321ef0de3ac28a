"""Chains of thought with their first mistake: BIG-Bench Mistake's form."""

__version__ = "0.1.0"
