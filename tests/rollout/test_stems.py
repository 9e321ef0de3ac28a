"""What prompts share is forwarded once, and every prompt gets its own tokens in order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.config.sections import SamplingSection
from burnish.rollout.sampler import HFSampler
from burnish.rollout.stems import WORTH, Level, Prompt, levels
from burnish.testing import tiny_model, tiny_tokenizer

SYSTEM: Prompt = tuple(range(10, 110))
TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)


def told(found: list[Level]) -> list[Prompt]:
    """What each row of the last level has been given in all."""
    said: list[Prompt] = [()]
    for level in found:
        said = [said[parent] + piece for parent, piece in zip(level.parents, level.pieces, strict=True)]
    return said


def conversation(question: int, answer: int) -> Prompt:
    return (*SYSTEM, *[question] * 80, *[answer] * 5)


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=12, unique=True), st.integers(0, 200))
def test_every_prompt_is_told_whole_and_ends_with_tokens_of_its_own(tails: list[Prompt], before: int) -> None:
    prompts = [(SYSTEM * 2)[:before] + tail for tail in tails]
    found = levels(prompts)
    assert told(found) == prompts
    assert all(found[-1].pieces)
    assert set(found[0].parents) == {0}


def test_short_beginnings_are_not_worth_a_forward() -> None:
    assert levels([(1, 2, 3), (1, 2, 4)]) == [Level((0, 0), ((1, 2, 3), (1, 2, 4)))]


def test_a_system_message_is_one_row() -> None:
    prompts = [(*SYSTEM, 1, 2), (*SYSTEM, 3), (*SYSTEM, 4, 5, 6)]
    assert levels(prompts) == [Level((0,), (SYSTEM,)), Level((0, 0, 0), ((1, 2), (3,), (4, 5, 6)))]


def test_a_prompt_that_another_goes_on_from_keeps_its_last_token() -> None:
    found = levels([SYSTEM, (*SYSTEM, 7)])
    assert found == [Level((0,), (SYSTEM[:-1],)), Level((0, 0), (SYSTEM[-1:], (SYSTEM[-1], 7)))]


def test_groups_that_go_on_from_conversations_share_theirs() -> None:
    """Three levels: 100 tokens of all, 80 of each question, 5 of each answer, in whatever order they come."""
    prompts = [conversation(question, answer) for answer in (5, 6, 7) for question in (1, 2)]
    first, second, third = levels(prompts)
    assert first == Level((0,), (SYSTEM,))
    assert second == Level((0, 0), ((1,) * 80, (2,) * 80))
    assert third == Level((0, 1) * 3, tuple((answer,) * 5 for answer in (5, 6, 7) for _ in (1, 2)))
    assert 100 + 2 * 80 + 6 * 5 + 3 * WORTH < 6 * 185


def test_a_prompt_by_itself_fills_the_columns_that_are_there() -> None:
    alone = (9,) * 300
    found = levels([conversation(1, 5), conversation(1, 6), conversation(1, 7), alone])
    assert told(found)[-1] == alone
    assert found[0].pieces == (alone[:180], conversation(1, 5)[:180])


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "mistral"])
def test_a_request_gets_what_it_gets_alone(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In families whose layers keep every column; windows are prefilled as ever."""
    model, tokenizer = tiny_model(family, dtype=torch.float64, max_position_embeddings=512), tiny_tokenizer()
    sampling = SamplingSection(temperature=1.0, max_new_tokens=6, repetition_penalty=1.2)
    prompts = [list(conversation(question, answer)) for answer in (5, 6, 7) for question in (1, 2)] + [[3, 4]]
    alone = [HFSampler(model, tokenizer).generate([prompt], sampling, seed=3)[0] for prompt in prompts]
    sampler, shapes = HFSampler(model, tokenizer), list[tuple[int, ...]]()
    forward = model.forward

    def counted(*arguments: Any, **inputs: Any) -> Any:
        shapes.append(tuple(inputs["input_ids"].shape))
        return forward(*arguments, **inputs)

    monkeypatch.setattr(model, "forward", counted)
    together = sampler.generate(prompts, sampling, seed=3)
    assert [one.ids for one in together] == [one.ids for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logps == pytest.approx(other.logps, abs=1e-10)
    assert (shapes[0] == (7, 185)) == (family in ("mistral", "gemma3"))


def test_rows_with_a_shared_beginning_let_others_in() -> None:
    """The columns between beginning and rest stay when rows of other widths join."""
    model, tokenizer = tiny_model(dtype=torch.float64, max_position_embeddings=512), tiny_tokenizer()
    sampling = SamplingSection(temperature=1.0, max_new_tokens=9)
    # The last of the first three is given up after two tokens: nobody has a token in its columns behind the beginning any more.
    prompts = [[*SYSTEM, 1, 2], [*SYSTEM, 3], [*SYSTEM, *range(30)], [7], [*SYSTEM, 8]]
    alone = [HFSampler(model, tokenizer).generate([prompt], sampling, [seed])[0].ids for seed, prompt in enumerate(prompts)]
    arrivals = [[], [], [], [(prompts[3], 3), (prompts[4], 4)]]
    stream = HFSampler(model, tokenizer).stream(
        prompts[:3],
        sampling,
        [0, 1, 2],
        lambda index: index == 2 and len(arrivals) < 3,
        lambda: arrivals.pop(0) if arrivals else [],
    )
    found = {place: one.ids for step in stream for place, one in step}
    assert found == {place: alone[place] for place in (0, 1, 3, 4)}
