"""Liger's kernels on a loaded model. In: a transformers model on CUDA. Out: the same model, its numbers unchanged."""

__version__ = "0.1.0"
