"""A trained classifier at work: what it thinks of answers and of steps, and what its scores say about it and about the writers.

In: a saved model, examples. Out: numbers and tables, for rewards and for `burnish score`. Stands behind the engine, whose runs
it opens; only commands and plugins may know it.
"""
