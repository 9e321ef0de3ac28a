"""The discovered log-ratio modulated loss."""

__version__ = "0.1.0"
