"""The objective of a config becomes entries: which loss, on which data, how heavy. Refuses here what cannot work.

In: the config's list and the registry. Out: `Entry` values. Imports the losses that it names; sees no unit's numbers.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as List
from dataclasses import dataclass
from typing import Any

from burnish.config.options import construct
from burnish.config.sections import ENTRY_WORDS
from burnish.data.masks import mask_names
from burnish.data.units import Sequence, Unit
from burnish.errors import ConfigError, ObjectiveError, PluginError, did_you_mean
from burnish.model.signals import Signal, tempered
from burnish.objective.contract import Loss, Weight, blamed, derived_signals, is_coupled
from burnish.objective.reduce import ACCEPTS, Reduction
from burnish.objective.views import Lists, Member, Pairs, Sequences, Triples
from burnish.registry import PAIRINGS, LossRecord, Record, Registry, WeightRecord, is_custom, serves

ROLES: dict[str, tuple[str, ...]] = {"preference": ("chosen", "rejected"), "triple": ("chosen", "rejected", "gold")}
ITEM = re.compile(r"item\d+")
DATA_OF: dict[type, str] = {Pairs: "preference", Triples: "triple", Lists: "ranked", Sequences: "sequence"}
FITTING = {"preference": ("pair_mean",), "triple": ("pair_mean",), "ranked": ("list_mean",)}


@dataclass(frozen=True, eq=False)
class Entry:
    """One part of an objective. on: roles of the sequences that it reads, empty for the kind's own. weights: by name.
    temperature: at which the source was sampled; all log-probabilities and entropies are read at it."""

    name: str
    loss: Loss
    data: str
    reduction: Reduction
    on: tuple[str, ...] = ()
    targets: str = "completion"
    source: str = "main"
    weight: float = 1.0
    weights: tuple[tuple[str, Weight], ...] = ()
    temperature: float = 1.0

    @property
    def owners(self) -> tuple[tuple[str, Loss | Weight], ...]:
        """The loss and its weights, by the name that their states are kept under."""
        return ((self.name, self.loss), *((f"{self.name}/{name}", weight) for name, weight in self.weights))

    @property
    def is_coupled(self) -> bool:
        """Whether the loss's gradient crosses units."""
        return is_coupled(self.loss)

    @property
    def couples(self) -> bool:
        """Whether a member is several sequences."""
        return self.data in FITTING

    def signals(self) -> frozenset[Signal]:
        """What is read of the units' own sequences."""
        return frozenset(tempered(signal, self.temperature) for _, owner in self.owners for signal in owner.signals())

    def derived_signals(self) -> frozenset[Signal]:
        """What is read of derived sequences."""
        return frozenset(tempered(signal, self.temperature) for _, owner in self.owners for signal in derived_signals(owner))

    def check(self, kind: str) -> None:
        """ConfigError unless units of `kind` can feed this part."""
        if kind == "prompt":
            raise ConfigError(
                f"{self.name}: source '{self.source}' holds prompts only, so there is nothing to score; in a config with a "
                "section `rollout` the model answers them"
            )
        if not serves(kind, self.data):
            raise ConfigError(
                f"{self.name} needs {self.data} data; source '{self.source}' holds {kind}. "
                f"Name a fitting one with `source`, or {self._remedy(kind)}"
            )
        roles = ROLES.get(kind, ("item0, item1, ...",) if kind == "ranked" else ("main",))
        if not self.couples and not self.on and roles != ("main",):
            raise ConfigError(
                f"{self.name} reads single sequences, but source '{self.source}' holds {kind} rows, which have "
                f"{', '.join(roles)}: say which with `on`, as in `{self.name}: {{on: {roles[0].split(',')[0]}}}`"
            )
        for role in self.on:
            if not (ITEM.fullmatch(role) if kind == "ranked" else role in roles):
                raise ConfigError(f"{self.name}: {kind} rows have no `on: {role}`. {did_you_mean(role, roles)}")

    def _remedy(self, kind: str) -> str:
        """What to do about rows of a kind that this part cannot read."""
        if self.data == "trajectory":
            return "add a section `rollout`, in which the model answers the rows' prompts"
        pairing = next((how for how, makes in PAIRINGS.items() if makes.get(kind) == self.data), None)
        if pairing is not None:
            return f"make such rows of these with `data.{self.source}.pairing: {pairing}`"
        return f"choose a loss on {kind} data"

    def members(self, unit: Unit) -> list[Member]:
        """Members of one unit with at least one target; none for units of another source."""
        if unit.source != self.source:
            return []
        self.check(unit.kind)
        roles = self.on or ROLES.get(self.data, ())
        sequences = tuple(unit.sequence(role) for role in roles) if roles else unit.sequences
        groups = [sequences] if self.couples else [(sequence,) for sequence in sequences]
        return [Member(unit, group) for group in groups if any(self.mask(sequence).any() for sequence in group)]

    def mask(self, sequence: Sequence) -> Any:
        """The targets of `sequence`."""
        if self.targets not in sequence.masks:
            raise ObjectiveError(f"{self.name}: no targets '{self.targets}'. {did_you_mean(self.targets, sequence.masks)}")
        return sequence.masks[self.targets]


