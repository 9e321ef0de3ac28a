"""Every shared set is read by a format, found by itself, with all its rows; or it stands here with the reason why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.config.sections import SourceSection
from burnish.data.examples import Chat, Example, Preference, Ranked, RowError, Unpaired
from burnish.data.prepare import open_reader
from burnish.registry import Registry

Counts = dict[str, int]
READ: dict[str, tuple[str, str, Counts]] = {
    "glaive_toolcall": ("sharegpt", "chat", {"train": 260, "test": 40}),
    "gsm8k": ("gsm8k", "prompt_completion", {"train": 7473, "test": 1319}),
    "gsm8k_model_solutions": ("gsm8k_solutions", "unpaired", {"train": 4 * 600, "test": 4 * 150}),
    "hh_rlhf_harmless": ("hh_rlhf", "preference", {"train": 1300, "test": 200}),
    "humaneval": ("prompt", "prompt", {"test": 164}),
    "ifeval": ("prompt", "prompt", {"test": 541}),
    "instruct_alpaca": ("alpaca", "prompt_completion", {"train": 999, "test": 101}),
    "kto_unpaired": ("unpaired_chat", "unpaired", {"train": 260, "test": 40}),
    # 85 and 15 trees; the lists of ranked replies in them.
    "oasst_trees": ("oasst", "ranked", {"train": 180, "test": 32}),
    "pref_politeness": ("alpaca_preference", "preference", {"train": 999, "test": 101}),
    "pref_sharegpt": ("sharegpt_preference", "preference", {"train": 260, "test": 40}),
    "self_instruct_seed": ("self_instruct", "prompt_completion", {"train": 150, "test": 25}),
    "sharegpt_identity": ("sharegpt", "chat", {"train": 450, "test": 50}),
    "taskmaster_dialogs": ("taskmaster", "chat", {"train": 170, "test": 30}),
    "taskmaster_reward": ("taskmaster_reward", "unpaired", {"train": 1300, "test": 200}),
    "tinyshakespeare": ("text", "text", {"train": 29239, "test": 3538}),
}
RENAMED: dict[str, tuple[dict[str, str], str, Counts]] = {
    "mbpp": (
        {"prompt": "text", "completion": "code"},
        "prompt_completion",
        {"train": 374, "validation": 90, "test": 500, "prompt": 10},
    ),
    "humaneval": ({"completion": "canonical_solution"}, "prompt_completion", {"test": 164}),
}
UNREAD = {
    "bfcl": "nothing to learn from but a judge of calls: the questions are for online runs and their reward",
    "mt_bench": "questions in two turns, the second after the model's own answer to the first: for a judge",
    "nlvr": "pictures",
    "photo_captions": "pictures",
    "svamp": "no worked answers, two columns of question: for online runs and a numeric reward",
}
ELSEWHERE = {"stepwise_formats", "stepwise_mistakes"}  # tests of the packages that read steps


def examples(path: Path, registry: Registry, **section: Any) -> tuple[str, str, list[Example | RowError]]:
    reader = open_reader("main", SourceSection(source=str(path), **section), registry)
    return reader.format.name, reader.kind, [example for _, example in reader.examples()]


def test_every_set_is_accounted_for(shared_data: Path) -> None:
    sets = {path.name for path in shared_data.iterdir() if path.is_dir()}
    assert sets == {*READ, *RENAMED, *UNREAD, *ELSEWHERE}


@pytest.mark.parametrize("name", READ)
def test_a_set_is_found_and_read_whole(name: str, shared_data: Path, registry: Registry) -> None:
    format_name, kind, counts = READ[name]
    for split, count in counts.items():
        [path] = shared_data.joinpath(name).glob(f"{split}.*")
        found, found_kind, rows = examples(path, registry)
        assert (found, found_kind, len(rows)) == (format_name, kind, count)
        assert not [row for row in rows if isinstance(row, RowError)]


@pytest.mark.parametrize("name", RENAMED)
def test_a_set_is_read_with_its_columns_renamed(name: str, shared_data: Path, registry: Registry) -> None:
    columns, kind, counts = RENAMED[name]
    for split, count in counts.items():
        _, found_kind, rows = examples(shared_data / name / f"{split}.jsonl", registry, columns=columns)
        assert (found_kind, len(rows)) == (kind, count)
        assert not [row for row in rows if isinstance(row, RowError)]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_best_path_of_a_tree_is_the_conversation_that_the_set_has_of_it(
    split: str, shared_data: Path, registry: Registry
) -> None:
    folder = shared_data / "oasst_trees"
    _, _, chats = examples(folder / f"{split}.jsonl", registry, format="oasst_chat")
    derived = [json.loads(line) for line in (folder / f"conversations_{split}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(chat.messages) for chat in chats if isinstance(chat, Chat)] == [row["messages"] for row in derived]


def test_ranks_become_pairs(shared_data: Path, registry: Registry) -> None:
    """n items in order make n (n - 1) / 2 pairs; lists of 2, 3, 4, 5, 6, 8 and 9 items, as often as they occur in the trees."""
    path = shared_data / "oasst_trees" / "t*.jsonl"
    _, _, lists = examples(path, registry)
    sizes = [len(row.completions) for row in lists if isinstance(row, Ranked)]
    assert {size: sizes.count(size) for size in set(sizes)} == {2: 57, 3: 117, 4: 27, 5: 3, 6: 6, 8: 1, 9: 1}
    for pairing, number in (("all", sum(size * (size - 1) // 2 for size in sizes)), ("best_worst", len(sizes))):
        _, kind, pairs = examples(path, registry, pairing=pairing)
        assert (kind, len(pairs)) == ("preference", number)
        assert not [pair for pair in pairs if isinstance(pair, Preference) and pair.chosen == pair.rejected]


def test_right_and_wrong_solutions_of_a_question_become_pairs(shared_data: Path, registry: Registry) -> None:
    path = shared_data / "gsm8k_model_solutions" / "test.jsonl"
    _, _, pairs = examples(path, registry, pairing="all")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    marks = [[value["is_correct"] for value in row.values() if isinstance(value, dict)] for row in rows]
    assert sum(isinstance(pair, Preference) for pair in pairs) == sum(sum(row) * (4 - sum(row)) for row in marks)


def test_calls_and_tools_of_the_tool_chats_are_all_there(shared_data: Path, registry: Registry) -> None:
    path = shared_data / "glaive_toolcall" / "t*.jsonl"
    raw = [json.loads(line) for name in ("test", "train") for line in (path.parent / f"{name}.jsonl").open(encoding="utf-8")]
    _, _, chats = examples(path, registry)
    for row, chat in zip(raw, chats, strict=True):
        assert isinstance(chat, Chat)
        said = [turn for turn in row["conversations"] if turn["from"] == "function_call"]
        made = [message["tool_calls"][0]["function"] for message in chat.messages if message.get("tool_calls")]
        assert [json.loads(turn["value"]) for turn in said] == made
        assert len(chat.side.tools) == len(json.loads(row["tools"] or "[]"))


def test_marks_are_those_of_the_rows(shared_data: Path, registry: Registry) -> None:
    for name, column in (("kto_unpaired", "label"), ("taskmaster_reward", "reward")):
        path = shared_data / name / "train.jsonl"
        marks = [bool(json.loads(line)[column]) for line in path.open(encoding="utf-8")]
        assert [row.label for row in examples(path, registry)[2] if isinstance(row, Unpaired)] == marks
