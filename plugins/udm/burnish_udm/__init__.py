"""Underlying distribution matching: bad answers weigh as much as their prompts are those of good ones."""
