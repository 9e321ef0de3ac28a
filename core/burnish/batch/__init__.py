"""Token sequences become packed trees.

In: `Sequence`s and `Unit`s of ids. Out: a `Layout` that a model forwards once per unique token, and a plan that cuts a global
batch into micro-batches. Knows no text, no model, no loss.
"""
