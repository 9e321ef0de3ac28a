"""Advantages against the most likely completion."""

__version__ = "0.1.0"
