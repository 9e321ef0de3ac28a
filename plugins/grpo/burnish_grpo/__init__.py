"""Group relative policy optimisation."""

__version__ = "0.1.0"
