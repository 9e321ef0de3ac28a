"""The one module that reads a model: a layout goes in, small tensors of signals come out.

It is the object given to Accelerate. Everything that touches weights happens inside `forward`, through the model's own forward
and the head's own call, so the hooks of DDP, FSDP, ZeRO, PEFT and quantisers always run. The model's forward is let through to
its head with one row only; the hidden states are kept by a hook and scored tile by tile.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from burnish.batch.attention import NAME, attention_of, own_name, set_attention
from burnish.batch.layout import Kind, Layout
from burnish.batch.spans import span
from burnish.errors import ModelError
from burnish.model.head import OUTPUTS, Beside, read_outputs, read_vocabulary
from burnish.model.signals import Signal, hidden
from burnish.model.sites import Sites
from burnish.model.tasks import task_of_model
from burnish.model.tile import LogitScale, tile_rows, wide
from burnish.model.values import critic_of, value_head_of


def base_of(model: nn.Module) -> Any:
    """The transformers model inside a PEFT model; any other model is its own."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def head_of(model: nn.Module) -> nn.Module:
    """The module that turns hidden states into logits, or into a classifier's outputs; ModelError when there is none."""
    base = base_of(model)
    head = base.get_output_embeddings()
    head = getattr(base, "score", None) if head is None else head
    if not isinstance(head, nn.Module):
        raise ModelError(f"{type(base).__name__} has neither output embeddings nor a `score` head: it cannot score anything")
    return head


