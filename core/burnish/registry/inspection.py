"""Whether records keep what they promise: targets that import and have the members that the core calls. Imports every target.

In: a registry. Out: sentences about what is wrong; nothing is raised, so that one broken plugin does not hide another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from burnish.errors import PluginError
from burnish.registry.lookup import Registry
from burnish.registry.records import FormatRecord, LossRecord, Record, SourceRecord, WeightRecord

MEMBERS: dict[type[Record], tuple[str, ...]] = {
    FormatRecord: ("sniff", "convert"),
    LossRecord: ("signals", "__call__"),
    WeightRecord: ("signals", "__call__"),
}
"""What the core calls of an object; everything else is called itself."""


def problems(registry: Registry) -> Iterator[str]:
    """Everything that is wrong with the installed plugins."""
    yield from registry.problems()
    for plugin in registry.plugins:
        for record in plugin.records:
            for problem in _record_problems(registry, record):
                yield f"plugin '{plugin.name}' ({plugin.provider}): {problem}"


def target_problems(kind: type[Record], target: Any, what: str) -> Iterator[str]:
    """What an object lacks to be used as a record of this kind."""
    if kind not in MEMBERS:
        if not callable(target) and not (kind is SourceRecord and isinstance(target, Iterable)):
            yield f"{what} cannot be called"
        return
    if kind is not FormatRecord:
        if not (isinstance(target, type) and dataclasses.is_dataclass(target)):
            yield f"{what} is not a dataclass; its fields are its options"
        elif not target.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            yield f"{what} must be a frozen dataclass: what it computes depends on its fields alone"
    bases = (target if isinstance(target, type) else type(target)).__mro__
    for member in MEMBERS[kind]:
        if not any(member in vars(base) for base in bases):
            yield f"{what} has no {member}()"


def _record_problems(registry: Registry, record: Record) -> Iterator[str]:
    try:
        target = registry.resolve(record)
        if isinstance(record, FormatRecord) and not list(registry.resolve(record, record.examples)):
            yield f"format '{record.name}' has no example rows ({record.examples})"
    except PluginError as error:
        yield str(error)
    else:
        yield from target_problems(type(record), target, f"{record.word} '{record.name}' ({record.target})")
