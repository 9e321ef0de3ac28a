"""Conversations as lists of {from, value}: the ShareGPT form."""
