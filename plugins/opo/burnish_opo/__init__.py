"""Advantages against the length-weighted mean of the group."""

__version__ = "0.1.0"
