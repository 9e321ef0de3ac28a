"""Every row of the real sets: read, recognised, rendered; its targets are its answers, its prompt is what a model is asked.

The tokenizer makes a token of each byte, so that what is decoded can be compared with the raw row character by character.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from burnish.config.sections import RenderSection, SourceSection
from burnish.data.examples import RowError
from burnish.data.prepare import open_reader, render_chunks
from burnish.data.render import Renderer
from burnish.data.units import Sequence, Unit
from burnish.registry import Registry
from burnish.testing.tiny import tiny_tokenizer

END = "<|im_end|>\n"


def answer(role: str) -> Callable[[Any, str], str]:
    return lambda row, _: str(row[role]) + END


def alpaca(row: Any, role: str) -> str:
    return str(row["output" if role == "main" else role]) + END


def sharegpt(row: Any, role: str) -> str:
    turns = row["conversations"] if role == "main" else [row[role]]
    return "".join(turn["value"] + END for turn in turns if turn["from"] == "gpt")


def last_words(row: Any, role: str) -> str:
    return str(row[role]).rpartition("\n\nAssistant:")[2].strip() + END


SETS = {
    "instruct_alpaca": ("alpaca", 1100, alpaca, 0),
    "pref_politeness": ("alpaca_preference", 1100, alpaca, 0),
    "pref_sharegpt": ("sharegpt_preference", 300, sharegpt, 0),
    "sharegpt_identity": ("sharegpt", 500, sharegpt, 0),
    # Its README: in 3 of the 1500 rows the transcripts part earlier, so more than the last words are targets.
    "hh_rlhf_harmless": ("hh_rlhf", 1500, last_words, 3),
}


@pytest.fixture(scope="module")
def unlimited() -> Renderer:
    return Renderer(tiny_tokenizer(), RenderSection(max_length=10**6))


def rendered(folder: Path, registry: Registry, renderer: Renderer, format_name: str) -> Iterator[tuple[Any, Unit]]:
    """Every row of both splits with its unit."""
    for name in ("train", "test"):
        path = folder / f"{name}.jsonl"
        reader = open_reader("main", SourceSection(source=str(path)), registry)
        assert reader.format.name == format_name, "detected, not named"
        raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for row, (_, _, one) in zip(raw, chain.from_iterable(render_chunks(reader, renderer)), strict=True):
            assert isinstance(one.result, Unit), one.result
            assert not set(one.notes) - {"chosen_is_rejected"}
            yield row, one.result


def targets(renderer: Renderer, sequence: Sequence) -> str:
    text: str = renderer.tokenizer.decode(sequence.ids[sequence.masks["completion"]])
    return text


@pytest.mark.parametrize("name", SETS)
def test_every_row_is_kept_and_its_targets_are_its_answers(
    name: str, shared_data: Path, registry: Registry, unlimited: Renderer
) -> None:
    format_name, num_rows, expected, num_odd = SETS[name]
    rows = list(rendered(shared_data / name, registry, unlimited, format_name))
    assert len(rows) == num_rows
    odd = [row for row, unit in rows if any(targets(unlimited, one) != expected(row, one.role) for one in unit.sequences)]
    assert len(odd) == num_odd
    uneven = [unit for _, unit in rows if len({int(one.masks["completion"].argmax()) for one in unit.sequences}) > 1]
    assert not uneven, "targets begin at the same token on both sides of a pair"


@pytest.mark.parametrize("name", ["instruct_alpaca", "pref_politeness", "pref_sharegpt", "hh_rlhf_harmless"])
def test_a_prompt_as_it_is_generated_from_begins_its_sequences(
    name: str, shared_data: Path, registry: Registry, unlimited: Renderer
) -> None:
    reader = open_reader("main", SourceSection(source=str(shared_data / name), split="test"), registry)
    for _, example, one in chain.from_iterable(render_chunks(reader, unlimited)):
        assert isinstance(one.result, Unit)
        assert not isinstance(example, RowError)
        prompt = unlimited.prompt_ids(example).tolist()
        assert all(sequence.ids[: len(prompt)].tolist() == prompt for sequence in one.result.sequences)


def test_ties_of_the_politeness_set_are_counted(shared_data: Path, build: Callable[..., Any]) -> None:
    """Its README says that six rows have chosen == rejected."""
    data = build(main={"source": str(shared_data / "pref_politeness"), "holdout": "test"})
    both = build(main={"source": str(shared_data / "pref_politeness" / "test.jsonl")})
    assert (
        data.report.sources["main"].notes["chosen_is_rejected"] + both.report.sources["main"].notes["chosen_is_rejected"] == 6
    )


def test_no_test_prompt_of_the_alpaca_set_is_trained_on(shared_data: Path, build: Callable[..., Any]) -> None:
    data = build(main={"source": str(shared_data / "instruct_alpaca"), "holdout": "test"}, render={"max_length": 10**6})
    assert (data.report.sources["main"].kept, len(data.holdout["main"])) == (999, 101)
