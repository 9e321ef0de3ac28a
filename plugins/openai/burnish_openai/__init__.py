"""Any endpoint that speaks OpenAI's chat completions: a client, and a source of a teacher's answers."""

__version__ = "0.1.0"
