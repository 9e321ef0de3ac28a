"""Models: loading, adapters, roles, and the scoring of packed trees.

In: a `Layout` and the signals that an objective wants. Out: one number per scored token and signal. Knows no loss, no data
format, no optimiser.
"""
