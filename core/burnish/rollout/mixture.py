"""Drawing from a geometric mixture of two models, for opponents to compare with. In: policy and reference, and the reference's
share. Out: a module that a sampler decodes as it decodes any language model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from burnish.batch.attention import own_attention
from burnish.errors import ModelError
from burnish.model.scorer import base_of

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection

Reference = Callable[[], AbstractContextManager[nn.Module]]
"""Gives the reference, within a context: a model of its own, or the policy with its adapter switched off."""


@dataclass
class _Caches:
    """What both models remember of the rows so far; None for one that is not asked."""

    policy: Any = None
    reference: Any = None

    @property
    def layers(self) -> list[Any]:
        """Of both, those of the policy first."""
        return [layer for cache in (self.policy, self.reference) for layer in getattr(cache, "layers", ())]

    def reorder_cache(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        for cache in (self.policy, self.reference):
            if cache is not None:
                cache.reorder_cache(rows)


@dataclass
class _Output:
    logits: Tensor
    past_key_values: _Caches


class Mixture(nn.Module):
    """The distribution p^(1 - share) q^share / Z at every token, p the policy's and q the reference's."""

    def __init__(self, policy: nn.Module, reference: Reference, share: float) -> None:
        super().__init__()
        self.policy, self.share, self._reference = policy, share, reference
        base = base_of(policy)
        if "past_key_values" not in inspect.signature(base.forward).parameters:
            raise ModelError(f"{type(base).__name__} keeps no cache of keys and values, which drawing from a mixture needs")

    def get_base_model(self) -> Any:
        """The policy, which says what a sampler asks of a model beside its logits."""
        return base_of(self.policy)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: _Caches | None = None,
        use_cache: bool = True,
        logits_to_keep: int = 0,
    ) -> _Output:
        """Logits [rows, tokens, V] of the mixture, and the caches."""
        given: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        given |= {"use_cache": use_cache, "logits_to_keep": logits_to_keep}
        before, after = past_key_values or _Caches(), _Caches()
        parts = []
        if self.share < 1:
            found, after.policy = _ask(self.policy, given, before.policy)
            parts.append((1 - self.share) * found)
        if self.share > 0:
            with self._reference() as model, own_attention(base_of(model)):
                found, after.reference = _ask(model, given, before.reference)
            parts.append(self.share * found)
        return _Output(torch.stack(parts).sum(0), after)


def _ask(model: nn.Module, given: dict[str, Any], cache: Any) -> tuple[Tensor, Any]:
    """Log-probabilities after each token, float32 at least, and the cache."""
    accepted = inspect.signature(base_of(model).forward).parameters
    inputs = {name: value for name, value in given.items() if name in accepted and value is not None}
    output = model(**inputs, past_key_values=cache)
    logits = output.logits if output.logits.dtype == torch.float64 else output.logits.float()
    return torch.log_softmax(logits, -1), output.past_key_values


def mixed(sampling: SamplingSection, share: float) -> SamplingSection:
    """The same settings, to draw from the mixture."""
    from burnish.config.sections import MixedSection

    return MixedSection(**sampling.model_dump(), mixture=share)
