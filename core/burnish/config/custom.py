"""Values of a config that name registered things or code. A config with code in it is code: these are found without running
any.

In: a checked config. Out: paths and values; of those that are code, the hash of the file they would run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from burnish.config.sections import Names, Section
from burnish.registry import WeightRecord, custom_hash, is_custom


class NamedValue(NamedTuple):
    """A value that names something; names: of which kind, and what else it may be."""

    path: str
    value: str
    names: Names


def named_values(section: Section, within: str = "") -> Iterator[NamedValue]:
    """All values of a section, and of those in it, that name a record or code."""
    for field, info in type(section).model_fields.items():
        path, value = f"{within}{field}", getattr(section, field)
        mark = next((item for item in info.metadata if isinstance(item, Names)), None)
        yield from _named(path, value, mark) if mark else _below(path, value)


def _below(path: str, value: Any) -> Iterator[NamedValue]:
    if isinstance(value, Section):
        yield from named_values(value, f"{path}.")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _below(f"{path}.{key}", item)


def _named(path: str, value: Any, names: Names) -> Iterator[NamedValue]:
    if isinstance(value, str):
        yield NamedValue(path, value, names)
    elif isinstance(value, tuple):
        for place, item in enumerate(value):
            for key, options in item.items():
                yield NamedValue(f"{path}.{place}", key, names)
                yield from _weights(f"{path}.{place}.{key}.weights", options.get("weights", ()))


def _weights(path: str, given: Any) -> Iterator[NamedValue]:
    """The weights of an entry of the objective: names, or {name: options}, in a list or all in one mapping."""
    items = [given] if isinstance(given, str | Mapping) else given if isinstance(given, list | tuple) else []
    for place, item in enumerate(items):
        for key in [item] if isinstance(item, str) else item:
            yield NamedValue(path if isinstance(given, str | Mapping) else f"{path}.{place}", key, Names(WeightRecord))


def custom_values(config: Section) -> dict[str, str]:
    """The code that a config names: value -> hash of the file that it would run. Runs nothing.

    Kept beside a run, compared at resume with `burnish.registry.differences`.
    """
    return {value: custom_hash(value) for _, value, _ in named_values(config) if is_custom(value)}
