"""Several losses as one: sums, names, weights, denominators; what a broken loss is told; the batch as a set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.errors import ConfigError, ObjectiveError
from burnish.testing import Evaluation

Run = Callable[..., Evaluation]
Distance = Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], float]
PARTS: list[dict[str, Any]] = [
    {"dpo": {}},
    {"bco_pair": {}},
    {"ipo": {}},
    {"sft": {"on": "chosen", "targets": "all"}},
    {"sft": {"on": ["chosen", "rejected"]}},
]


def weighed(part: dict[str, Any], weight: float) -> dict[str, Any]:
    return {name: {**options, "weight": weight} for name, options in part.items()}


def test_an_objective_is_the_weighted_sum_of_its_parts(run: Run, distance: Distance) -> None:
    weights = [0.8, 0.2, 0.01, 1.5, -0.3]
    alone = [run([part]) for part in PARTS]
    together = run([weighed(part, weight) for part, weight in zip(PARTS, weights, strict=True)], micro_batches=2)
    assert list(together.parts) == ["dpo", "bco_pair", "ipo", "sft", "sft_2"]
    assert list(together.parts.values()) == pytest.approx([one.loss for one in alone], rel=1e-12)
    assert together.loss == pytest.approx(sum(weight * one.loss for weight, one in zip(weights, alone, strict=True)), rel=1e-12)
    expected = {
        name: sum(weight * one.grads[name] for weight, one in zip(weights, alone, strict=True)) for name in together.grads
    }
    assert distance(together.grads, expected) < 1e-12
    assert together.forwards["policy"] == 2


def test_the_first_part_keeps_the_bare_name(run: Run) -> None:
    both = run([{"ipo": {}}, {"dpo": {"beta": 0.5}}]).metrics
    ipo, dpo = run([{"ipo": {}}]).metrics, run([{"dpo": {"beta": 0.5}}]).metrics
    assert both == ipo | {f"dpo/{name}": value for name, value in dpo.items()}
    assert both["dpo/rewards/margins"] == pytest.approx(5 * both["rewards/margins"])


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(5)), micro_batches=st.integers(1, 6), layout=st.sampled_from(["tree", "packed", "padded"]))
def test_the_batch_is_a_set(
    run: Run, pairs: list[Any], distance: Distance, order: list[int], micro_batches: int, layout: str
) -> None:
    objective = [
        {"dpo": {"label_smoothing": 0.1}},
        {"ipo": {"weight": 0.1}},
        {"sft": {"on": "chosen", "reduction": "sequence_token_mean"}},
    ]
    whole = run(objective)
    other = run(objective, [pairs[place] for place in order], micro_batches=micro_batches, layout=layout)
    assert other.loss == pytest.approx(whole.loss, rel=1e-12)
    assert other.metrics == pytest.approx(whole.metrics, rel=1e-10, abs=1e-12)
    assert distance(other.grads, whole.grads) < 1e-10
    assert other.layout == layout


def logps(run: Run, rows: list[dict[str, Any]]) -> list[float]:
    """Summed log-probability of each row's completion, one at a time."""
    return [-run([{"sft": {"reduction": "sequence_mean"}}], [row]).loss for row in rows]


ANSWERS = [{"prompt": "a: ", "completion": "bc"}, {"prompt": "b: ", "completion": "q"}, {"prompt": "a: ", "completion": "xyz"}]


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_reductions_divide_by_the_whole_batch(run: Run, micro_batches: int) -> None:
    sums = logps(run, ANSWERS)
    lengths = [3, 2, 4]  # one byte each, and the end of the text
    expected = {
        "token_mean": -sum(sums) / 9,
        "sequence_mean": -sum(sums) / 3,
        "sequence_token_mean": -sum(one / length for one, length in zip(sums, lengths, strict=True)) / 3,
        "constant(7)": -sum(sums) / (7 * 3),
    }
    for name, value in expected.items():
        assert run([{"sft": {"reduction": name}}], ANSWERS, micro_batches=micro_batches).loss == pytest.approx(value), name


def test_a_row_s_weight_multiplies_its_term_and_no_denominator(run: Run) -> None:
    sums = logps(run, ANSWERS)
    rows = [{**row, "weight": weight} for row, weight in zip(ANSWERS, (2.0, 0.0, 0.5), strict=True)]
    expected = -(2.0 * sums[0] + 0.5 * sums[2]) / 9
    assert run([{"sft": {}}], rows, micro_batches=2).loss == pytest.approx(expected)


def test_parts_read_their_own_sources(run: Run) -> None:
    from_text = run([{"sft": {}}], ANSWERS)
    pairs = [{"prompt": "p ", "chosen": "q", "rejected": "r"}]
    dpo = run([{"dpo": {}}], pairs)
    mixed = run(
        [{"dpo": {}}, {"sft": {"source": "answers", "weight": 0.5}}], {"main": pairs, "answers": ANSWERS}, micro_batches=4
    )
    assert mixed.parts == pytest.approx({"dpo": dpo.loss, "sft": from_text.loss})
    with pytest.raises(ConfigError, match="no part of the objective reads the source 'answers'"):
        run([{"dpo": {}}], {"main": pairs, "answers": ANSWERS})


