"""What is checked: a loss or a weight as a part of an objective, and the rows that it is checked on.

In: a name, a class or an instance. Out: a `Subject`. Knows no check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from burnish.config.options import construct
from burnish.errors import PluginError
from burnish.model.signals import Signal, logp
from burnish.objective.compose import Objective
from burnish.objective.contract import Loss, Weight
from burnish.objective.entries import Entry, entry_around
from burnish.objective.reduce import Reduction
from burnish.objective.terms import Terms
from burnish.objective.views import Sequences
from burnish.registry import LossRecord, Record, Registry, WeightRecord, load
from burnish.testing.conformance.checking import Rows
from burnish.testing.conformance.numbers import Numbers, Scene
from burnish.testing.conformance.report import Profile
from burnish.testing.conformance.rows import rows_of, units_of

Options = Mapping[str, Any] | None
NUM_BATCHES: dict[Profile, int] = {"fast": 4, "full": 30}


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The plainest loss: L = -s of every target token, s a signal of the policy; with lp, the likelihood."""

    signal: Signal

    def signals(self) -> frozenset[Signal]:
        """The one signal."""
        return frozenset({self.signal})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per target token."""
        return Terms(token=-batch.signal(self.signal))


@dataclass(frozen=True)
class Subject:
    """A part whose loss, or whose only weight, is looked at. examples: batches of raw rows."""

    title: str
    entry: Entry
    is_weight: bool
    registry: Registry
    examples: tuple[Rows, ...]
    profile: Profile

    @property
    def plugin(self) -> Loss | Weight:
        """The loss or weight itself."""
        return self.entry.weights[0][1] if self.is_weight else self.entry.loss

    @property
    def owner(self) -> str:
        """Under which name it stands in its part."""
        return self.entry.owners[-1][0]

    @property
    def objective(self) -> Objective:
        """The part as an objective of its own."""
        return Objective((self.entry,))

    def scene(self, rows: Rows, **options: Any) -> Scene:
        """The rows with drawn numbers; options as of `Scene`."""
        options.setdefault("numbers", Numbers())
        return Scene(self.entry, self.owner, units_of(rows, self.registry), **options)

    def having(self, plugin: Loss | Weight) -> Subject:
        """The same with another instance."""
        if self.is_weight:
            return replace(self, entry=replace(self.entry, weights=((self.entry.weights[0][0], plugin),)))
        return replace(self, entry=replace(self.entry, loss=plugin))


def loss_subject(
    given: Any, registry: Registry, data: Rows | None = None, options: Options = None, profile: Profile = "fast"
) -> Subject:
    """A loss; raises a BurnishError when it cannot even be made."""
    made = _made(LossRecord, given, registry, options)
    entry = entry_around(made, registry)
    return Subject(f"loss {entry.name}", entry, False, registry, _examples(entry.data, data, profile), profile)


def weight_subject(
    given: Any, registry: Registry, data: Rows | None = None, options: Options = None, profile: Profile = "fast"
) -> Subject:
    """A weight, beside a likelihood of single sequences, with all that a rollout knows of them."""
    made = _made(WeightRecord, given, registry, options)
    name = given.rpartition(":")[2].lower() if isinstance(given, str) else type(made).__name__.lower()
    entry = Entry("likelihood", Plain(signal=logp()), "sequence", Reduction("token_mean"), weights=((name, made),))
    return Subject(f"weight {name}", entry, True, registry, _examples("trajectory", data, profile), profile)


def installed() -> Registry:
    """What is installed now; values that name code may be run."""
    return load(run_code=True)


def target_of(kind: type[Record], given: Any, registry: Registry) -> Any:
    """The class, function or object that `given` names, or is."""
    return registry.find(kind, given) if isinstance(given, str) else given


def title_of(word: str, given: Any) -> str:
    """What a report calls it: `loss ipo`."""
    return f"{word} {given if isinstance(given, str) else getattr(given, '__name__', type(given).__name__)}"


def _made(kind: type[Record], given: Any, registry: Registry, options: Options) -> Any:
    target = target_of(kind, given, registry)
    if isinstance(target, type):
        return construct(target, options or {}, title_of(kind.word, given))
    if options:
        raise PluginError(f"{title_of(kind.word, given)}: an instance has its options already, got {dict(options)}")
    return target


def _examples(data: str, given: Rows | None, profile: Profile) -> tuple[Rows, ...]:
    drawn = [rows_of(data, seed) for seed in range(NUM_BATCHES[profile])] if given is None else []
    return (*([given] if given is not None else []), *drawn)
