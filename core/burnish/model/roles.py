"""Roles: which model answers for `policy`, `reference`, `teacher` and `old`, and what it has forwarded.

In: sequences, target masks and signals of one role. Out: numbers per target. The policy is scored with gradients where they are
enabled; all others without, from the disk cache where their weights have met these tokens before. Knows no loss.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as List
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from burnish.batch.layout import Kind, Layout, lay_out
from burnish.batch.plan import plan
from burnish.batch.spans import span
from burnish.data.units import Mask, Sequence, Unit
from burnish.errors import ModelError
from burnish.model.adapters import adapter_off, has_adapter, is_fresh
from burnish.model.cache import Numbers
from burnish.model.checkpointing import offloaded
from burnish.model.hashing import weights_hash
from burnish.model.head import Beside
from burnish.model.recipes import by_recipe
from burnish.model.scorer import Scorer, base_of
from burnish.model.signals import Role, Signal, hidden
from burnish.model.sites import Sites, sites_for
from burnish.model.values import critic_of, value_head_of


class Cache(Protocol):
    """Where frozen models' log-probabilities are kept: `LogpCache`, or a memory."""

    def get(self, namespace: str, keys: Iterable[str]) -> Mapping[str, Numbers]: ...

    def put(self, namespace: str, logps: Mapping[str, Numbers]) -> None: ...


@dataclass(slots=True, eq=False)
class Frozen:
    """A model without gradients. scorer: its Scorer, None for the policy itself with its adapter switched off. key: hash of its
    weights and of the precision that it runs in, under which its log-probabilities are cached; None: they are not."""

    scorer: nn.Module | None
    key: str | None = None


def frozen_policy(model: nn.Module, kind: Kind, precision: str | None = None, *, apart: bool = False) -> Frozen:
    """The policy as it is now: its base when it has a fresh adapter, else a copy.

    An adapter that is continued has made another model of its base: then its weights are copied, and all frozen ones shared.
    precision: names the arithmetic (`float32`, `bf16`, ...) for the cache; None: its numbers are not cached. apart: a copy in
    any case, since its weights will become others.
    """
    key = None if precision is None else _key(model, precision)
    if not apart and has_adapter(model) and is_fresh(model):
        return Frozen(None, key)
    shared: dict[int, object] = {id(tensor): tensor for tensor in model.parameters() if not tensor.requires_grad}
    if (critic := critic_of(base_of(model))) is not None:
        shared[id(critic)] = copy.deepcopy(value_head_of(base_of(model)))  # nobody asks a reference for values
    return frozen_model(copy.deepcopy(model, shared), kind, key=key)


def frozen_model(model: nn.Module, kind: Kind, precision: str | None = None, key: str | None = None) -> Frozen:
    """Another model, frozen; precision as in `frozen_policy`."""
    model.requires_grad_(False).eval()
    return Frozen(Scorer(model, kind), _key(model, precision) if key is None and precision is not None else key)


def _key(model: nn.Module, precision: str) -> str:
    return f"{weights_hash(model)}-{precision}"


