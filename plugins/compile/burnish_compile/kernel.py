"""Blocks of a model compiled by torch, once for any number of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from burnish.batch.attention import NAME, tree_attention
from burnish.batch.trie import Segments
from burnish.errors import ModelError
from burnish.model.scorer import base_of

TREE = "burnish_segments"


@dataclass(frozen=True, kw_only=True)
class Compile:
    """Compiles every block of the model in place; names of its parameters stay.

    The attention over segments is left out of the graphs: it reads the tree as plain numbers, which differ from batch to batch,
    and every new tree would be compiled anew. So a block is two graphs, before and after it. Raises ModelError for a model that
    does not say what its blocks are.
    """

    backend: str = "inductor"
    """What compiles: `inductor`, or another one that torch knows."""
    dynamic: bool = True
    """One graph for all numbers of tokens; false compiles again for each."""

    def __call__(self, model: nn.Module) -> None:
        """Change `model` in place."""
        blocks = list(_blocks(model))
        if not blocks:
            name = type(base_of(model)).__name__
            raise ModelError(f"the kernel 'compile' finds no blocks in {name}; drop it from model.kernels")
        AttentionInterface.register(NAME, torch.compiler.disable(_attention))  # type: ignore[no-untyped-call]
        for block in blocks:
            compiled = torch.compile(block._call_impl, backend=self.backend, dynamic=self.dynamic)
            block._compiled_call_impl = partial(_closed, compiled)


class Closed:
    """A tree that a compiler does not look into: it would read the numbers of a frozen dataclass, and compile for those."""

    def __init__(self, segments: Segments) -> None:
        self.segments = segments


def _closed(compiled: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call a compiled block with its tree closed."""
    if isinstance(keywords.get(TREE), Segments):
        keywords[TREE] = Closed(keywords[TREE])
    return compiled(*arguments, **keywords)


def _attention(*arguments: Any, **keywords: Any) -> tuple[Tensor, None]:
    """The attention over segments, with the tree opened again."""
    if isinstance(keywords.get(TREE), Closed):
        keywords[TREE] = keywords[TREE].segments
    return tree_attention(*arguments, **keywords)


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """What the model itself says must not be split: its layers."""
    names = set(getattr(base_of(model), "_no_split_modules", None) or ())
    return (module for module in model.modules() if type(module).__name__ in names)
