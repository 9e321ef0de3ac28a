"""Advantages against the others of the group."""

__version__ = "0.1.0"
