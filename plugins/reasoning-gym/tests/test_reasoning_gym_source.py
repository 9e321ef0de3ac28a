"""Rows and rewards of reasoning-gym: right answers are right, wrong ones wrong, questions never repeat or leak."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from random import Random
from typing import Any

import pytest
from burnish_reasoning_gym.items import Generator, find
from burnish_reasoning_gym.reward import exact_match, reasoning_gym
from burnish_reasoning_gym.source import NUMBER_ONLY, ReasoningGym
from burnish_reasoning_gym.wrong import near_misses

from burnish.errors import DataError

DIGITS = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
# Generators of several shapes: numbers, words, grids, and one whose scoring needs the item's metadata.
TASKS = [
    "chain_sum",
    "leg_counting",
    "spell_backward",
    "gsm_symbolic",
    "word_ladder",
    "mini_sudoku",
    "acre",
    "decimal_chain_sum",
]
REFUSED = ["boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"]


def rows_of(task: str, size: int = 6, **options: Any) -> list[dict[str, Any]]:
    return list(ReasoningGym(task=task, size=size, **options))


def judged(rows: list[dict[str, Any]], column: str) -> list[float | None]:
    return reasoning_gym(completions=[row[column] for row in rows], item=[row["item"] for row in rows])


@pytest.mark.parametrize("task", TASKS)
def test_chosen_is_right_and_rejected_is_worse(task: str) -> None:
    rows = rows_of(task, seed=3)
    right, wrong = judged(rows, "chosen"), judged(rows, "rejected")
    assert len(rows) == 6
    assert all(value == 1 for value in right)
    assert all(value is not None and value < 1 for value in wrong)


@pytest.mark.parametrize("task", REFUSED)
def test_generators_that_refuse_their_own_answer_are_refused(task: str) -> None:
    with pytest.raises(DataError, match=rf"'{task}' scores its own stored answer"):
        rows_of(task)


def test_rows_have_trl_columns_and_ask_for_a_number_only_where_the_answer_is_one() -> None:
    row = rows_of("chain_sum", arguments=DIGITS)[0]
    assert set(row) == {"prompt", "chosen", "rejected", "answer", "item"}
    assert row["prompt"][0]["content"].endswith(NUMBER_ONLY)
    assert row["chosen"] == [{"role": "assistant", "content": row["answer"]}]
    assert NUMBER_ONLY not in rows_of("spell_backward")[0]["prompt"][0]["content"]
    assert set(rows_of("chain_sum", kind="prompt")[0]) == {"prompt", "answer", "item"}
    assert set(rows_of("chain_sum", kind="prompt_completion")[0]) == {"prompt", "completion", "answer", "item"}
    assert rows_of("chain_sum", instruction="")[0]["prompt"][0]["content"].endswith("=")


def test_questions_never_repeat_and_splits_share_none() -> None:
    # Ten digits, two terms, plus or minus: at most 200 questions, so 100 draws of each split would collide many times.
    train = [row["prompt"][0]["content"] for row in rows_of("chain_sum", 100, arguments=DIGITS, split="train", seed=1)]
    test = [row["prompt"][0]["content"] for row in rows_of("chain_sum", 20, arguments=DIGITS, split="test", seed=2)]
    assert len(set(train)) == 100
    assert not set(train) & set(test)


def test_equal_options_give_equal_rows_and_another_seed_others() -> None:
    assert rows_of("chain_sum", seed=1) == rows_of("chain_sum", seed=1) != rows_of("chain_sum", seed=2)


def test_more_rows_than_questions_is_an_error_with_the_number_found() -> None:
    with pytest.raises(DataError, match=r"gave only \d+ different questions .* 500 rows were asked for"):
        rows_of("chain_sum", 500, arguments=DIGITS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "chain_sun"}, "Did you mean 'chain_sum'"),
        ({"task": "chain_sum", "arguments": {"min_digit": 1}}, "min_digit"),
        ({"task": "chain_sum", "kind": "pairs"}, "kind must be one of preference"),
        ({"task": "chain_sum", "split": "dev"}, "split must be one of all"),
        ({"task": "chain_sum", "size": 0}, "size must be at least 1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(ReasoningGym(**{"size": 2, **options}))


def test_reference_finds_the_same_item() -> None:
    generator = Generator("chain_sum", 20, 5, "{}")
    again, index = find(generator.reference(7))
    assert (again, index) == (generator, 7)
    assert again.item(index) == generator.item(7)


def test_near_misses_keep_the_form() -> None:
    for number in ("7", "0", "-7", "12.50", "0.05"):
        found = list(near_misses(number, Random(0)))
        assert all(re.fullmatch(r"-?\d+" + (r"\.\d\d" if "." in number else ""), value) for value in found)
        assert all(abs(float(value) - float(number)) > 0 or value == number for value in found)
    assert {"8", "6", "9", "5", "10", "4", "17"} == {
        value for value in near_misses("7", Random(0)) if not value.startswith("-")
    }
    assert "0.06" in near_misses("0.05", Random(0))
    assert "7" in near_misses("-7", Random(0))


def test_near_misses_come_in_random_order() -> None:
    firsts = {next(near_misses("50", Random(seed))) for seed in range(30)}
    assert len(firsts) > 3


def test_rewards_read_text_messages_and_tags() -> None:
    row = rows_of("chain_sum", 1, kind="prompt")[0]
    said = [
        row["answer"],
        [{"role": "assistant", "content": f" {row['answer']}\n"}],
        f"so <answer>{row['answer']}</answer>",
        "no",
    ]
    repeated = [row["item"]] * 4
    assert [value == 1 for value in reasoning_gym(completions=said, item=repeated) if value is not None] == [
        True,
        True,
        True,
        False,
    ]
    assert exact_match(completions=said, answer=[row["answer"]] * 4) == [1.0, 1.0, 0.0, 0.0]


def test_rewards_do_not_apply_to_other_rows() -> None:
    assert reasoning_gym(completions=["1"], item=[None]) == [None]
    assert exact_match(completions=["1"], answer=[None]) == [None]


def test_rows_stream() -> None:
    # Nothing is generated ahead: the first row of a million comes at once.
    assert next(iter(ReasoningGym(task="chain_sum", size=10**6)))["answer"]
    assert len(list(itertools.islice(ReasoningGym(task="chain_sum", size=10**6), 3))) == 3


def test_plugin_module_imports_no_torch() -> None:
    code = "import sys, burnish_reasoning_gym.plugin; assert not {'torch', 'reasoning_gym', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
