"""Preferences from the policy's own samples: online DPO, XPO, Nash-MD."""

__version__ = "0.1.0"
