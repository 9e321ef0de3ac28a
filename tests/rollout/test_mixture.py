"""Opponents are drawn from the geometric mixture of policy and reference, with its very log-probabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from burnish.config.sections import DrawnSection
from burnish.errors import ModelError
from burnish.rollout.local import LocalBackend
from burnish.rollout.mixture import mixed
from burnish.rollout.sampler import Completion
from burnish.testing import tiny_model, tiny_tokenizer

PROMPTS = [[5, 6, 7], [5, 6, 7], [8, 9]]
SAMPLING = DrawnSection(max_new_tokens=5, temperature=0.7)


@pytest.fixture(scope="module")
def models() -> tuple[nn.Module, nn.Module]:
    policy, reference = (tiny_model(seed=seed, initializer_range=0.2).double() for seed in (0, 1))
    return policy, reference


def backend(policy: nn.Module, reference: nn.Module) -> LocalBackend:
    @contextmanager
    def frozen() -> Iterator[nn.Module]:
        yield reference

    made = LocalBackend()
    made.draw_from(policy, tiny_tokenizer(chat=False), nullcontext)
    made.compare_with(frozen)
    return made


def drawn(made: LocalBackend, share: float | None) -> list[Completion]:
    sampling = SAMPLING if share is None else mixed(SAMPLING, share)

    async def all_of_them() -> list[Completion]:
        return list(await asyncio.gather(*(made.generate(ids, sampling, seed) for seed, ids in enumerate(PROMPTS))))

    return asyncio.run(all_of_them())


def log_probabilities(model: nn.Module, prompt: list[int], ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1)


@pytest.mark.parametrize("share", [0.5, 0.25, 1.0])
def test_log_probabilities_are_the_mixture_s(models: tuple[nn.Module, nn.Module], share: float) -> None:
    policy, reference = models
    for prompt, one in zip(PROMPTS, drawn(backend(*models), share), strict=True):
        p, q = (log_probabilities(model, prompt, one.ids) for model in (policy, reference))
        expected = torch.log_softmax(((1 - share) * p + share * q) / SAMPLING.temperature, -1)
        assert one.logps == pytest.approx(expected[range(len(one.ids)), one.ids].tolist(), abs=1e-6)


def test_a_finished_row_makes_room_in_both_caches(
    models: tuple[nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row of two ends after its first id, and the third prompt takes its place: all draw what they draw at once."""
    sampling = mixed(SAMPLING, 0.5)

    async def all_of_them(max_rows: int) -> list[Completion]:
        made = backend(*models)
        made.max_rows = max_rows
        made.draw_from(models[0], tiny_tokenizer(chat=False), nullcontext)
        prompts = [[8, 9], [5, 6, 7], [1, 2, 3, 4]]
        return list(await asyncio.gather(*(made.generate(ids, sampling, seed) for seed, ids in enumerate(prompts))))

    end = asyncio.run(all_of_them(8))[0].ids[0]
    monkeypatch.setattr(models[0].generation_config, "eos_token_id", end)
    at_once, in_turn = asyncio.run(all_of_them(8)), asyncio.run(all_of_them(2))
    assert len(at_once[0].ids) == 1 < len(at_once[1].ids)
    for one, other in zip(at_once, in_turn, strict=True):
        assert one.ids == other.ids
        assert one.logps == pytest.approx(other.logps, abs=1e-6)


def test_without_the_reference_it_is_the_policy(models: tuple[nn.Module, nn.Module]) -> None:
    made = backend(*models)
    assert [one.ids for one in drawn(made, 0.0)] == [one.ids for one in drawn(made, None)]
    assert [one.ids for one in drawn(made, 1.0)] == [one.ids for one in drawn(backend(models[1], models[0]), 0.0)]


def test_a_backend_without_a_reference_says_so() -> None:
    made = LocalBackend()
    made.draw_from(tiny_model(), tiny_tokenizer(chat=False), nullcontext)
    with pytest.raises(ModelError, match="no reference to mix with"):
        drawn(made, 0.5)