def parse_objective(given: Any, registry: Registry) -> tuple[Entry, ...]:
    """Entries of a config's `objective`: a list whose items are a loss's name, or {name: {fields and reserved words}}."""
    if not isinstance(given, list | tuple) or not given:
        raise ConfigError(f"objective: a list of losses, such as [{{dpo: {{beta: 0.1}}}}]; got {given!r}")
    entries: list[Entry] = []
    for place, item in enumerate(given):
        key, options = _named(item, f"objective.{place}")
        taken = [entry.name for entry in entries]
        entries.append(_entry(key, dict(options), f"objective.{place}.{key}", taken, registry))
    return tuple(entries)


def entry_around(loss: Loss, registry: Registry) -> Entry:
    """A part whose loss is at hand, named by no config; the rest is what the record of its class says, or the class itself."""
    target = type(loss)
    named = f"{target.__module__}:{target.__qualname__}"
    record = next((record for record in registry.records(LossRecord) if record.target == named), None)
    where = target.__qualname__
    _check_signals(loss, where)
    data, default, targets = _declared(target, record, where)
    default = getattr(loss, "reduction", default)
    name = target.__name__.lower() if record is None else record.name
    return Entry(name=name, loss=loss, data=data, reduction=_reduction(default, data, where), targets=targets)


def check_kinds(entries: Iterable[Entry], kinds: Mapping[str, str]) -> None:
    """ConfigError unless every part's source exists and holds what the part needs. kinds: source -> kind of its rows."""
    for place, entry in enumerate(entries):
        try:
            _check_kind(entry, kinds)
        except ConfigError as error:
            raise ConfigError(f"objective.{place}: {error}") from error
    if unread := sorted(set(kinds) - {entry.source for entry in entries}):
        raise ConfigError(
            f"data.{unread[0]}: no part of the objective reads the source '{unread[0]}'; "
            f"give one `source: {unread[0]}`, or drop the data"
        )


def _check_kind(entry: Entry, kinds: Mapping[str, str]) -> None:
    if entry.source not in kinds:
        raise ConfigError(f"{entry.name}: no data source named '{entry.source}'. {did_you_mean(entry.source, kinds)}")
    entry.check(kinds[entry.source])
    known = mask_names(kinds[entry.source])
    if entry.targets not in known:
        raise ConfigError(
            f"{entry.name}: {kinds[entry.source]} rows have no `targets: {entry.targets}`. {did_you_mean(entry.targets, known)}"
        )


def _named(item: Any, where: str) -> tuple[str, Mapping[str, Any]]:
    """A name and its options, from `name`, {name: null} or {name: {...}}."""
    if isinstance(item, str):
        return item, {}
    if isinstance(item, Mapping) and len(item) == 1:
        [(key, options)] = item.items()
        if isinstance(key, str) and (options is None or isinstance(options, Mapping)):
            return key, options or {}
    raise ConfigError(f"{where}: one name with its options, such as {{dpo: {{beta: 0.1}}}}; got {item!r}")


def _entry(key: str, options: dict[str, Any], where: str, taken: List[str], registry: Registry) -> Entry:
    target, record = _resolve(LossRecord, key, where, registry)
    reserved = {word: options.pop(word) for word in ENTRY_WORDS if options.get(word) is not None}
    options = {word: value for word, value in options.items() if word not in ENTRY_WORDS}
    loss: Loss = _construct(target, options, where, ENTRY_WORDS)
    data, default, targets = _declared(target, record, where)
    default = getattr(loss, "reduction", default)
    entry = Entry(
        name=_unique(str(reserved.get("name", key.rpartition(":")[2].lower())), "name" in reserved, taken, where),
        loss=loss,
        data=data,
        reduction=_reduction(reserved.get("reduction", default), data, where),
        on=_roles(reserved.get("on", ()), data, where),
        targets=str(reserved.get("targets", targets)),
        source=str(reserved.get("source", "main")),
        weight=_number(reserved.get("weight", 1.0), where),
        weights=tuple(_weights(reserved.get("weights", ()), where, registry)),
    )
    return entry


def _declared(target: Any, record: LossRecord | None, where: str) -> tuple[str, str, str]:
    """A loss's kind of data, its reduction and its targets, from its record, or from the class itself where it has none."""
    if record is not None:
        return record.data, record.reduction, record.targets
    return *_data_of(target, where), getattr(target, "targets", "completion")


