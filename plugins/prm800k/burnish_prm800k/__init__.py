"""Solutions with every step rated by people: PRM800K's form."""

__version__ = "0.1.0"
