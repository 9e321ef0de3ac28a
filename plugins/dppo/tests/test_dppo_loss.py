"""DPPO on numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from burnish_dppo.loss import DPPO

from burnish.errors import ConfigError, ObjectiveError
from burnish.model.signals import logp, sampler_divergence
from burnish.objective import Terms
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import evaluate, tiny_model, tiny_tokenizer, values_of
from burnish.testing.batches import sequences


def run(p: float, q: float, advantage: float, **options: object) -> tuple[float, float, Terms]:
    """The term of one token with these probabilities under the policy and the sampler, and its gradient."""
    given = sequences([[math.log(p)]], signals={logp("behaviour"): [[math.log(q)]]}, fields={"advantages": [[advantage]]})
    terms = DPPO(**options)(given)  # type: ignore[arg-type]
    per_token = values_of(terms, "token")
    [found] = torch.autograd.grad(per_token.values.sum(), [given.logp.values])
    return float(per_token.values.detach()), float(found), terms


@pytest.mark.parametrize(
    ("p", "q", "advantage", "kept"),
    [
        (0.5, 0.4, 1.0, True),  # .1 apart
        (0.6, 0.4, 1.0, False),  # .2 apart, and pushed further up
        (0.6, 0.4, -1.0, True),  # pushed back
        (0.4, 0.6, -1.0, False),
        (0.4, 0.6, 1.0, True),
    ],
)
def test_tokens_that_have_moved_far_are_not_pushed_further(p: float, q: float, advantage: float, kept: bool) -> None:
    loss, slope, terms = run(p, q, advantage)
    assert loss == pytest.approx(-kept * p / q * advantage * math.log(p))
    assert slope == pytest.approx(-kept * p / q * advantage)
    dropped = terms.metrics["mask_ratio/overall_mean"].values
    assert dropped.values.tolist() == [not kept]  # type: ignore[union-attr]


def test_the_divergence_of_two_outcomes() -> None:
    # q = .4, p = .5: .4 log(.4 / .5) + .6 log(.6 / .5) = .0201; q = .4, p = .6: .0811
    assert run(0.5, 0.4, 1.0, divergence="binary_kl", threshold=0.0202)[1] == pytest.approx(-1.25)
    assert run(0.5, 0.4, 1.0, divergence="binary_kl", threshold=0.0201)[1] == 0
    assert run(0.6, 0.4, 1.0, divergence="binary_kl", threshold=0.0812)[1] == pytest.approx(-1.5)
    assert run(0.6, 0.4, 1.0, divergence="binary_kl", threshold=0.081)[1] == 0


def test_weights_are_capped() -> None:
    assert run(0.1, 0.001, 1.0)[1] == pytest.approx(-20.0)  # p / q = 100
    assert run(0.1, 0.001, 1.0, cap=3.0)[1] == pytest.approx(-3.0)


@pytest.mark.parametrize(
    ("p", "q", "advantage", "pushed"),
    [(0.5, 0.4, 1.0, True), (0.5, 0.4, -1.0, False), (0.4, 0.5, -1.0, True), (0.4, 0.5, 1.0, False), (0.4, 0.5, 0.0, True)],
)
@pytest.mark.parametrize("between", ["tv", "kl"])
def test_over_the_likeliest_tokens_the_sampled_one_says_where_it_is_pushed(
    between: Literal["tv", "kl"], p: float, q: float, advantage: float, pushed: bool
) -> None:
    """Two tokens at which whole distributions are .2 and .1 apart, .15 lying between; those of two outcomes would be .1."""
    read = {logp("behaviour"): [[math.log(q)] * 2], sampler_divergence(between, 20): [[0.2, 0.1]]}
    given = sequences([[math.log(p)] * 2], signals=read, fields={"advantages": [[advantage] * 2]})
    divergence = "topk_tv" if between == "tv" else "topk_kl"
    terms = DPPO(divergence=divergence)(given)  # type: ignore[arg-type]
    per_token = values_of(terms, "token")
    [slope] = torch.autograd.grad(per_token.values.sum(), [given.logp.values])
    assert slope.tolist() == pytest.approx([-(not pushed) * p / q * advantage, -p / q * advantage])
    dropped = terms.metrics["mask_ratio/overall_mean"].values
    assert dropped.values.tolist() == [pushed, False]  # type: ignore[union-attr]


@pytest.mark.parametrize("divergence", ["topk_tv", "topk_kl"])
@pytest.mark.parametrize("top_k", [2, 6])
def test_what_is_dropped_is_what_a_plain_forward_says(divergence: str, top_k: int) -> None:
    """Rows of a sampler that is another model: D of every token by hand from both models' whole distributions."""
    policy, sampler = (tiny_model(seed=seed, dtype=torch.float64) for seed in (0, 1))
    prompt, answer, advantages = [5, 6, 7], [60, 61, 8, 9, 10, 11], [1.0, -1.0, 0.5, -0.5, 1.0, -1.0]
    with torch.no_grad():
        p, q = (one(torch.tensor([prompt + answer])).logits[0, 2:-1].log_softmax(-1) for one in (policy, sampler))
    q[0, 60], q[1, 61] = 3.0, 3.0  # so that some sampled tokens are among the likeliest, and some are not
    q = q.log_softmax(-1).float().double()
    likeliest = q.topk(top_k)
    apart, pushed = [], []
    for place, token in enumerate(answer):
        kept = sorted({token, *likeliest.indices[place].tolist()})
        one, other = (torch.cat([each[place, kept].exp(), 1 - each[place, kept].exp().sum()[None]]) for each in (p, q))
        apart.append(float((one - other).abs().sum() / 2 if divergence == "topk_tv" else (other * (other / one).log()).sum()))
        pushed.append((advantages[place] > 0) == bool(p[place, token] > q[place, token]))
    threshold = sum(sorted(apart)[2:4]) / 2
    row = {
        "prompt_ids": prompt,
        "completion_ids": answer,
        "advantages": advantages,
        "behaviour_logps": [float(q[place, token]) for place, token in enumerate(answer)],
        "likeliest_ids": likeliest.indices.tolist(),
        "likeliest_logps": likeliest.values.tolist(),
    }
    options = {"divergence": divergence, "top_k": top_k, "threshold": threshold}
    found = evaluate([{"dppo": options}], [row], policy, tiny_tokenizer(chat=False))
    dropped = [d > threshold and push for d, push in zip(apart, pushed, strict=True)]
    assert 0 < sum(dropped) < 6
    assert found.metrics["mask_ratio/overall_mean"] == pytest.approx(sum(dropped) / 6)
    weight = [
        (p[i, t] - q[i, t]).exp().clamp(max=20) * a * p[i, t] for i, (t, a) in enumerate(zip(answer, advantages, strict=True))
    ]
    expected = -sum(float(w) for w, drop in zip(weight, dropped, strict=True) if not drop) / 6
    assert found.loss == pytest.approx(expected, rel=1e-6)


