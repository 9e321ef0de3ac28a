"""One token of every row through the common kind of decoder, in fewer and larger steps than its modules' own code takes.

In: a model that draws, and the cache of its rows. Out: the same logits, to rounding. A model is recognised by what its layers
hold, all of it, and believed only while its own code gives the same: for the first token, and whenever a row passes a power of
two that none has passed, where what depends on positions changes. Any other model keeps its own code. Knows no family.
Shapes: R rows, W columns of the cache, H heads, G of them with keys, D width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.model.lean import Activation, gated, gated_activation, norm_epsilon, runs_own_code
from burnish.model.linear_head import HOOKS
from burnish.model.scorer import base_of
from burnish.rollout.columns import CONCATENATED
from burnish.rollout.packed import side_by_side

WHOLE, INNER = {"model", "lm_head"}, {"embed_tokens", "layers", "norm", "rotary_emb"}
LAYER = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
PROJECTIONS, NORMS = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"q_norm", "k_norm"}
# What modules may know beside these: none of it changes how a token attends to those before it.
KNOWN = {"_is_hf_initialized", "attention_dropout", "config", "head_dim", "hidden_size", "is_causal", "layer_idx", "layer_type"}
KNOWN |= {"num_attention_heads", "num_heads", "num_key_value_groups", "num_key_value_heads", "scaling", "sliding_window"}
KNOWN |= {"gradient_checkpointing", "_gradient_checkpointing_func", *vars(nn.Module())}
# Of the largest logit: what sums in another order may differ by.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}


class Decoder:
    """A recognised model. parts: the modules whose own code is not run, outermost first."""

    def __init__(self, base: Any, parts: list[nn.Module]) -> None:
        inner = base.model
        self.parts = parts
        self._embed, self._rotary, self._head = inner.embed_tokens, inner.rotary_emb, base.lm_head
        self._layers, self._norm = [_Layer(layer) for layer in inner.layers], _norm(inner.norm)
        self._believed: bool | None = None
        self._compared = 0  # up to which power of two of positions

    @classmethod
    def of(cls, model: nn.Module, known: Decoder | None) -> Decoder | None:
        """The model's, None where it is not recognised. known: one from before, which stays if its modules are still those."""
        base = base_of(model)
        parts = _parts(base)
        if parts is None or base.dtype not in TOLERANCE or torch.is_autocast_enabled(base.device.type):
            return None
        return known if known is not None and known.parts == parts else cls(base, parts)

    def logits(self, ids: Tensor, mask: Tensor, cache: Any, own: Callable[[], Tensor]) -> Tensor:
        """Of the token after `ids` [R, 1], [R, V]; the cache has their columns then. mask: [R, W], theirs included, 0 where a
        row has not begun; own: the same, by the model's own code."""
        if self._believed is False or any(type(layer) not in CONCATENATED for layer in cache.layers):
            return own()
        power = int(mask.sum(-1).max() - 1).bit_length()
        if self._believed and power <= self._compared:
            return self._step(ids, mask, cache)
        before = _columns(cache)
        expected = own()
        _put_back(cache, before)
        found = self._attempt(ids, mask, cache)
        self._believed, self._compared = found is not None and _same(found, expected), power
        if found is not None and self._believed:  # not `expected`: nothing may depend on when the two were compared
            return found
        _put_back(cache, before)
        return own()

    def _attempt(self, ids: Tensor, mask: Tensor, cache: Any) -> Tensor | None:
        try:
            return self._step(ids, mask, cache)
        except Exception:  # it only looks like what it was taken for
            return None

    def _step(self, ids: Tensor, mask: Tensor, cache: Any) -> Tensor:
        states: Tensor = self._embed(ids[:, 0])
        cos, sin = self._rotary(states[:, None], mask.sum(-1, keepdim=True) - 1)
        first, second = sin.chunk(2, -1)
        angles, bias = (cos, torch.cat([-first, second], -1)), None
        if not bool(mask.all()):
            bias = torch.zeros_like(mask, dtype=states.dtype).masked_fill_(mask == 0, -torch.inf)[:, None, None]
        for layer, columns in zip(self._layers, cache.layers, strict=True):
            states = states + layer.attended(states, angles, columns, bias)
            states = states + layer.fed(states)
        logits: Tensor = self._head(self._norm(states))
        return logits


