"""A language model behind an endpoint as a reward: it reads a rubric, the prompt and the completion, and gives a score."""

__version__ = "0.1.0"
