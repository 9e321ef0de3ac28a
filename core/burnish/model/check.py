"""The check at load: does this model score trees as it scores padded rows, and do its logits follow from its head?

In: a model and the layout that was asked for. Out: the layout that it will really get, and the reason in one sentence when that
is another one. Some families call our attention in every layer and still mix tokens elsewhere (convolutions, states, biases by
position), so nothing is believed that was not computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from burnish.batch.layout import Kind, Layout, lay_out
from burnish.data.units import Sequence
from burnish.errors import ModelError
from burnish.model.dropout import dropouts
from burnish.model.scorer import Scorer, base_of
from burnish.model.signals import logp, score
from burnish.model.sites import sites_for

KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})
# Wrong layouts are off by whole nats and tens of per cent; these bounds only have to exceed the rounding of the dtype.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 0.15}


@dataclass(frozen=True, slots=True)
class LayoutReport:
    """kind: the layout to use. reason: why it is not the one asked for, a sentence; None when it is."""

    kind: Kind
    reason: str | None = None


def check_layout(model: nn.Module, wanted: Kind | Literal["auto"] = "auto") -> LayoutReport:
    """The layout that `model` can be scored in; raises ModelError when not even its own logits can be reproduced.

    Call it where and how the model will train: on its device, under its autocast, for they decide which attention runs. Leaves
    the model in the mode it was in; make a `Scorer` of the reported kind afterwards.
    """
    foreseen = foreseen_layout(model, wanted)
    with _evaluating(model):
        _check_logits(model)
        difference = None if foreseen.kind == "padded" else _difference(model, foreseen.kind)
    return foreseen if difference is None else _padded(foreseen.kind, difference)


def foreseen_layout(model: nn.Module, wanted: Kind | Literal["auto"] = "auto") -> LayoutReport:
    """What `check_layout` reports unless its computations say otherwise; looks at no weights, so the model may lack them."""
    if wanted == "padded":
        return LayoutReport("padded")
    dropout = next(dropouts(model), None)
    kind: Kind = "packed" if wanted == "packed" or dropout else "tree"
    if refusal := _refusal(model):
        return _padded(kind, refusal)
    if dropout and wanted != "packed":
        what = f"'{dropout.name}' drops out with probability {dropout.probability}, anew for every sequence"
        return LayoutReport("packed", f"sequences are packed, not laid out as a tree: {what}")
    return LayoutReport(kind)


def _padded(instead_of: Kind, reason: str) -> LayoutReport:
    return LayoutReport("padded", f"sequences are padded, not laid out as a {instead_of}: {reason}")


def _refusal(model: nn.Module) -> str | None:
    base = base_of(model)
    text, name = base.config.get_text_config(), type(base).__name__
    if not getattr(base, "_supports_attention_backend", False):
        return f"{name} does not let its attention be replaced"
    if unknown := sorted(set(getattr(text, "layer_types", None) or ()) - KNOWN_LAYERS):
        return f"{name} has layers of type {', '.join(unknown)}; trees need full or sliding attention"
    for dropout in dropouts(model):
        if dropout.in_attention:
            return f"{name} drops out attention weights with probability {dropout.probability}"
    return None


def _forking_sequences(vocabulary: int) -> list[Sequence]:
    """Five sequences in two trees, one of which forks twice; longer than a tiny window."""
    draw = np.random.default_rng(0)
    trunk, branch, *tails = (draw.integers(0, vocabulary, length) for length in (7, 5, 4, 6, 1, 5))
    ids = [
        np.concatenate([trunk, branch, tails[0]]),
        np.concatenate([trunk, branch, tails[1]]),
        np.concatenate([trunk, tails[2]]),
        np.concatenate([trunk, branch]),
        tails[3],
    ]
    return [Sequence(one, {"all": np.arange(len(one)) > 0}) for one in ids]


def _difference(model: nn.Module, kind: Kind) -> str | None:
    """How the layout differs from padded rows, as a clause, or None when only rounding does."""
    sequences = _forking_sequences(base_of(model).config.get_text_config().vocab_size)
    try:
        values, gradient = _probe(model, lay_out(sequences, kind))
    except (ModelError, TypeError) as error:  # an attention that refuses, a forward that takes no such keywords
        return f"{type(base_of(model)).__name__} cannot be run so ({error})"
    expected, expected_gradient = _probe(model, lay_out(sequences, "padded"))
    tolerance = TOLERANCE[_arithmetic(model)]
    for what, one, other in (("log-probabilities", values, expected), ("gradients", gradient, expected_gradient)):
        difference = float((one - other).norm() / other.norm().clamp_min(1e-12))
        if not difference <= tolerance:
            return f"its {what} differ from those of padded rows by {difference:.1%}, far beyond rounding"
    return None


def _arithmetic(model: nn.Module) -> torch.dtype:
    """What products are computed in: the autocast's dtype, the weights' own; few bits round about as bfloat16 does."""
    weight = next(model.parameters())
    if torch.is_autocast_enabled(weight.device.type):
        return torch.get_autocast_dtype(weight.device.type)
    return torch.bfloat16 if getattr(base_of(model), "is_quantized", False) else weight.dtype


def _probe(model: nn.Module, layout: Layout) -> tuple[Tensor, Tensor]:
    """Scores of all targets, and the gradient of a weighted sum of them by the embedding of every unique token.

    Embeddings are taken, not parameters, because they exist and matter whatever is frozen, quantised or adapted.
    """
    scorer = Scorer(model, layout.kind)
    sites = sites_for(layout, [sequence.masks["all"] for sequence in layout.sequences])
    is_classifier = base_of(model).get_output_embeddings() is None
    signal = score(parameters=(("label", 0.0),)) if is_classifier else logp()
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        kept.append(output if output.requires_grad else output.requires_grad_())

    hook = base_of(model).get_input_embeddings().register_forward_hook(keep)
    try:
        with torch.enable_grad():
            value = scorer(layout.to(scorer.device), sites.to(scorer.device), (signal,))[0]
            values = torch.cat([value[torch.from_numpy(rows).to(value.device)] for rows in sites.rows])
            weights = torch.linspace(0.5, 1.5, len(values), dtype=values.dtype, device=values.device)
            [gradient] = torch.autograd.grad(values @ weights, kept[:1])
    finally:
        hook.remove()
    # Shared tokens have one gradient in a tree and several in rows; their sum over all sequences is the same.
    gradient, unique = gradient.flatten(0, 1), lay_out(layout.sequences, "tree")
    total = gradient.new_zeros(unique.num_tokens, gradient.shape[-1])
    seen: set[int] = set()
    for place, target in zip(layout.positions, unique.positions, strict=True):
        fresh = [index for index in range(len(place)) if place[index] not in seen]
        seen.update(place.tolist())
        total[torch.from_numpy(target[fresh])] += gradient[torch.from_numpy(place[fresh]).to(gradient.device)]
    return values.detach().double(), total.double()


def _check_logits(model: nn.Module) -> None:
    """A language model's own logits must be its head's output, scaled and capped as the config says."""
    base = base_of(model)
    if base.get_output_embeddings() is None:
        return
    [*_, sequence] = _forking_sequences(base.config.get_text_config().vocab_size)
    layout = lay_out([sequence], "padded")
    scorer = Scorer(model, "padded")
    layout, sites = layout.to(scorer.device), sites_for(layout, [sequence.masks["all"]]).to(scorer.device)
    with torch.no_grad():
        ours = scorer(layout, sites, (logp(),))[0].double()
        logits: Tensor = model(input_ids=layout.input_ids, attention_mask=layout.attention_mask, **scorer.no_cache).logits[0]
        theirs = logits[sites.predict].double().log_softmax(-1).gather(-1, sites.targets[:, None])[:, 0]
    if not torch.allclose(ours, theirs, rtol=0.05, atol=0.05):
        raise ModelError(
            f"{type(base).__name__} does something to its logits that burnish does not know (log-probabilities differ by up to "
            f"{float((ours - theirs).abs().max()):.3g} nats), so it cannot be scored"
        )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
