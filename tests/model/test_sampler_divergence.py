"""`sampler_divergence` against numbers derived by hand, in whatever head, tile and layout it is read."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.batch.attention import own_attention
from burnish.batch.layout import lay_out
from burnish.data.units import LIKELIEST_IDS, LIKELIEST_LOGPS, Sequence
from burnish.errors import ModelError
from burnish.model.divergence import Sampled
from burnish.model.head import Beside, read_vocabulary
from burnish.model.roles import Roles
from burnish.model.scorer import Scorer
from burnish.model.signals import Between, Signal, entropy, logp, num_likeliest, sampler_divergence, tempered
from burnish.model.sites import sites_for
from burnish.model.tile import LogitScale
from burnish.testing import tiny_model

P = torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]], dtype=torch.float64)
TV, KL = sampler_divergence("tv", 2), sampler_divergence("kl", 2)


def sampled(*outcomes: tuple[int, float]) -> Sampled:
    """What the sampler said of one token, the first of these, each an id and its probability."""
    ids = torch.tensor([[token for token, _ in outcomes]])
    return Sampled(ids, torch.tensor([[math.log(q) if q else 0.0 for _, q in outcomes]], dtype=torch.float64))


def read(said: Sampled, *signals: Signal, p: Tensor = P) -> list[Tensor]:
    """Signals of a token with the probabilities `p`."""
    return read_vocabulary(nn.Identity(), LogitScale(), p.log(), said.ids[:, 0], signals, 8, Beside(sampled=said))


# The sampler's likeliest are 0 (.4) and 1 (.3); all others have .3 together, of which 3 has .1.
INSIDE = sampled((0, 0.4), (-1, 0), (1, 0.3))
OUTSIDE = sampled((3, 0.1), (0, 0.4), (1, 0.3))


@pytest.mark.parametrize(
    ("said", "tv", "kl"),
    [
        # Outcomes 0, 1, others. q: .4 .3 .3, p: .5 .25 .25. TV = (.1 + .05 + .05) / 2; KL = .4 log .8 + .6 log 1.2.
        (INSIDE, 0.1, 0.4 * math.log(0.8) + 0.6 * math.log(1.2)),
        # Outcomes 3, 0, 1, others. q: .1 .4 .3 .2, p: .125 .5 .25 .125. TV = (.025 + .1 + .05 + .075) / 2.
        (OUTSIDE, 0.125, 0.5 * math.log(0.8) + 0.3 * math.log(1.2) + 0.2 * math.log(1.6)),
        # Nothing reported but the token itself: two outcomes. q: .1 .9, p: .125 .875.
        (sampled((3, 0.1), (-1, 0), (-1, 0)), 0.025, 0.1 * math.log(0.8) + 0.9 * math.log(0.9 / 0.875)),
        # The sampler could draw nothing but 0 and 1: q: .6 .4 0, p: .5 .25 .25.
        (sampled((0, 0.6), (-1, 0), (1, 0.4)), 0.25, 0.6 * math.log(1.2) + 0.4 * math.log(1.6)),
        # It agrees.
        (sampled((1, 0.25), (0, 0.5), (-1, 0)), 0.0, 0.0),
    ],
)
def test_by_hand(said: Sampled, tv: float, kl: float) -> None:
    assert [one.item() for one in read(said, TV, KL)] == [pytest.approx(tv, abs=1e-9), pytest.approx(kl, abs=1e-9)]


def test_of_several_the_likeliest_are_looked_at_alone() -> None:
    # With k = 1 the third outcome of OUTSIDE is one of the others: q: .1 .4 .5, p: .125 .5 .375.
    tv, both = read(OUTSIDE, sampler_divergence("tv", 1), TV)
    assert tv.item() == pytest.approx(0.125)
    assert both.item() == pytest.approx(0.125)
    [kl] = read(OUTSIDE, sampler_divergence("kl", 1))
    assert kl.item() == pytest.approx(0.5 * math.log(0.8) + 0.5 * math.log(0.5 / 0.375), abs=1e-9)


def test_at_a_temperature() -> None:
    # Temperature 1/2 squares: 16 4 1 1 of 22. q: .4 .3 .3.
    [tv] = read(INSIDE, tempered(TV, 0.5))
    assert tv.item() == pytest.approx((abs(16 / 22 - 0.4) + abs(4 / 22 - 0.3) + abs(2 / 22 - 0.3)) / 2)


def test_a_token_of_no_probability_under_the_policy() -> None:
    tv, kl = read(OUTSIDE, TV, KL, p=torch.tensor([[0.5, 0.5, 0.0, 0.0]], dtype=torch.float64))
    # q: .1 .4 .3 .2, p: 0 .5 .5 0
    assert tv.item() == pytest.approx(0.3)
    assert math.isfinite(kl.item())
    assert kl.item() > 1


@pytest.mark.parametrize("between", ["tv", "kl"])
@pytest.mark.parametrize("frozen", [False, True])
def test_in_any_head_and_tile(between: Between, frozen: bool) -> None:
    """A plain head that is differentiated by hand, one that is called as a module, and tiles of one row: the same numbers; and
    the gradient of what is asked beside is what it is without."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 6, generator=generator, dtype=torch.float64).requires_grad_()
    head = nn.Linear(6, 9, bias=False, dtype=torch.float64).requires_grad_(not frozen)
    wrapped = nn.Sequential(head)
    ids = torch.stack([torch.randperm(9, generator=generator)[:4] for _ in range(5)])
    said = Sampled(ids, torch.randn(5, 9, generator=generator, dtype=torch.float64).log_softmax(-1).gather(-1, ids))
    signal = sampler_divergence(between, 3)
    p, q = head(hidden).softmax(-1).gather(-1, ids), said.logps.exp()
    p, q = (torch.cat([one, 1 - one.sum(-1, keepdim=True)], -1) for one in (p, q))
    expected = (p - q).abs().sum(-1) / 2 if between == "tv" else (q * (q / p).log()).sum(-1)
    for module, rows in ((head, 8), (head, 1), (wrapped, 8), (wrapped, 2)):
        hidden.grad = None
        found = read_vocabulary(
            module, LogitScale(), hidden, ids[:, 0], (signal, logp(), entropy()), rows, Beside(sampled=said)
        )
        torch.testing.assert_close(found[0], expected.detach(), atol=1e-12, rtol=0)
        assert not found[0].requires_grad
        torch.autograd.backward(found[1].sum() + 0.3 * found[2].sum())
        plain = read_vocabulary(module, LogitScale(), hidden, ids[:, 0], (logp(), entropy()), rows)
        [slope] = torch.autograd.grad(plain[0].sum() + 0.3 * plain[1].sum(), [hidden])
        torch.testing.assert_close(hidden.grad, slope, atol=1e-12, rtol=0)


