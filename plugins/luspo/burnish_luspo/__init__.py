"""Length-unbiased sequence policy optimisation."""

__version__ = "0.1.0"
