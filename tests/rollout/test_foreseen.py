"""What a rollout section comes to, before anything is drawn."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from burnish.batch.trie import num_unique_tokens
from burnish.config.sections import DrawnSection, RolloutSection, Sections, SourceSection
from burnish.data.dataset import Cursor, TrainData, build_dataset
from burnish.errors import ConfigError
from burnish.registry import load
from burnish.rollout.foreseen import (
    foreseen,
    foreseen_batches,
    num_steps,
    seen_kinds,
    smaller_steps,
    step_size,
    steps_a_pass,
)
from burnish.testing import tiny_tokenizer

SECTION = RolloutSection(prompts=3, group_size=4, epochs=2, sampling=DrawnSection(max_new_tokens=5))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainData:
    """Seven questions of four tokens, with answers."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path))
    rows = [{"prompt": f"q {n}:", "completion": "yes"} for n in range(7)]
    sections = Sections(data={"main": SourceSection(source="given")})
    return build_dataset(sections, tiny_tokenizer(chat=False), load(), {"main": rows})


def test_kinds() -> None:
    assert seen_kinds(SECTION, {"main": "prompt", "more": "chat"}) == {"main": "trajectory", "more": "chat"}
    assert seen_kinds(None, {"main": "prompt"}) == {"main": "prompt"}
    with pytest.raises(ConfigError, match=r"no data source 'main'\. Did you mean 'mian'"):
        seen_kinds(SECTION, {"mian": "prompt"})
    with pytest.raises(ConfigError, match="text rows, which have no prompt"):
        seen_kinds(SECTION, {"main": "text"})


def test_steps(data: TrainData) -> None:
    assert steps_a_pass(SECTION, 5) == 3  # 12 completions
    assert num_steps(SECTION, data, 1.0, 5) == 3 * 2 * 3  # 7 prompts by 3, two passes, three steps
    assert num_steps(None, data, 1.0, 5) == 1  # batches of 16 rows


def test_a_step_that_is_smaller_than_asked_for_is_told_of(data: TrainData) -> None:
    assert step_size(SECTION, 5) == 4  # 12 completions in three steps
    assert [len(batch) for batch in islice(foreseen_batches(SECTION, data, 5), 3)] == [4, 4, 4]
    said = "a rollout batch gives 12 completions, so a step has {} of them, not the {} of train.batch_size"
    assert smaller_steps(SECTION, 5) == said.format(4, 5)
    assert smaller_steps(SECTION, 16) == said.format(12, 16)
    assert smaller_steps(SECTION, 6) is None
    assert smaller_steps(None, 5) is None


def test_a_group_shares_its_prompt_and_nothing_else(data: TrainData) -> None:
    batch = next(foreseen_batches(SECTION, data, 12))
    assert [len(unit.sequences[0]) for unit in batch] == [4 + 5] * 12
    group = [unit.sequences[0] for unit in batch[:4]]
    assert num_unique_tokens(group) == 4 + 4 * 5
    assert all(sequence.masks["completion"].tolist() == [False] * 4 + [True] * 5 for sequence in group)


def test_the_length_is_what_may_be_drawn(data: TrainData) -> None:
    rows, _ = next(iter(data.units(Cursor())))
    [unit] = foreseen(rows[0], 1, 2)
    assert len(unit.sequences[0]) == 6
