"""References that follow: the update rules by hand, narrow weights, adapters on one base, state."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.batch.layout import lay_out
from burnish.data.units import Sequence
from burnish.errors import ModelError
from burnish.model.adapters import add_lora
from burnish.model.following import BiasCorrected, Following, Mix, Rule
from burnish.model.roles import frozen_policy
from burnish.model.scorer import Scorer
from burnish.model.signals import logp
from burnish.model.sites import sites_for
from burnish.testing import tiny_model

BEMA = BiasCorrected(every=1, after=0, ema_power=0.5, bias_power=0.25, lag=15.0, multiplier=1.0)


class One(nn.Module):
    """One weight."""

    def __init__(self, value: float, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value], dtype=dtype))

    def become(self, value: float) -> None:
        with torch.no_grad():
            self.weight.fill_(value)


def followed(rule: Rule, values: list[float], dtype: torch.dtype = torch.float64) -> list[float]:
    """The reference after every step of a policy that begins at 1 and takes these values."""
    policy = One(1.0, dtype)
    reference = copy.deepcopy(policy).requires_grad_(False)
    following = Following(rule, policy, reference)
    found = []
    for step, value in enumerate(values, 1):
        policy.become(value)
        following.step(step)
        found.append(reference.weight.item())
    return found


def test_a_mixture_every_second_step() -> None:
    # .4 * 1 + .6 * 3 = 2.2; then .4 * 2.2 + .6 * 5 = 3.88
    assert followed(Mix(share=0.6, every=2), [2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx([1.0, 2.2, 2.2, 3.88, 3.88])


def test_a_whole_share_is_the_policy() -> None:
    assert followed(Mix(share=1.0, every=1), [0.1, 0.7]) == [0.1, 0.7]


def test_an_average_after_every_step() -> None:
    # decay .9: .9 + .1 * 2 = 1.1; .99 + .1 * 3 = 1.29
    assert followed(Mix(share=0.1, every=1), [2.0, 3.0]) == pytest.approx([1.1, 1.29])


def test_a_bias_corrected_average() -> None:
    # t = 1: b = 16^-.5 = 1/4, a = 16^-.25 = 1/2: average 3/4 + 2/4 = 1.25, and 1.25 + (2 - 1) / 2 = 1.75
    # t = 2: b = 17^-.5 = .2425356, a = .4924791: average 1.25 + .2425356 * 1.75 = 1.6744373, and + .4924791 * 2 = 2.6593955
    assert followed(BEMA, [2.0, 3.0]) == pytest.approx([1.75, 2.6593955], abs=1e-7)


def test_the_average_begins_after_some_steps() -> None:
    """`after` 2, every 2: nothing before step 4, and the way is counted from the policy of step 2, which was 3."""
    rule = BiasCorrected(every=2, after=2, ema_power=0.5, bias_power=0.25, lag=12.0, multiplier=1.0)
    # t = 4: age 16: average 3 * 3/4 + 7/4 = 4, and 4 + (7 - 3) / 2 = 6
    assert followed(rule, [2.0, 3.0, 5.0, 7.0, 9.0]) == pytest.approx([1.0, 1.0, 1.0, 6.0, 6.0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_steps_that_narrow_weights_round_away_add_up(dtype: torch.dtype) -> None:
    # 400 steps of share 1e-3 towards 2: 2 - .999^400 = 1.3298; each alone is below the spacing of bfloat16 at 1
    assert followed(Mix(share=1e-3, every=1), [2.0] * 400, dtype)[-1] == pytest.approx(1.3298, abs=5e-3)


@pytest.mark.parametrize("rule", [Mix(share=0.3, every=1), BEMA])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_goes_on_from_its_state_bit_for_bit(rule: Rule, dtype: torch.dtype) -> None:
    def fresh() -> tuple[One, One, Following]:
        policy = One(1.0, dtype)
        reference = copy.deepcopy(policy).requires_grad_(False)
        return policy, reference, Following(rule, policy, reference)

    policy, reference, following = fresh()
    for step, value in enumerate((1.7, 0.3), 1):
        policy.become(value)
        following.step(step)
    state = {name: {key: tensor.clone() for key, tensor in tensors.items()} for name, tensors in following.state().items()}
    other_policy, other, again = fresh()
    again.load(state)
    assert torch.equal(other.weight, reference.weight)
    for one, model in ((following, policy), (again, other_policy)):
        model.become(5.5)
        one.step(3)
    assert torch.equal(other.weight, reference.weight)


def test_a_copy_without_the_policys_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="it has no parameter weight"):
        Following(BEMA, One(1.0), nn.ReLU())


def adapted() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = add_lora(tiny_model("llama", torch.float64), r=2, alpha=4, targets=["q_proj", "down_proj"])
    return model


def stir(model: nn.Module, seed: int) -> None:
    """Other adapter weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=0.1)


