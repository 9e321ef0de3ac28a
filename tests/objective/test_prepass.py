"""Derived sequences, statistics, selections, coupled gradients: equal to the formula on one dense batch, however it is cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from burnish.errors import ObjectiveError
from burnish.testing import Evaluation, tiny_tokenizer

Run = Callable[..., Evaluation]
Distance = Callable[[dict[str, Tensor], dict[str, Tensor]], float]
ANSWERS = [{"prompt": "a: ", "completion": "bc"}, {"prompt": "b: ", "completion": "q"}, {"prompt": "a: ", "completion": "xyz"}]
CUTS: list[dict[str, Any]] = [
    {"micro_batches": 1, "layout": "tree"},
    {"micro_batches": 2, "layout": "padded"},
    {"micro_batches": 7, "layout": "packed"},
]


def summed(model: nn.Module, prompt: str, completion: str) -> Tensor:
    """Log-probability of a completion and the end of the text, from the model's own logits."""
    tokenizer = tiny_tokenizer(chat=False)
    start, ids = len(tokenizer(prompt).input_ids), [*tokenizer(prompt + completion).input_ids, tokenizer.eos_token_id]
    logits: Tensor = model(torch.tensor([ids])).logits[0]
    return logits.log_softmax(-1)[range(start - 1, len(ids) - 1), ids[start:]].sum()


def log_ratio(policy: nn.Module, reference: nn.Module, prompt: str, completion: str) -> Tensor:
    return summed(policy, prompt, completion) - summed(reference, prompt, completion).detach()


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("cut", CUTS)
def test_a_statistic_of_derived_sequences(
    run: Run, example: Callable[[str], str], distance: Distance, policy: nn.Module, reference: nn.Module, cut: dict[str, Any]
) -> None:
    pairing = [2, 0, 1]
    result = run([example("Mismatched")], ANSWERS, pairing=pairing, **cut)
    mismatched = [(ANSWERS[i]["prompt"], ANSWERS[pairing[i]]["completion"]) for i in range(3)]
    z = torch.stack([log_ratio(policy, reference, *pair) for pair in mismatched]).mean().detach()
    r = torch.stack([log_ratio(policy, reference, row["prompt"], row["completion"]) for row in ANSWERS])
    loss = torch.sigmoid(z - r).mean()
    assert result.loss == pytest.approx(loss.item(), rel=1e-10)
    assert result.metrics["z"] == pytest.approx(z.item(), rel=1e-10)
    assert distance(result.grads, gradients(policy, loss)) < 1e-10


def test_the_default_pairing_is_a_shift_of_the_set(run: Run, example: Callable[[str], str]) -> None:
    results = [
        run([example("Mismatched")], rows, **CUTS[1]) for rows in (ANSWERS, ANSWERS[::-1], [ANSWERS[i] for i in (1, 0, 2)])
    ]
    assert [one.loss for one in results] == pytest.approx([results[0].loss] * 3, rel=1e-12)
    # Every prompt meets another row's completion: the shift has no fixed point.
    shifts = [run([example("Mismatched")], ANSWERS, pairing=pairing).loss for pairing in ([1, 2, 0], [2, 0, 1])]
    assert min(abs(results[0].loss - shift) for shift in shifts) < 1e-12


def test_equal_rows_are_two_units(run: Run, example: Callable[[str], str], policy: nn.Module, reference: nn.Module) -> None:
    rows = [ANSWERS[0], ANSWERS[1], ANSWERS[0]]
    result = run([example("Mismatched")], rows, pairing=[1, 0, 2], micro_batches=2)
    pairs = [(rows[i]["prompt"], rows[j]["completion"]) for i, j in enumerate([1, 0, 2])]
    z = torch.stack([log_ratio(policy, reference, *pair) for pair in pairs]).mean()
    r = torch.stack([log_ratio(policy, reference, row["prompt"], row["completion"]) for row in rows])
    assert result.loss == pytest.approx(torch.sigmoid(z - r).mean().item())


@pytest.mark.parametrize("pairing", [[0, 1], [0, 0, 1], [1, 2, 3]])
def test_a_pairing_is_a_permutation(run: Run, example: Callable[[str], str], pairing: list[int]) -> None:
    with pytest.raises(ObjectiveError, match="permutation of the 3 units"):
        run([example("Mismatched")], ANSWERS, pairing=pairing)


