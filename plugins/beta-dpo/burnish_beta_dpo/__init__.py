"""Direct preference optimisation with dynamic beta."""

__version__ = "0.1.0"