class _Layer:
    """Attention with rotated queries and keys, then what `mlp` does; each after a norm and added to what came in."""

    def __init__(self, layer: Any) -> None:
        attention = self._attention = layer.self_attn
        self._before, self._after, self._mlp = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm), layer.mlp
        self._products = [attention.q_proj, attention.k_proj, attention.v_proj]
        self._norms = [_norm(attention.q_norm), _norm(attention.k_norm)] if "q_norm" in attention._modules else []
        self._activation: Activation | None = gated_activation(layer.mlp)

    def attended(self, states: Tensor, angles: tuple[Tensor, Tensor], columns: Any, bias: Tensor | None) -> Tensor:
        """Of the token of each row over its columns, which the token's own joins. states: [R, hidden]; bias: [R, 1, 1, W]."""
        rows, width = len(states), self._attention.head_dim
        heads = side_by_side(self._products, self._before(states)).view(rows, -1, width)
        shared = self._attention.num_key_value_groups
        groups = heads.shape[1] // (shared + 2)
        turned, values = heads[:, :-groups], heads[:, -groups:]
        if self._norms:
            parts = torch.split(turned, [groups * shared, groups], 1)
            turned = torch.cat([norm(part) for norm, part in zip(self._norms, parts, strict=True)], 1)
        first, second = turned.chunk(2, -1)
        turned = torch.addcmul(turned * angles[0], torch.cat([second, first], -1), angles[1])
        keys, values = columns.update(turned[:, -groups:, None], values[:, :, None])
        queries = turned[:, :-groups].view(rows, groups, shared, width)
        found = F.scaled_dot_product_attention(queries, keys, values, bias, scale=self._attention.scaling)
        output: Tensor = self._attention.o_proj(found.reshape(rows, -1))
        return output

    def fed(self, states: Tensor) -> Tensor:
        """Each token by itself: [R, hidden]."""
        normed = self._after(states)
        if self._activation is None:
            output: Tensor = self._mlp(normed[:, None])[:, 0]
            return output
        gate, up = side_by_side([self._mlp.gate_proj, self._mlp.up_proj], normed).chunk(2, -1)
        output = self._mlp.down_proj(gated(self._activation, gate, up))
        return output


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    """A norm by the root of the mean square as one call; any other module as it is, and one that rounds to float32 within."""
    if (epsilon := norm_epsilon(module)) is None or module.weight.dtype != torch.float32:
        return module  # type: ignore[no-any-return]
    return lambda states: F.rms_norm(states, module.weight.shape, module.weight, epsilon)


def _parts(base: Any) -> list[nn.Module] | None:
    """All modules that are gone around; None where one is not there, holds anything else, is hooked into or changed."""
    inner = base._modules.get("model")
    if set(base._modules) != WHOLE or inner is None or set(inner._modules) != INNER:
        return None
    layers = [*inner.layers]
    if any(set(layer._modules) != LAYER for layer in layers):
        return None
    attentions = [layer.self_attn for layer in layers]
    for attention in attentions:
        names = set(attention._modules)
        if names - NORMS != PROJECTIONS or names & NORMS not in (set(), NORMS) or getattr(attention, "sliding_window", None):
            return None
    if any(set(vars(module)) - KNOWN or module._parameters or module._buffers for module in (*layers, *attentions)):
        return None
    parts = [base, inner, *chain.from_iterable((layer, *layer.children(), *layer.self_attn.children()) for layer in layers)]
    gone_around = [part for part in parts if not isinstance(part, nn.Linear)]
    changed = any(any(getattr(part, hooks) for hooks in HOOKS) or not runs_own_code(part) for part in gone_around)
    return None if changed else parts


def _columns(cache: Any) -> list[tuple[Tensor, Tensor]]:
    return [(layer.keys, layer.values) for layer in cache.layers]


def _put_back(cache: Any, columns: list[tuple[Tensor, Tensor]]) -> None:
    for layer, (keys, values) in zip(cache.layers, columns, strict=True):
        layer.keys, layer.values = keys, values


def _same(found: Tensor, expected: Tensor) -> bool:
    largest = expected.abs().amax()
    return bool(((found - expected).abs().amax() <= TOLERANCE[expected.dtype] * largest).item())
