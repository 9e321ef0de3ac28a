"""The training loop and what keeps a run safe: optimiser step, checkpoints, guards, evaluation, tracking.

In: a resolved config, global batches of units, the roles that score them. Out: a run directory (see DESIGN, "Files of a run").
May not know any loss by name, how a batch is laid out, or how text becomes tokens.
"""
