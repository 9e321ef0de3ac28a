"""Completions that are programs, judged by unit tests in a sandbox."""

__version__ = "0.1.0"
