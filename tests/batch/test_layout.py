"""Layouts: what a forward is given, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from burnish.batch.layout import lay_out, sent
from burnish.data.units import Sequence
from burnish.errors import ModelError


def sequence(*ids: int) -> Sequence:
    return Sequence(np.array(ids, np.int64), {})


def test_three_kinds() -> None:
    sequences = [sequence(5, 6, 7), sequence(5, 8)]
    tree, packed, padded = (lay_out(sequences, kind) for kind in ("tree", "packed", "padded"))
    assert tree.input_ids.tolist() == [[5, 6, 7, 8]]
    assert tree.position_ids.tolist() == [[0, 1, 2, 1]]
    assert [place.tolist() for place in tree.positions] == [[0, 1, 2], [0, 3]]
    assert packed.input_ids.tolist() == [[5, 6, 7, 5, 8]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert padded.input_ids.tolist() == [[5, 6, 7], [5, 8, 0]]
    assert padded.attention_mask is not None
    assert padded.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert [place.tolist() for place in padded.positions] == [[0, 1, 2], [3, 4]]
    assert (tree.num_tokens, packed.num_tokens, padded.num_tokens) == (4, 5, 5)


@pytest.mark.parametrize("kind", ["tree", "packed", "padded"])
def test_no_sequence_still_gives_a_forward(kind: str) -> None:
    layout = lay_out([], kind)  # type: ignore[arg-type]
    assert layout.input_ids.shape == (1, 1)
    assert layout.num_tokens == 0


def test_what_cannot_be_laid_out_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        lay_out([sequence()], "tree")
    with pytest.raises(ModelError, match="images"):
        lay_out([Sequence(np.array([1]), {}, inputs={"pixel_values": 0})], "tree")


def test_what_has_no_numbers_is_sent_to_a_gpu_without_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch pins nothing of the kind: on a GPU no micro-batch could be rehearsed."""
    asked: list[str] = []

    def to(tensor: Tensor, device: str, **_: Any) -> Tensor:
        asked.append(device)
        return tensor

    monkeypatch.setattr(Tensor, "to", to)
    with FakeTensorMode():  # type: ignore[no-untyped-call]
        sent(torch.zeros(3), "cuda")
    assert asked == ["cuda"]
