"""Examples that are made instead of read: sampling from a model and scoring what it wrote.

In: prompts (token ids or canonical examples), a model, sampling settings, reward functions. Out: completions with their
log-probabilities, and rewards. May not know: losses, objectives, optimisers, the training loop.
"""
