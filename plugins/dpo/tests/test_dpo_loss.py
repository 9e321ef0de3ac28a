"""DPO on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_dpo.loss import DPO
from burnish_dpo.recipe import bema_dpo, dpo, rpo, tr_dpo

from burnish.config import load_config
from burnish.config.sections import BemaSection, MixSection, SyncSection
from burnish.errors import ConfigError
from burnish.objective import ImplicitReward, Pairs
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import pairs


def example(**columns: list[float]) -> Pairs:
    """r_w = (-1 + 1.5) + (-2 + 2.5) = 1 and r_l = -3 + 2 = -1, so r_w - r_l = 2."""
    return pairs([[-1.0, -2.0]], [[-3.0]], reference=([[-1.5, -2.5]], [[-2.0]]), scalars=columns)


def value(loss: DPO, batch: Pairs) -> float:
    terms = values_of(loss(batch), "pair")
    [one] = terms.tolist()
    return float(one)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_the_formula() -> None:
    # h = .5 * 2 = 1: -log sigmoid(1) = log(1 + e^-1) = .31326
    assert value(DPO(beta=0.5), example()) == pytest.approx(0.3132616875)


def test_label_smoothing() -> None:
    # .9 * .31326 + .1 * 1.31326
    assert value(DPO(beta=0.5, label_smoothing=0.1), example()) == pytest.approx(0.4132616875)


def test_a_margin_is_subtracted_from_the_gap() -> None:
    assert value(DPO(beta=0.5), example(margin=[0.4])) == pytest.approx(softplus(-0.6))


def test_reference_free() -> None:
    # the sums are -3 and -3: h = 0
    assert value(DPO(reward=ImplicitReward(reference_free=True)), example()) == pytest.approx(math.log(2))


def test_a_policy_that_is_its_reference_gives_log_2_whatever_the_options() -> None:
    same = pairs([[-1.0, -2.0], [-0.5]], [[-3.0], [-4.0, -1.0]], reference=([[-1.0, -2.0], [-0.5]], [[-3.0], [-4.0, -1.0]]))
    for loss in (DPO(), DPO(beta=3.0, label_smoothing=0.3), DPO(reward=ImplicitReward(f_divergence="js", ld_alpha=0.2))):
        terms = values_of(loss(same), "pair")
        assert terms.tolist() == pytest.approx([math.log(2)] * 2)


def test_the_gradient_pulls_both_sides_apart() -> None:
    batch = example()
    terms = values_of(DPO(beta=0.5)(batch), "pair")
    chosen, rejected = torch.autograd.grad(terms.sum(), [batch.chosen.logp.values, batch.rejected.logp.values])
    slope = 0.5 / (1 + math.e)  # beta * sigmoid(-h)
    assert chosen.tolist() == pytest.approx([-slope, -slope])
    assert rejected.tolist() == pytest.approx([slope])


def test_metrics() -> None:
    metrics = {name: metric.values for name, metric in DPO(beta=0.5)(example()).metrics.items()}
    found = {name: float(values.detach().mean()) for name, values in metrics.items() if isinstance(values, torch.Tensor)}
    assert found["rewards/chosen"] == 0.5
    assert found["rewards/rejected"] == -0.5
    assert found["rewards/margins"] == 1.0
    assert found["rewards/accuracies"] == 1.0
    assert found["logps/chosen"] == found["logps/rejected"] == -3.0


@pytest.mark.parametrize("options", [{"beta": 0.0}, {"beta": -1.0}, {"label_smoothing": 0.5}, {"label_smoothing": -0.1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Objective.parse([{"dpo": options}], load())


def test_recipes_whose_reference_follows() -> None:
    mixed, averaged = load_config(tr_dpo(beta=0.2, every=3)), load_config(bema_dpo())
    assert mixed.reference.sync == SyncSection(mix=MixSection(alpha=0.6, every=3))
    assert averaged.reference.sync == SyncSection(bema=BemaSection(every=400))
    assert mixed.objective[0]["dpo"]["beta"] == 0.2


def test_recipes_are_objectives() -> None:
    [plain] = Objective.parse(dpo(beta=0.2)["objective"], load()).entries
    assert plain.loss == DPO(beta=0.2)
    with_sft = Objective.parse(rpo(alpha=0.5)["objective"], load()).entries
    assert [(part.name, part.weight, part.on) for part in with_sft] == [("dpo", 1.0, ()), ("sft", 0.5, ("chosen",))]
