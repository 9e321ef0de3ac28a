"""Rows become examples, examples become token sequences with target masks, and those become global batches.

In: files, data sets, plugin sources; a tokenizer. Out: `Unit`s (see `units`), in an order fixed by (seed, epoch).
May not know: tensors, models, losses, ranks, micro-batches.
"""