def logps(model: nn.Module) -> Tensor:
    ids = np.arange(1, 12)
    layout = lay_out([Sequence(ids, {"all": ids > 1})], "tree")
    sites = sites_for(layout, [ids > 1])
    with torch.no_grad():
        values: Tensor = Scorer(model)(layout, sites, (logp(),))[0]
    return values


def test_an_adapter_is_followed_by_a_second_one_on_the_same_base() -> None:
    policy = adapted()
    frozen = frozen_policy(policy, "tree", apart=True)
    assert frozen.key is None, "its log-probabilities are not cached"
    assert frozen.scorer is not None
    reference = frozen.scorer.get_submodule("model")
    copies = dict(reference.named_parameters())
    shared = [name for name, parameter in policy.named_parameters() if parameter.data_ptr() == copies[name].data_ptr()]
    assert shared == [name for name, parameter in policy.named_parameters() if not parameter.requires_grad]
    assert not any(parameter.requires_grad for parameter in copies.values())


@pytest.mark.parametrize("rule", [Mix(share=0.6, every=1), BEMA])
def test_a_followed_adapter_answers_as_full_weights_would(rule: Rule) -> None:
    """The reference against a model without adapters that holds W + scale * B A, with B and A averaged here by hand."""
    policy = adapted()
    frozen = frozen_policy(policy, "tree", apart=True)
    assert frozen.scorer is not None
    reference = frozen.scorer.get_submodule("model")
    following = Following(rule, policy, reference)
    start = {name: parameter.detach().clone() for name, parameter in policy.named_parameters() if parameter.requires_grad}
    stir(policy, 1)
    now = {name: parameter.detach().clone() for name, parameter in policy.named_parameters() if parameter.requires_grad}
    following.step(1)

    share, extra = (rule.share, 0.0) if isinstance(rule, Mix) else (16**-0.5, 16**-0.25)
    by_hand = {name: (1 - share) * start[name] + share * now[name] + extra * (now[name] - start[name]) for name in start}
    dense = tiny_model("llama", torch.float64)
    with torch.no_grad():
        for name, weight in dense.named_parameters():
            layer = f"base_model.model.{name.removesuffix('.weight')}"
            if f"{layer}.lora_A.default.weight" in by_hand:
                weight += 2.0 * by_hand[f"{layer}.lora_B.default.weight"] @ by_hand[f"{layer}.lora_A.default.weight"]
    torch.testing.assert_close(logps(reference), logps(dense), rtol=0, atol=1e-12)
    assert (logps(policy) - logps(dense)).abs().max() > 1e-4


def test_an_adapter_followed_whole_is_the_policy() -> None:
    policy = adapted()
    frozen = frozen_policy(policy, "tree", apart=True)
    assert frozen.scorer is not None
    reference = frozen.scorer.get_submodule("model")
    following = Following(Mix(share=1.0, every=1), policy, reference)
    stir(policy, 1)
    assert following.step(1)
    assert torch.equal(logps(reference), logps(policy))
    stir(policy, 2)
    assert not torch.equal(logps(reference), logps(policy)), "it is a copy"