def test_rows_that_report_too_few_are_refused() -> None:
    row = {"prompt_ids": [5], "completion_ids": [7], "advantages": 1.0, "behaviour_logps": -1.0}
    said = "dppo compares with the 3 likeliest tokens of the sampler, of which row 0 of main has"
    for given, found in (({}, 0), ({"likeliest_ids": [[7, 8]], "likeliest_logps": [[-1.0, -2.0]]}, 2)):
        with pytest.raises(ObjectiveError, match=f"{said} {found}: "):
            evaluate([{"dppo": {"divergence": "topk_tv", "top_k": 3}}], [{**row, **given}], tiny_model(), tiny_tokenizer())


@pytest.mark.parametrize("options", [{"threshold": -0.1}, {"cap": 0}, {"top_k": 0}, {"divergence": "topk"}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Objective.parse([{"dppo": options}], load())


@pytest.mark.parametrize(
    ("p", "q", "advantage", "positive", "negative"), [(0.6, 0.4, 0.5, 1, 0), (0.4, 0.6, -0.5, 0, 1), (0.5, 0.4, 0.5, 0, 0)]
)
def test_what_is_dropped_is_counted_by_the_sign_of_its_advantage(
    p: float, q: float, advantage: float, positive: int, negative: int
) -> None:
    loss, _, terms = run(p, q, advantage)
    assert loss == pytest.approx(-(1 - positive - negative) * p / q * advantage * math.log(p))
    shares = [terms.metrics[f"mask_ratio/{sign}_adv_mean"].values for sign in ("positive", "negative")]
    assert [one.values.tolist() for one in shares if not isinstance(one, torch.Tensor)] == [[positive], [negative]]
    distances = [terms.metrics[f"prob_diff/{how}"].values for how in ("mean", "max")]
    assert [one.values.tolist() for one in distances if not isinstance(one, torch.Tensor)] == [pytest.approx([abs(p - q)])] * 2
