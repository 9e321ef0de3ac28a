"""Values of a config that name registered things or code. A config with code in it is code: these are found without running
any.

In: a checked config. Out: paths and values; of those that are code, the hash of the file they would run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from burnish.config.fields import Names, Options, Section
from burnish.config.sections import ENTRY_WORDS, RewardSection, SourceSection
from burnish.errors import PluginError
from burnish.registry import WeightRecord, custom_hash, is_custom


class NamedValue(NamedTuple):
    """A value that names something. path: where it stands; names: of which kind, and what else it may be; at: where its
    options stand; options: those that are given, None where it takes none."""

    path: str
    value: str
    names: Names
    at: str
    options: Options | None


def named_values(section: Section, within: str = "") -> Iterator[NamedValue]:
    """All values of a section, and of those in it, that name a record or code."""
    for field, info in type(section).model_fields.items():
        path, value = f"{within}{field}", getattr(section, field)
        names = next((item for item in info.metadata if isinstance(item, Names)), None)
        if names is None:
            yield from _below(path, value)
        elif isinstance(value, tuple):
            yield from _in_list(path, value, names)
        elif isinstance(value, dict):
            yield from (NamedValue(path, key, names, f"{path}.{key}", options) for key, options in value.items())
        elif value is not None:
            options = section.options if isinstance(section, SourceSection) and field == "source" else None
            yield NamedValue(path, value, names, f"{within}options", options)


def _below(path: str, value: Any) -> Iterator[NamedValue]:
    if isinstance(value, Section):
        yield from named_values(value, f"{path}.")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _below(f"{path}.{key}", item)


def _in_list(path: str, items: tuple[dict[str, RewardSection | Options], ...], names: Names) -> Iterator[NamedValue]:
    for place, item in enumerate(items):
        for key, given in item.items():
            at = f"{path}.{place}.{key}"
            if isinstance(given, RewardSection):
                yield NamedValue(f"{path}.{place}", key, names, f"{at}.options", given.options)
            else:
                fields = {field: value for field, value in given.items() if field not in ENTRY_WORDS}
                yield NamedValue(f"{path}.{place}", key, names, at, fields)
                yield from _weights(f"{at}.weights", given.get("weights"))


def _weights(path: str, given: Any) -> Iterator[NamedValue]:
    """The weights of an entry of the objective: a name, {name: options} of all, or a list of both."""
    if isinstance(given, list | tuple):
        for place, item in enumerate(given):
            yield from _weights(f"{path}.{place}", item)
    elif isinstance(given, str | Mapping):
        for key, options in ({given: {}} if isinstance(given, str) else given).items():
            yield NamedValue(path, str(key), Names(WeightRecord), f"{path}.{key}", options or {})


def custom_values(config: Section, within: str = "") -> dict[str, str]:
    """The code that a config names: value -> hash of the file that it would run. Runs nothing. within: how the paths of those
    that are wanted begin.

    Kept beside a run, compared at resume with `burnish.registry.differences`.
    """
    named = [one for one in named_values(config) if one.path.startswith(within)]
    values = {one.value: custom_hash(one.value) for one in named if is_custom(one.value)}
    return values | dict(pair for one in named for pair in _in_options(one.options))


def _in_options(options: Any) -> Iterator[tuple[str, str]]:
    """Code that options name, such as the tools of an environment. A text that only looks like code is none: there is no such
    file or module."""
    if isinstance(options, Mapping | list | tuple):
        for item in options.values() if isinstance(options, Mapping) else options:
            yield from _in_options(item)
    elif isinstance(options, str) and is_custom(options):
        with suppress(PluginError):
            yield options, custom_hash(options)
