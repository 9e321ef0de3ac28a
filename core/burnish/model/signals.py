"""Signals: what a loss may ask of a model at the scored positions. A signal is a value; equal signals are computed once.

In: what `signals()` of a loss returns. Out: the request that a `Scorer` answers. Knows no tensor at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["policy", "reference", "teacher", "old", "behaviour"]
Site = Literal["predict", "at"]
Tile = Callable[["Tensor", "Tensor"], "Tensor"]
Between = Literal["tv", "kl"]
"""Two distributions: half the sum of what probabilities differ by, or the Kullback-Leibler divergence."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One number per scored token (or per sequence) that a model gives.

    name: `logp`, `entropy`, `top1`, `mean_logit`, `sum_p2`, `divergence`, `sampler_divergence`, `value`, `score`, or a plugin's
    own.
    role: whose number it is; only `policy` carries a gradient.
    site: `predict` reads position t-1 for target t, `at` reads position t itself.
    temperature: divides the logits before anything is computed from them.
    parameters: further (name, value) pairs, sorted; part of the identity.
    tile: for a plugin's own signal, a module-level function (logits [n, vocabulary], targets [n]) -> [n].
    """

    name: str
    role: Role = "policy"
    site: Site = "predict"
    temperature: float = 1.0
    parameters: tuple[tuple[str, float | str], ...] = ()
    tile: Tile | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"a signal's temperature must be above 0, got {self.temperature}")

    @property
    def beside(self) -> Role | None:
        """The frozen role that this role's own tiles are compared with when the signal is computed; most need none. A teacher's
        tiles stand beside them, what the sampler said (`behaviour`) came with the data."""
        compared: dict[str, Role] = {"divergence": "teacher", "sampler_divergence": "behaviour"}
        return compared.get(self.name)


def logp(role: Role = "policy", temperature: float = 1.0) -> Signal:
    """Log-probability of the target token, nats."""
    return Signal("logp", role, temperature=temperature)


def entropy(role: Role = "policy", temperature: float = 1.0) -> Signal:
    """Entropy of the next-token distribution, nats."""
    return Signal("entropy", role, temperature=temperature)


def top1(role: Role = "policy") -> Signal:
    """1 where the target is the most likely token, else 0; carries no gradient."""
    return Signal("top1", role)


def mean_logit(role: Role = "policy") -> Signal:
    """Mean of the logits over the vocabulary, as dashboards know it from `logits/chosen`; carries no gradient."""
    return Signal("mean_logit", role)


def sum_p2(role: Role = "policy", temperature: float = 1.0) -> Signal:
    """Sum of squared next-token probabilities; carries no gradient (used by detached weights)."""
    return Signal("sum_p2", role, temperature=temperature)


def divergence(beta: float = 0.0, temperature: float = 1.0, top_k: int = 0, tail: bool = True) -> Signal:
    """How far the policy's next-token distribution p is from the teacher's q, nats; carries a gradient for the policy.

    beta: 0 is KL(q || p), 1 is KL(p || q), between them the generalised Jensen-Shannon divergence
    beta KL(q || m) + (1 - beta) KL(p || m), m = beta q + (1 - beta) p (arXiv:2306.13649). temperature: divides both models'
    logits. top_k: compare on the teacher's k likeliest tokens, 0 for all; tail: with all others as one more outcome, else
    renormalised. Raises ValueError out of range. Computed tile by tile: neither distribution is ever held whole.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must lie in [0, 1], got {beta}")
    if top_k < 0:
        raise ValueError(f"top_k must be 0 (all tokens) or more, got {top_k}")
    parameters = (("beta", float(beta)), ("tail", float(tail and top_k > 0)), ("top_k", float(top_k)))
    return Signal("divergence", temperature=temperature, parameters=parameters)


def sampler_divergence(between: Between, top_k: int) -> Signal:
    """How far the policy's next-token distribution p is from the one q that the target was drawn from; carries no gradient.

        tv: 1/2 sum |p_i - q_i|        kl: sum q_i log(q_i / p_i), nats

    The outcomes i are the target, the sampler's k likeliest tokens, and all others as one outcome more: k + 1 or k + 2 of them,
    as the target is among the likeliest or not. q comes with the data (`behaviour`, `likeliest_ids`, `likeliest_logps` of a
    sequence's tokens). Raises ValueError unless top_k is at least 1.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    return Signal("sampler_divergence", parameters=(("between", between), ("top_k", float(top_k))))


def num_likeliest(signals: Iterable[Signal]) -> int:
    """How many of the sampler's likeliest tokens must be known for all of these: 0 where none compares with them."""
    compared = (dict(signal.parameters)["top_k"] for signal in signals if signal.beside == "behaviour")
    return max(map(int, compared), default=0)


def tempered(signal: Signal, temperature: float) -> Signal:
    """The signal of a distribution whose logits are divided by `temperature` as well; others as they are."""
    if temperature == 1 or signal.name not in ("logp", "entropy", "sum_p2", "sampler_divergence"):
        return signal
    return replace(signal, temperature=signal.temperature * temperature)


def hidden() -> Signal:
    """The hidden states from which the head predicts the target: [M, H]; for the core's own use, no loss sees them."""
    return Signal("hidden")


def value(role: Role = "policy") -> Signal:
    """Output of the per-token value head before the target token."""
    return Signal("value", role)


def score(role: Role = "policy", parameters: tuple[tuple[str, float | str], ...] = ()) -> Signal:
    """Output of the sequence-classification head at the target token (`targets: end`), where transformers reads it too."""
    return Signal("score", role, site="at", parameters=parameters)


def label_logp(label: int, role: Role = "policy") -> Signal:
    """Log-probability of a label of the target token under the token-classification head, nats."""
    return Signal("label_logp", role, site="at", parameters=(("label", float(label)),))
