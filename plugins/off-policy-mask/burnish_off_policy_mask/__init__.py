"""Off-policy sequence masking."""

__version__ = "0.1.0"