def test_without_what_the_sampler_said_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(ModelError, match="'sampler_divergence' compares with the behaviour, and there is none"):
        read_vocabulary(nn.Identity(), LogitScale(), P.log(), torch.tensor([0]), (TV,), 8)


def test_how_many_must_be_known() -> None:
    assert num_likeliest([logp(), sampler_divergence("kl", 5), TV]) == 5
    assert num_likeliest([logp(), logp("behaviour")]) == 0
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        sampler_divergence("tv", 0)


def reported(ids: list[int], likeliest: list[list[int]], logps: list[list[float]], own: list[float]) -> Sequence:
    """A sequence that begins with 5 6, whose other tokens were drawn."""
    none = 2 * [[-1] * len(likeliest[0])], 2 * [[0.0] * len(likeliest[0])]
    tokens = {LIKELIEST_IDS: [*none[0], *likeliest], LIKELIEST_LOGPS: [*none[1], *logps], "behaviour": [0.0, 0.0, *own]}
    every = np.array([5, 6, *ids])
    return Sequence(
        every, {"completion": np.arange(len(every)) > 1}, tokens={k: np.array(v, np.float32) for k, v in tokens.items()}
    )


FIRST = reported([7, 8], [[7, 1], [2, 3]], [[-0.5, -1.5], [-0.7, -1.2]], [-0.5, -3.0])
SECOND = reported([7, 9], [[7, 1], [9, 3]], [[-0.5, -1.5], [-0.4, -1.6]], [-0.5, -0.4])
OTHER = reported([7, 9], [[1, 7], [9, 3]], [[-0.2, -2.5], [-0.4, -1.6]], [-2.5, -0.4])  # of other weights


def test_sites_know_what_was_said_of_them() -> None:
    sites = sites_for(lay_out([FIRST, SECOND], "tree"), [FIRST.masks["completion"]] * 2, 2)
    assert sites.sampled is not None
    assert [rows.tolist() for rows in sites.rows] == [[0, 1], [0, 2]]
    assert sites.sampled.ids.tolist() == [[7, -1, 1], [8, 2, 3], [9, -1, 3]]
    torch.testing.assert_close(sites.sampled.logps[:2], torch.tensor([[-0.5, -0.5, -1.5], [-3.0, -0.7, -1.2]]))
    assert sites_for(lay_out([FIRST], "tree"), [FIRST.masks["completion"]]).sampled is None


def test_a_token_of_which_two_samplers_said_different_things_is_scored_for_each() -> None:
    """In float64 every sequence has the divergences that it has alone, whichever share its tokens."""
    model = tiny_model(dtype=torch.float64)
    roles = Roles(Scorer(model, "tree"), "tree")

    def score(*sequences: Sequence) -> list[Tensor]:
        layout = lay_out(list(sequences), "tree")
        sites = sites_for(layout, [one.masks["completion"] for one in sequences], 2)
        found = roles.score("policy", layout, sites, (logp(), TV, KL))
        return [torch.stack([found[signal][rows].detach() for signal in (logp(), TV, KL)]) for rows in sites.rows]

    together = score(FIRST, SECOND, OTHER)
    for one, alone in zip(together, (FIRST, SECOND, OTHER), strict=True):
        torch.testing.assert_close(one, score(alone)[0], atol=1e-12, rtol=0)
    assert not torch.equal(together[1][1], together[2][1])
    # By a plain forward: the first drawn token of OTHER, whose likeliest were 1 and itself.
    with torch.no_grad(), own_attention(model):
        p = model(torch.tensor([[5, 6]])).logits[0, -1].softmax(-1)[[7, 1]]
    q = torch.tensor([-2.5, -0.2], dtype=torch.float64).exp()
    assert float(together[2][1][0]) == pytest.approx(float((p - q).abs().sum() + (p.sum() - q.sum()).abs()) / 2, abs=1e-7)


def test_of_a_sequence_without_reports_nothing_is_known() -> None:
    bare = replace(FIRST, tokens={})
    sites = sites_for(lay_out([bare], "tree"), [bare.masks["completion"]], 3)
    assert sites.sampled is not None
    assert sites.sampled.ids.tolist() == [[7, -1, -1, -1], [8, -1, -1, -1]]
    nothing = sites_for(lay_out([], "tree"), [], 3)
    assert nothing.sampled is not None
    [value] = Roles(Scorer(tiny_model(), "tree"), "tree").score("policy", lay_out([], "tree"), nothing, (TV,)).values()
    assert value.shape == (0,)