@dataclass(slots=True, eq=False)
class Roles:
    """The policy and those beside it, as modules that Accelerate may have wrapped.

    kind: the layout that their Scorers were made for. offload: what the policy keeps for a backward pass waits in the host's
    memory. forwarded_tokens, forwards: what each role has really run, answers from the cache excluded.
    """

    policy: nn.Module
    kind: Kind
    reference: Frozen | None = None
    teacher: Frozen | None = None
    cache: Cache | None = None
    offload: bool = False
    forwarded_tokens: Counter[str] = field(default_factory=Counter)
    forwards: Counter[str] = field(default_factory=Counter)

    def score(self, role: Role, layout: Layout, sites: Sites, signals: tuple[Signal, ...]) -> dict[Signal, Tensor]:
        """One forward, counted: [M] per signal. `policy` carries gradients where they are enabled, no other role does.

        Signals that compare two models cost a forward of the other one too.
        """
        device = next(self.policy.parameters()).device
        layout, sites = layout.to(device), sites.to(device)
        compared = any(signal.beside == "teacher" for signal in signals)
        with ExitStack() as stack:
            beside = self._beside(layout, sites) if compared else None
            if sites.sampled is not None:
                beside = replace(beside or Beside(), sampled=sites.sampled)
            self.forwarded_tokens[role] += layout.num_tokens
            self.forwards[role] += 1
            module = self.policy if role == "policy" else stack.enter_context(self._frozen(role))
            if torch.is_grad_enabled():
                stack.enter_context(offloaded(module.parameters(), device) if self.offload else by_recipe())
            values: tuple[Tensor, ...] = module(layout, sites, signals, beside)
        return dict(zip(signals, values, strict=True))

    def _beside(self, layout: Layout, sites: Sites) -> Beside:
        """The teacher at the same sites; its logits come tile by tile, when the policy's do."""
        [states] = self.score("teacher", layout, sites, (hidden(),)).values()
        scorer = self.teacher and self.teacher.scorer
        if not isinstance(scorer, Scorer):
            raise ModelError("a teacher to compare with is a whole model of its own; this one is wrapped, or the policy's")
        return Beside(states, torch.no_grad()(scorer.logits))

    def score_frozen(
        self, role: Role, sequences: List[Sequence], masks: List[Mask], signals: tuple[Signal, ...], budget: int
    ) -> list[dict[Signal, Numbers]]:
        """For each sequence, every signal at the targets of its mask, without gradient; equal sequences are scored once.

        With several processes all of them must call this together: they make equally many forwards.
        """
        wanted = _merged(sequences, masks)
        known = {signal: self._cached(role, signal, wanted) for signal in signals}
        missing = {
            key: (sequence, mask)
            for key, (sequence, mask) in wanted.items()
            if any(key not in found or np.isnan(found[key][mask]).any() for found in known.values())
        }
        self._fill(role, missing, signals, budget, known)
        for signal in signals:
            self._remember(role, signal, {key: known[signal][key] for key in missing})
        pairs = zip(sequences, masks, strict=True)
        return [{signal: known[signal][sequence.key][mask] for signal in signals} for sequence, mask in pairs]

    def _fill(
        self,
        role: Role,
        missing: dict[str, tuple[Sequence, Mask]],
        signals: tuple[Signal, ...],
        budget: int,
        known: dict[Signal, dict[str, Numbers]],
    ) -> None:
        """Forward the missing sequences and write their numbers into `known`."""
        [micro_batches] = plan([Unit("frozen", (sequence,)) for sequence, _ in missing.values()], budget, self.kind)
        micro_batches = [micro for micro in micro_batches if micro.units]
        for index in range(_most(len(micro_batches), next(self.policy.parameters()).device)):
            units = micro_batches[index].units if index < len(micro_batches) else ()
            batch = [unit.sequences[0] for unit in units]
            with span("layout"):
                layout = lay_out(batch, self.kind)
                sites = sites_for(layout, [missing[sequence.key][1] for sequence in batch])
            for signal, values in self.score(role, layout, sites, signals).items():
                numbers = values.cpu().numpy()
                for sequence, rows in zip(batch, sites.rows, strict=True):
                    found = known[signal].setdefault(sequence.key, np.full(len(sequence), np.nan, numbers.dtype))
                    found[missing[sequence.key][1]] = numbers[rows]

    @contextmanager
    def _frozen(self, role: Role) -> Iterator[nn.Module]:
        """The module that answers for `role`, in evaluation mode, without gradients."""
        frozen = Frozen(self.policy) if role == "old" else {"reference": self.reference, "teacher": self.teacher}.get(role)
        if frozen is None:
            raise ModelError(f"there is no model for the role '{role}'; name one under `{role}.model` in the configuration")
        module = self.policy if frozen.scorer is None else frozen.scorer
        was_training = module.training
        module.eval()
        try:
            with torch.no_grad():
                if frozen.scorer is None:
                    with adapter_off(module):
                        yield module
                else:
                    yield module
        finally:
            module.train(was_training)

    def _namespace(self, role: Role, signal: Signal) -> str | None:
        """Where a signal is cached; None when it is not."""
        frozen = {"reference": self.reference, "teacher": self.teacher}.get(role)
        if self.cache is None or frozen is None or frozen.key is None or signal.name != "logp" or signal.tile is not None:
            return None
        return hashlib.blake2b(f"{frozen.key}|{signal.temperature!r}".encode(), digest_size=16).hexdigest()

    def _cached(self, role: Role, signal: Signal, wanted: dict[str, tuple[Sequence, Mask]]) -> dict[str, Numbers]:
        namespace = self._namespace(role, signal)
        found: dict[str, Numbers] = {}
        if self.cache is not None and namespace is not None:
            found.update(self.cache.get(namespace, wanted))
        return found

    def _remember(self, role: Role, signal: Signal, values: dict[str, Numbers]) -> None:
        namespace = self._namespace(role, signal)
        if self.cache is not None and namespace is not None:
            self.cache.put(namespace, values)


def _merged(sequences: List[Sequence], masks: List[Mask]) -> dict[str, tuple[Sequence, Mask]]:
    """Distinct sequences by key, each with the union of its masks."""
    merged: dict[str, tuple[Sequence, Mask]] = {}
    for sequence, mask in zip(sequences, masks, strict=True):
        _, before = merged.get(sequence.key, (sequence, mask))
        merged[sequence.key] = (sequence, before | mask)
    return merged


def _most(number: int, device: torch.device) -> int:
    """The largest `number` among all processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return number
    most = torch.tensor(number, device=device)
    with span("sync"):
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return int(most)
