"""Direct preference optimisation robust to flipped preferences."""

__version__ = "0.1.0"
