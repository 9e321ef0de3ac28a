"""The built-in backend: what a request gets depends on itself alone."""

from __future__ import annotations

import asyncio

import pytest
import torch

from burnish.config.sections import SamplingSection
from burnish.errors import ModelError
from burnish.rollout.local import LocalBackend
from burnish.rollout.sampler import Completion
from burnish.testing import tiny_model, tiny_tokenizer

SAMPLING = SamplingSection(max_new_tokens=6, temperature=1.0)
PROMPTS = [(65, 66, 67), (65, 66, 67), (70,), (65, 66, 67), (71, 72, 73, 74, 75)]
MODEL = tiny_model("gpt2", torch.float64, initializer_range=0.2)


def backend() -> LocalBackend:
    made = LocalBackend()
    made.draw_from(MODEL, tiny_tokenizer(chat=False), torch.no_grad)
    return made


def ask(*requests: tuple[tuple[int, ...], int], sampling: SamplingSection = SAMPLING) -> list[Completion]:
    async def together() -> list[Completion]:
        one = backend()
        return await asyncio.gather(*(one.generate(ids, sampling, seed) for ids, seed in requests))

    return asyncio.run(together())


def test_neighbours_change_nothing() -> None:
    together = ask(*((ids, seed) for seed, ids in enumerate(PROMPTS)))
    for seed, ids in enumerate(PROMPTS):
        [alone] = ask((ids, seed))
        assert alone.ids == together[seed].ids
        assert alone.logps == pytest.approx(together[seed].logps, abs=1e-12)
    assert len({tuple(together[place].ids) for place in (0, 1, 3)}) > 1  # one prompt, other seeds


def test_log_probabilities_are_those_of_the_model() -> None:
    [completion] = ask(((65, 66, 67), 5))
    ids = torch.tensor([[65, 66, 67, *completion.ids]])
    logp = MODEL(ids).logits[0, 2:-1].log_softmax(-1).gather(-1, ids[0, 3:, None])[:, 0]
    assert completion.logps == pytest.approx(logp.tolist(), abs=1e-12)


def test_requests_with_other_settings_are_kept_apart() -> None:
    async def both() -> list[Completion]:
        one = backend()
        greedy = SAMPLING.model_copy(update={"temperature": 0.0, "max_new_tokens": 2})
        return await asyncio.gather(one.generate((65,), SAMPLING, 1), one.generate((65,), greedy, 1))

    drawn, likely = asyncio.run(both())
    assert (len(drawn.ids), len(likely.ids)) == (6, 2)
    assert likely.ids[0] == MODEL(torch.tensor([[65]])).logits[0, -1].argmax()


def test_requests_made_later_are_served_too() -> None:
    async def turns() -> tuple[Completion, Completion]:
        one = backend()
        first = await one.generate((65,), SAMPLING, 1)
        return first, await one.generate((65, *first.ids), SAMPLING, 2)

    first, second = asyncio.run(turns())
    assert len(first.ids) == len(second.ids) == 6


def test_without_a_model_it_says_so() -> None:
    with pytest.raises(ModelError, match="given none"):
        asyncio.run(LocalBackend().generate((1,), SAMPLING))


@pytest.mark.parametrize("stepwise", [False, True])
def test_who_waits_is_told_of_every_completion_that_is_done(stepwise: bool) -> None:
    counted: list[tuple[int, int]] = []
    made = LocalBackend()
    made.draw_from(MODEL, tiny_tokenizer(chat=False), torch.no_grad, stepwise, lambda done, of: counted.append((done, of)))

    async def together() -> None:
        await asyncio.gather(*(made.generate(ids, SAMPLING, seed) for seed, ids in enumerate(PROMPTS)))

    asyncio.run(together())
    assert counted[-1] == (5, 5)
    assert [done for done, _ in counted] == sorted({done for done, _ in counted})
