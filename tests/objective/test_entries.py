"""What a config may ask for, and what is refused in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from burnish.errors import BurnishError, ConfigError, ObjectiveError
from burnish.objective.entries import check_kinds, parse_objective
from burnish.registry import load

REGISTRY = load(run_code=True)


def parse(*items: Any) -> Any:
    return parse_objective(list(items), REGISTRY)


def test_an_entry_says_everything_or_nothing() -> None:
    plain, full = parse(
        "dpo",
        {
            "sft": {
                "on": ["chosen", "rejected"],
                "targets": "all",
                "source": "pairs",
                "weight": 0.5,
                "reduction": "constant(64)",
                "name": "nll",
            }
        },
    )
    assert (plain.name, plain.data, plain.source, plain.targets, plain.weight, plain.on) == (
        "dpo",
        "preference",
        "main",
        "completion",
        1.0,
        (),
    )
    assert str(plain.reduction) == "pair_mean"
    assert (full.name, full.on, full.targets, full.source, full.weight) == ("nll", ("chosen", "rejected"), "all", "pairs", 0.5)
    assert str(full.reduction) == "constant(64)"


def test_fields_go_to_the_loss_and_nested_ones_too() -> None:
    [entry] = parse({"dpo": {"beta": 0.3, "reward": {"f_divergence": "js"}, "weight": 2}})
    assert (entry.loss.beta, entry.loss.reward.f_divergence, entry.weight) == (0.3, "js", 2.0)


def test_a_second_part_of_one_loss_is_numbered() -> None:
    names = [entry.name for entry in parse({"sft": {"on": "chosen"}}, {"sft": {"on": "rejected"}}, {"sft": None})]
    assert names == ["sft", "sft_2", "sft_3"]


def test_a_loss_without_a_record_is_about_what_it_annotates(example: Callable[[str], str]) -> None:
    pairs, sequences = parse(example("Sorted"), {example("Mismatched"): {"weights": [example("Likely")]}})
    assert (pairs.name, pairs.data, str(pairs.reduction)) == ("sorted", "preference", "pair_mean")
    assert (sequences.name, sequences.data, str(sequences.reduction)) == ("mismatched", "sequence", "sequence_mean")
    assert [name for name, _ in sequences.weights] == ["likely"]


def test_weights_come_in_three_spellings(example: Callable[[str], str]) -> None:
    top, likely = example("TopEntropy"), example("Likely")
    for given in ([likely, {top: {"keep": 0.2}}], {likely: None, top: {"keep": 0.2}}):
        [entry] = parse({"sft": {"weights": given}})
        assert [name for name, _ in entry.weights] == ["likely", "topentropy"]
    assert [name for name, _ in parse({"sft": {"weights": likely}})[0].weights] == ["likely"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "objective: a list of losses"),
        ([{"dpo": {}, "sft": {}}], "objective.0: one name with its options"),
        ([3], "objective.0: one name"),
        ([{"dpo": 0.1}], "objective.0: one name"),
        (["dpp"], "Did you mean 'dpo'"),
        ([{"dpo": {"betta": 0.1}}], "beta"),
        ([{"dpo": {"beta": "high"}}], "objective.0.dpo.beta"),
        ([{"dpo": {"beta": -1}}], "beta must be above 0, got -1"),
        ([{"dpo": {"label_smoothing": 0.5}}], "label_smoothing must lie in"),
        ([{"dpo": {"reward": {"ld_alpha": 2}}}], "ld_alpha must lie in"),
        ([{"dpo": {"weight": "much"}}], "objective.0.dpo.weight: a finite number"),
        ([{"dpo": {"weight": float("nan")}}], "a finite number"),
        ([{"dpo": {"reduction": "token_mean"}}], "reduced by pair_mean, not token_mean"),
        ([{"sft": {"reduction": "mean"}}], "objective.0.sft.reduction: no reduction named 'mean'"),
        ([{"dpo": {"on": "chosen"}}], "reads 2 roles in order"),
        ([{"sft": {"on": True}}], "objective.0.sft.on: a role or several different ones; got True"),
        ([{"sft": {"on": {"role": "chosen"}}}], "objective.0.sft.on: a role or several different ones"),
        ([{"sft": {"on": ["chosen", "chosen"]}}], "several different ones"),
        ([{"sft": {"name": "a"}}, {"dpo": {"name": "a"}}], "two parts are named 'a'"),
        ([{"sft": {"weights": ["top_entropie"]}}], "no weight named 'top_entropie'"),
        ([{"sft": {"weights": 3}}], "weights: a list"),
    ],
)
def test_refusals(items: list[Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(*items)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Reserving", "has a field 'weight', a word that every entry reserves"),
        ("twice", "is not a dataclass"),
        ("Likely", None),  # a weight has the shape of a loss; its terms are then reduced like one
        ("Missing", "has no 'Missing'"),
    ],
)
def test_custom_losses_that_are_none(example: Callable[[str], str], name: str, message: str | None) -> None:
    if message is None:
        parse(example(name))
        return
    with pytest.raises(BurnishError, match=message):
        parse(example(name))


@pytest.mark.parametrize(
    ("items", "kinds", "message"),
    [
        (["sft"], {"main": "preference"}, "say which with `on`, as in `sft: {on: chosen}`"),
        (["sft"], {"main": "ranked"}, "`sft: {on: item0}`"),
        (["dpo"], {"main": "chat"}, "dpo needs preference data; source 'main' holds chat"),
        (["sft"], {"main": "prompt"}, "holds prompts only"),
        (["grpo"], {"main": "prompt_completion"}, "or add a section `rollout`, in which the model answers"),
        (["kto"], {"main": "preference"}, "or make such rows of these with `data.main.pairing: undo`"),
        (["dpo"], {"main": "unpaired"}, "or make such rows of these with `data.main.pairing: all`"),
        (["dpo"], {"main": "chat"}, "or choose a loss on chat data"),
        ([{"sft": {"on": "choosen"}}], {"main": "preference"}, "Did you mean 'chosen'"),
        ([{"sft": {"on": "gold"}}], {"main": "preference"}, "no `on: gold`"),
        ([{"dpo": {"on": ["gold", "rejected"]}}], {"main": "preference"}, "no `on: gold`"),
        ([{"sft": {"source": "othr"}}], {"main": "chat", "other": "chat"}, "no data source named 'othr'. Did you mean 'other'"),
        (["sft"], {"main": "chat", "other": "chat"}, "no part of the objective reads the source 'other'"),
    ],
)
def test_kinds_that_do_not_fit(items: list[Any], kinds: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_kinds(parse(*items), kinds)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("items", "kinds"),
    [
        (["sft"], {"main": "chat"}),
        (["sft"], {"main": "trajectory"}),
        (["dpo", {"sft": {"on": "gold"}}], {"main": "triple"}),
        ([{"dpo": {"on": ["gold", "rejected"]}}], {"main": "triple"}),
        ([{"sft": {"on": "item3"}}], {"main": "ranked"}),
        (["dpo", {"sft": {"source": "other"}}], {"main": "preference", "other": "text"}),
    ],
)
def test_kinds_that_fit(items: list[Any], kinds: dict[str, str]) -> None:
    check_kinds(parse(*items), kinds)


def test_coupling_is_batch_or_nothing() -> None:
    [entry] = parse("sft")
    with pytest.raises(ObjectiveError, match="coupling must be 'batch'"):
        _ = type(entry)("x", _Odd(), "sequence", entry.reduction).is_coupled


class _Odd:
    coupling = "pairs"

    def signals(self) -> frozenset[Any]:
        return frozenset()

    def __call__(self, batch: Any) -> Any:
        raise NotImplementedError


def test_a_loss_says_which_tokens_it_scores_and_the_config_may_say_others(example: Callable[[str], str]) -> None:
    own, other = parse(example("AtTheEnd"), {example("AtTheEnd"): {"targets": "all"}})
    assert (own.targets, other.targets) == ("end", "all")