@pytest.mark.parametrize("cut", CUTS)
def test_a_running_statistic(
    run: Run, example: Callable[[str], str], policy: nn.Module, reference: nn.Module, cut: dict[str, Any]
) -> None:
    name = example("Shifted")
    first = run([name], ANSWERS, **cut)
    r = torch.stack([log_ratio(policy, reference, row["prompt"], row["completion"]) for row in ANSWERS]).detach()
    assert first.state == {"shifted": pytest.approx(r.mean().item())}
    assert first.loss == pytest.approx(r.var(correction=0).item())
    second = run([name], ANSWERS[:1], state=first.state, **cut)
    shift = 0.5 * r.mean() + 0.5 * r[0]
    assert second.state == {"shifted": pytest.approx(shift.item())}
    assert second.loss == pytest.approx(((r[0] - shift) ** 2).item())


@pytest.mark.parametrize("cut", CUTS)
def test_a_selection_is_made_once_and_shrinks_the_denominator(
    run: Run, example: Callable[[str], str], distance: Distance, policy: nn.Module, cut: dict[str, Any]
) -> None:
    result = run([example("BestHalf")], ANSWERS, **cut)
    means = torch.stack([summed(policy, row["prompt"], row["completion"]) / (len(row["completion"]) + 1) for row in ANSWERS])
    best = means.detach() >= means.detach().median()
    assert best.sum() == 2
    assert result.loss == pytest.approx(-means[best].mean().item())
    assert result.metrics["rank"] == 1.5  # ranks 1 and 2 of 0, 1, 2 were kept
    assert distance(result.grads, gradients(policy, -means[best].mean())) < 1e-10


@pytest.mark.parametrize("cut", CUTS)
def test_a_gradient_across_units(
    run: Run,
    pairs: list[dict[str, str]],
    example: Callable[[str], str],
    distance: Distance,
    policy: nn.Module,
    reference: nn.Module,
    cut: dict[str, Any],
) -> None:
    def gaps(model: nn.Module) -> Tensor:
        gaps = [summed(model, row["prompt"], row["chosen"]) - summed(model, row["prompt"], row["rejected"]) for row in pairs]
        return torch.stack(gaps).sort().values

    loss = -logsigmoid(0.1 * (gaps(policy) - gaps(reference).detach())).mean()
    result = run([{example("Sorted"): {"weight": 2.0}}, {"sft": {"on": "chosen"}}], **cut)
    sft = run([{"sft": {"on": "chosen"}}])
    assert result.parts == pytest.approx({"sorted": loss.item(), "sft": sft.loss}, rel=1e-10)
    assert result.loss == pytest.approx(2 * loss.item() + sft.loss, rel=1e-10)
    assert result.metrics["h"] == pytest.approx((0.1 * (gaps(policy) - gaps(reference))).mean().item())
    expected = gradients(policy, 2 * loss)
    assert distance(result.grads, {name: expected[name] + sft.grads[name] for name in expected}) < 1e-10


def test_coupling_meets_weights(run: Run, example: Callable[[str], str], pairs: list[dict[str, str]]) -> None:
    """A coupled loss whose terms are weighed by rows gives what the uncoupled formula gives where sorting changes nothing."""
    rows = [{**pairs[0], "weight": 3.0}]
    assert run([example("Sorted")], rows).loss == pytest.approx(run([{"dpo": {}}], rows).loss)
    dpo, coupled = (run([{name: {"weights": [example("Likely")]}}], rows).grads for name in ("dpo", example("Sorted")))
    assert max(float((dpo[name] - coupled[name]).abs().max()) for name in dpo) < 1e-10


@pytest.mark.parametrize("extra", [{"on": "chosen"}, {"on": ["chosen", "rejected"]}])
def test_only_what_a_statistic_reads_is_scored_before(run: Run, example: Callable[[str], str], extra: dict[str, Any]) -> None:
    """sft needs no look ahead, so the policy is forwarded once; a threshold needs one, of the sequences under it alone."""
    rows = [{"prompt": "a: ", "chosen": "bc", "rejected": "defg"}]
    plain = run([{"sft": extra}], rows)
    assert plain.forwards == {"policy": 1}
    looked = run([{"sft": {**extra, "weights": {example("TopEntropy"): {"keep": 0.5}}}}], rows)
    assert looked.forwards == {"policy": 2}
    assert looked.forwarded_tokens["policy"] == 2 * plain.forwarded_tokens["policy"]
