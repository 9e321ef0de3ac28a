"""Environments behind an OpenEnv server."""

__version__ = "0.1.0"