def _resolve(kind: type[Record], key: str, where: str, registry: Registry) -> tuple[Any, Any]:
    """The class that `key` names, and its record; a `module:attr` or `./file.py:attr` has none."""
    if is_custom(key):
        return registry.custom(key), None
    try:
        record = registry.get(kind, key)
    except PluginError as error:
        raise ConfigError(f"{where}: {error}") from error
    return registry.resolve(record), record


def _construct(target: Any, options: Mapping[str, Any], where: str, reserved: List[str] = ()) -> Any:
    """An instance of the dataclass `target`, its options checked."""
    if not (isinstance(target, type) and dataclasses.is_dataclass(target)):
        raise ObjectiveError(
            f"{where}: {getattr(target, '__name__', target)} is not a dataclass; a loss or weight is one, its fields the "
            "hyper-parameters"
        )
    if clash := {field.name for field in dataclasses.fields(target)}.intersection(reserved):
        raise ObjectiveError(f"{where}: {target.__name__} has a field '{min(clash)}', a word that every entry reserves")
    made = construct(target, options, where, reserved)
    _check_signals(made, f"{where}: {target.__name__}")
    return made


def _check_signals(made: Any, owner: str) -> None:
    """ObjectiveError unless the loss or weight says what it reads."""
    signals, example = getattr(made, "signals", None), "such as frozenset({logp()})"
    if not callable(signals):
        raise ObjectiveError(f"{owner} has no method signals(): it returns what the formula reads, {example}")
    with blamed(f"{owner}.signals()"):
        declared = signals()
    if not (isinstance(declared, frozenset) and all(isinstance(signal, Signal) for signal in declared)):
        raise ObjectiveError(f"{owner}.signals() gave {declared!r}; it gives a frozenset of signals, {example}")
    if (hasattr(made, "statistic") or is_coupled(made)) and (paired := [one.name for one in declared if one.beside]):
        raise ObjectiveError(
            f"{owner} reads '{paired[0]}', which exists only while its micro-batch runs; a statistic or a loss with coupling "
            "looks at the whole batch before that"
        )


def _weights(given: Any, where: str, registry: Registry) -> Iterable[tuple[str, Weight]]:
    items = [{key: options} for key, options in given.items()] if isinstance(given, Mapping) else given
    items = [items] if isinstance(items, str) else items
    if not isinstance(items, List):
        raise ConfigError(f"{where}.weights: a list such as [wpo, {{top_entropy: {{keep: 0.2}}}}]; got {given!r}")
    if len({str(item if isinstance(item, str) else [*item]) for item in items}) < len(items):
        raise ConfigError(f"{where}.weights: one weight is listed twice")
    for item in items:
        key, options = _named(item, f"{where}.weights")
        target, _ = _resolve(WeightRecord, key, f"{where}.weights", registry)
        yield key.rpartition(":")[2].lower(), _construct(target, options, f"{where}.weights.{key}")


def _data_of(target: Any, where: str) -> tuple[str, str]:
    """What a loss without a record is about, from its formula's own annotation, and its or the usual reduction."""
    try:
        batch = typing.get_type_hints(target.__call__).get("batch")
    except NameError:
        batch = None
    if batch not in DATA_OF:
        names = ", ".join(kind.__name__ for kind in DATA_OF)
        raise ObjectiveError(f"{where}: annotate `batch` of {target.__name__}.__call__ as one of {names} (burnish.objective)")
    data = DATA_OF[batch]
    return data, getattr(target, "reduction", FITTING.get(data, ("token_mean",))[0])


def _reduction(given: Any, data: str, where: str) -> Reduction:
    try:
        reduction = Reduction.parse(given)
    except ConfigError as error:
        raise ConfigError(f"{where}.reduction: {error}") from error
    fitting = FITTING.get(data, tuple(ACCEPTS))
    if reduction.name not in fitting:
        raise ConfigError(f"{where}: a loss on {data} data is reduced by {' or '.join(fitting)}, not {reduction}")
    return reduction


def _roles(given: Any, data: str, where: str) -> tuple[str, ...]:
    roles = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not all(isinstance(role, str) for role in roles) or len(set(roles)) != len(roles):
        raise ConfigError(f"{where}.on: a role or several different ones; got {given!r}")
    expected = len(ROLES.get(data, ()))
    if roles and expected and len(roles) != expected:
        raise ConfigError(
            f"{where}.on: a loss on {data} data reads {expected} roles in order, such as {list(ROLES[data])}; got {given!r}"
        )
    return roles


def _number(given: Any, where: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ConfigError(f"{where}.weight: a finite number, got {given!r}")
    return float(given)


def _unique(name: str, is_given: bool, taken: List[str], where: str) -> str:
    """A part's name; a second part of one loss is numbered, unless the user named both alike."""
    if name not in taken:
        return name
    if is_given:
        raise ConfigError(f"{where}.name: two parts are named '{name}'")
    return next(f"{name}_{number}" for number in range(2, len(taken) + 3) if f"{name}_{number}" not in taken)