class Scorer(nn.Module):
    """Scores layouts of one kind of attention: `tree` and `packed`, or `padded`."""

    def __init__(self, model: nn.Module, kind: Kind = "tree") -> None:
        super().__init__()
        self.model = model
        base, text = base_of(model), base_of(model).config.get_text_config()
        self._attention = own_name(base) if kind == "padded" else NAME
        models = [base, critic] if (critic := critic_of(base)) is not None else [base]
        for one in models:
            if attention_of(one) != self._attention:
                set_attention(one, self._attention)
        self._no_split_modules = sorted({name for one in models for name in getattr(one, "_no_split_modules", None) or ()})
        self._scale = LogitScale.of(text)
        self._is_classifier = base.get_output_embeddings() is None
        self._padding: int | None = text.pad_token_id if task_of_model(base) == "sequence" else None
        self._num_outputs: int = base.config.num_labels if self._is_classifier else text.vocab_size
        accepted = inspect.signature(base.forward).parameters
        self.no_cache = {"use_cache": False} if "use_cache" in accepted else {}

    def forward(
        self, layout: Layout, sites: Sites, signals: tuple[Signal, ...], beside: Beside | None = None
    ) -> tuple[Tensor, ...]:
        """Every signal at every site, in the order of `signals`: [M] each, float32 (float64 for float64 models).

        `layout` and `sites` are on the model's device. A signal's role is not looked at: the caller chose the model. beside:
        what signals compare with at the same sites. A plain tuple, because wrappers look into what a forward
        returns (ZeRO-3 takes the keys of a dict for names).
        """
        critic: Any = None if self._is_classifier else critic_of(base_of(self.model))
        apart = () if critic is None else tuple(signal for signal in signals if signal.name == "value")
        values: dict[Signal, Tensor] = {}
        for model, asked in ((self.model, tuple(one for one in signals if one not in apart)), (critic, apart)):
            if asked:
                with span("forward trunk"):
                    states = self._hidden(model, layout).flatten(0, 1)  # [B * N, H]
                values |= self._read_sites(states, layout, sites, asked, beside)
        return tuple(values[signal] for signal in signals)

    def _read_sites(
        self, states: Tensor, layout: Layout, sites: Sites, signals: tuple[Signal, ...], beside: Beside | None
    ) -> dict[Signal, Tensor]:
        """Every signal at its sites, of the hidden states [B * N, H] of all tokens: [M] each."""
        values: dict[Signal, Tensor] = {}
        for site, index in (("predict", sites.predict), ("at", self._at(sites))):
            wanted = tuple(signal for signal in signals if signal.site == site)
            if wanted and len(sites):
                with span("head"):
                    values.update(zip(wanted, self._read(states[index], sites.targets, wanted, beside), strict=True))
            elif wanted:  # read one row all the same: every parameter then has a gradient, 0, as on the other ranks
                row = self._read(states[:1], layout.input_ids.flatten()[:1], wanted, beside and beside.row())
                values.update(zip(wanted, (value[:0] for value in row), strict=True))
        return values

    def _at(self, sites: Sites) -> Tensor:
        """Where a target itself is read: [M]. A classifier of sequences takes a token with the id of padding for padding, also
        where it is the end of the sequence, and reads the one before."""
        return sites.at if self._padding is None else torch.where(sites.targets == self._padding, sites.predict, sites.at)

    def logits(self, states: Tensor) -> Tensor:
        """What the head makes of hidden states [n, H]: [n, V], scaled and wide. For a frozen model beside another one."""
        raw: Tensor = head_of(self.model)(states)
        return self._scale(wide(raw))

    def _read(self, states: Tensor, targets: Tensor, signals: tuple[Signal, ...], beside: Beside | None) -> list[Tensor]:
        """Signals at the hidden states [M, H], in the order asked: [M] each."""
        head = head_of(self.model)
        if self._is_classifier:
            return read_outputs(head, states, signals)
        found: dict[Signal, Tensor] = {signal: states for signal in signals if signal == hidden()}
        found |= {signal: self._value(states) for signal in signals if signal.name == "value"}
        of_vocabulary = tuple(signal for signal in signals if signal not in found)
        if unreadable := [signal.name for signal in of_vocabulary if signal.name in OUTPUTS and signal.tile is None]:
            raise ModelError(f"the signal '{unreadable[0]}' needs a classification head; this model is a language model")
        if of_vocabulary:
            rows = tile_rows(self._num_outputs, states.device)
            read = read_vocabulary(head, self._scale, states, targets, of_vocabulary, rows, beside)
            found |= zip(of_vocabulary, read, strict=True)
        return [found[signal] for signal in signals]

    def _value(self, states: Tensor) -> Tensor:
        """The value head's output for each hidden state: [M]."""
        value_head = value_head_of(base_of(self.model))
        values: Tensor = value_head(states.to(value_head.weight.dtype))
        return wide(values)[:, 0]

    def _hidden(self, model: nn.Module, layout: Layout) -> Tensor:
        """What the forward of the model, or of its critic, hands to its head: [B, N, H]."""
        base = base_of(model)
        if attention_of(base) != self._attention or (layout.segments is None) == (self._attention == NAME):
            raise ModelError(
                f"this Scorer runs the attention '{self._attention}', its model now '{attention_of(base)}', and "
                f"the layout is {layout.kind}; make a new Scorer after another one has changed the model"
            )
        kept: list[Tensor] = []

        def keep(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
            kept.append(arguments[0])
            # A classifier goes on to pick one token per row, so it must see them all; its outputs are few.
            return None if base.get_output_embeddings() is None else (arguments[0][:, :1], *arguments[1:])

        hook = head_of(model).register_forward_pre_hook(keep)
        try:
            if layout.segments is None:
                model(input_ids=layout.input_ids, attention_mask=layout.attention_mask, **self.no_cache)
            else:
                model(
                    input_ids=layout.input_ids,
                    position_ids=layout.position_ids,
                    burnish_segments=layout.segments,
                    **self.no_cache,
                )
        finally:
            hook.remove()
        if len(kept) != 1:
            raise ModelError(f"{type(base).__name__} called its head {len(kept)} times in one forward, not once")
        return kept[0]

    @property
    def device(self) -> torch.device:
        """Where inputs must be."""
        return next(self.model.parameters()).device