def test_weights_are_detached_multipliers(run: Run, example: Callable[[str], str], distance: Distance) -> None:
    """exp(mean lp) of both sides multiplies a pair's term; its gradient is cut, so a row's `weight` column does the same."""
    from_rows = [{"prompt": "p ", "chosen": "qq", "rejected": "r"}, {"prompt": "o ", "chosen": "s", "rejected": "ttt"}]
    means = [[math.exp(-run([{"sft": {"on": side}}], [row]).loss) for side in ("chosen", "rejected")] for row in from_rows]
    by_hand = [{**row, "weight": chosen * rejected} for row, (chosen, rejected) in zip(from_rows, means, strict=True)]
    expected = run([{"dpo": {}}], by_hand)
    weighed = run([{"dpo": {"weights": [example("Likely")]}}], from_rows, micro_batches=2)
    assert weighed.loss == pytest.approx(expected.loss)
    assert distance(weighed.grads, expected.grads) < 1e-10
    assert weighed.metrics["weights"] == pytest.approx(sum(map(sum, means)) / 4)


def test_a_weight_per_token_with_a_threshold_of_the_whole_batch(run: Run, example: Callable[[str], str]) -> None:
    weights = {example("TopEntropy"): {"keep": 0.5}}
    results = [
        run([{"sft": {"weights": weights}}], ANSWERS, micro_batches=count, layout=layout).loss
        for count, layout in ((1, "tree"), (3, "padded"))
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-12)
    assert results[0] < run([{"sft": {}}], ANSWERS).loss
    assert run([{"sft": {"weights": {example("TopEntropy"): {"keep": 1.0}}}}], ANSWERS).loss == pytest.approx(
        run([{"sft": {}}], ANSWERS).loss
    )
    with pytest.raises(ObjectiveError, match="here it returns them per sequence"):
        run([{"dpo": {"weights": weights}}])


def test_a_mask_takes_sequences_out_of_the_denominator(run: Run, example: Callable[[str], str]) -> None:
    masked = run([{"sft": {"weights": {example("Long"): {"least": 3}}}}], ANSWERS)
    assert masked.loss == pytest.approx(run([{"sft": {}}], [ANSWERS[0], ANSWERS[2]]).loss)
    assert masked.forwarded_tokens == {"policy": 10}  # "a: " once, 3 and 4 targets


def test_dropped_units_do_not_count(run: Run, example: Callable[[str], str]) -> None:
    rows = [
        {"prompt": "p ", "chosen": "qq", "rejected": "r", "margin": 1.0},
        {"prompt": "o ", "chosen": "s", "rejected": "t", "margin": 0.0},
    ]
    both = run([{example("Decided"): {}}], rows, micro_batches=2)
    assert both.loss == pytest.approx(run([{example("Decided"): {}}], rows[:1]).loss)
    assert both.metrics == {"pairs": 1.0}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("undeclared", "reads the reference's log-probability, of which its signals\\(\\) declares none"),
        ("entropy", "broken reads 'entropy' of the policy, but its signals\\(\\) declares 'logp' of the policy"),
        ("field", "needs 'advantages' for every token, which row \\d does not have"),
        ("column", "needs a column 'temperature', which row \\d does not have"),
        ("derived", "reads derived sequences 'other', which its derive\\(\\) did not make"),
        ("reduced", "broken returned an already reduced value"),
        ("reduced_metric", "a metric takes its unreduced values"),
        ("shape", "broken returned terms of shape \\[10\\]; one per pair is \\[5\\]"),
        ("level", "broken returned terms per sequence; here it returns them per pair"),
        ("ragged", r"broken returned a Ragged as `pair`, which takes a tensor, unreduced"),
        ("two", "exactly one of token, sequence, pair and list"),
        ("surprising", "broken failed: KeyError: 'surprising'"),
        ("tensor", "broken returned Tensor; it returns unreduced Terms\\(pair=...\\)"),
    ],
)
def test_a_broken_loss_is_told_so(run: Run, example: Callable[[str], str], how: str, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        run([{example("Broken"): {"how": how}}])


def test_terms_of_other_tokens_are_refused(run: Run, example: Callable[[str], str]) -> None:
    with pytest.raises(ObjectiveError, match="must belong to the batch's own target tokens"):
        run([example("OtherTokens")], ANSWERS)


def test_a_metric_is_given_always_or_never(run: Run, example: Callable[[str], str]) -> None:
    with pytest.raises(ObjectiveError, match="gave the metric 'seldom' for some micro-batches only"):
        run([{example("Broken"): {"how": "sometimes"}}], micro_batches=4)
