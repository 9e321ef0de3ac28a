"""Dialogues that order things by calling an API: the Taskmaster form."""
