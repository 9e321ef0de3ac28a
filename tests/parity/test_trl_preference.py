"""dpo, ipo, bco_pair, sft and their weighted sum against TRL's DPOTrainer: loss, gradients and metrics, in every layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from burnish.testing import evaluate, tiny_model, tiny_tokenizer

STANDARD = [
    {"prompt": "The sky is ", "chosen": "blue today.", "rejected": "made of cheese, they say."},
    {"prompt": "Two and two: ", "chosen": "four", "rejected": "5"},
    {"prompt": "Two and two: ", "chosen": "it is four", "rejected": "forty"},
    {"prompt": "Say nothing", "chosen": "", "rejected": "no!"},
    {"prompt": "Two and ten: ", "chosen": "twelve", "rejected": "twelve hundred"},
]
CHATS = [
    {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "chosen": [{"role": "assistant", "content": row["chosen"]}],
        "rejected": [{"role": "assistant", "content": row["rejected"]}],
    }
    for row in STANDARD
]
CUTS = [("tree", 1), ("tree", 3), ("packed", 2), ("padded", 1), ("padded", 5)]
OBJECTIVES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "dpo": ({"loss_type": ["sigmoid"], "beta": 0.1}, [{"dpo": {"beta": 0.1}}]),
    "dpo-beta": ({"loss_type": ["sigmoid"], "beta": 0.7}, [{"dpo": {"beta": 0.7}}]),
    "ipo": ({"loss_type": ["ipo"], "beta": 0.3}, [{"ipo": {"beta": 0.3}}]),
    "bco_pair": ({"loss_type": ["bco_pair"], "beta": 0.2}, [{"bco_pair": {"beta": 0.2}}]),
    "sft": ({"loss_type": ["sft"]}, [{"sft": {"on": "chosen"}}]),
    "mpo": (
        {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0], "beta": 0.1},
        [{"dpo": {"weight": 0.8}}, {"bco_pair": {"weight": 0.2}}, {"sft": {"on": "chosen", "weight": 1.0}}],
    ),
    "all": (
        {"loss_type": ["sigmoid", "ipo", "bco_pair", "sft"], "loss_weights": [0.5, 0.01, 0.3, 0.7], "beta": 0.1},
        [
            {"dpo": {"weight": 0.5}},
            {"ipo": {"weight": 0.01}},
            {"bco_pair": {"weight": 0.3}},
            {"sft": {"on": "chosen", "weight": 0.7}},
        ],
    ),
}
DIVERGENCES = {"forward_kl": "forward_kl", "js_divergence": "js", "alpha_divergence": "alpha"}
METRICS = [
    *(f"rewards/{name}" for name in ("chosen", "rejected", "margins", "accuracies")),
    *(f"{kind}/{side}" for kind in ("logps", "logits") for side in ("chosen", "rejected")),
    "entropy",
    "mean_token_accuracy",
]


@pytest.mark.parametrize("rows", [STANDARD, CHATS], ids=["standard", "chat"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients(
    name: str,
    rows: list[dict[str, Any]],
    models: tuple[nn.Module, nn.Module],
    preference: Callable[..., Any],
    same: Callable[..., None],
) -> None:
    arguments, objective = OBJECTIVES[name]
    policy, reference = models
    theirs = preference(rows, **arguments)
    tokenizer = tiny_tokenizer(chat=rows is CHATS)
    for layout, micro_batches in CUTS:
        ours = evaluate(objective, rows, policy, tokenizer, reference=reference, layout=layout, micro_batches=micro_batches)  # type: ignore[arg-type]
        assert ours.layout == layout
        same(ours, theirs)


def test_the_oracle_is_far_from_where_all_losses_agree(preference: Callable[..., Any]) -> None:
    """A reference equal to the policy would give log 2 whatever the formula."""
    assert abs(preference(STANDARD, loss_type=["sigmoid"]).loss - math.log(2)) > 0.1


def test_metrics(models: tuple[nn.Module, nn.Module], preference: Callable[..., Any]) -> None:
    theirs = preference(STANDARD, loss_type=["sigmoid"]).metrics
    ours = evaluate(
        [{"dpo": {}}], STANDARD, models[0], tiny_tokenizer(chat=False), reference=models[1], micro_batches=2
    ).metrics
    assert ours == pytest.approx({name: theirs[name] for name in METRICS}, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("theirs", DIVERGENCES)
def test_divergences(
    theirs: str, models: tuple[nn.Module, nn.Module], preference: Callable[..., Any], same: Callable[..., None]
) -> None:
    policy = models[0]
    rows = STANDARD[1:3]  # short answers: e^-r must stay a number that float32 can tell apart
    objective = [{"dpo": {"beta": 0.1, "reward": {"f_divergence": DIVERGENCES[theirs], "f_alpha": 0.7}}}]
    ours = evaluate(objective, rows, policy, tiny_tokenizer(chat=False), reference=models[1])
    same(ours, preference(rows, loss_type=["sigmoid"], f_divergence_type=theirs, f_alpha_divergence_coef=0.7))


@pytest.mark.parametrize("loss", ["dpo", "ipo", "bco_pair"])
def test_length_desensitising(
    loss: str, models: tuple[nn.Module, nn.Module], preference: Callable[..., Any], same: Callable[..., None]
) -> None:
    objective = [{loss: {"reward": {"ld_alpha": 0.3}}}]
    ours = evaluate(objective, STANDARD, models[0], tiny_tokenizer(chat=False), reference=models[1], micro_batches=2)
    same(ours, preference(STANDARD, loss_type=["sigmoid" if loss == "dpo" else loss], ld_alpha=0.3))


def test_label_smoothing_is_where_we_differ(models: tuple[nn.Module, nn.Module], preference: Callable[..., Any]) -> None:
    """TRL 1.16 ignores label_smoothing for `sigmoid`; `robust` has the same two logistic terms, (1 - e) A - e B over 1 - 2e,
    so that with A = its value at e = 0 the smoothed loss (1 - e) A + e B follows from both."""
    e, tokenizer = 0.2, tiny_tokenizer(chat=False)
    ignored = preference(STANDARD, loss_type=["sigmoid"], label_smoothing=e).loss
    a = preference(STANDARD, loss_type=["sigmoid"]).loss
    assert ignored == a
    robust = preference(STANDARD, loss_type=["robust"], label_smoothing=e).loss
    b = ((1 - e) * a - (1 - 2 * e) * robust) / e
    ours = evaluate([{"dpo": {"label_smoothing": e}}], STANDARD, models[0], tokenizer, reference=models[1])
    assert ours.loss == pytest.approx((1 - e) * a + e * b, rel=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_layouts_agree_to_nine_digits_in_float64(name: str) -> None:
    """On GPT-2, whose norms stay in float64."""
    policy, reference = (tiny_model("gpt2", torch.float64, seed=seed) for seed in (0, 1))
    first, *others = (
        evaluate(
            OBJECTIVES[name][1],
            STANDARD,
            policy,
            tiny_tokenizer(chat=False),
            reference=reference,
            layout=layout,
            micro_batches=count,
        )  # type: ignore[arg-type]
        for layout, count in CUTS
    )
    expected = torch.cat([gradient.flatten() for gradient in first.grads.values()])
    for other in others:
        assert other.loss == pytest.approx(first.loss, rel=1e-9)
        found = torch.cat([gradient.flatten() for gradient in other.grads.values()])
        assert float((found - expected).norm() / expected.norm()) < 1e-9
