"""What can be refused from names alone, before anything is imported: unknown names and parts that cannot work together.

In: a config whose keys and types are right, and the registry. Out: one sentence for every reason, each beginning with its path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from burnish.config.custom import NamedValue, named_values
from burnish.config.sections import Sections, SourceSection
from burnish.errors import DataError, PluginError, did_you_mean
from burnish.registry import PAIRINGS, FormatRecord, LossRecord, Registry, custom_hash, is_custom, kind_after, serves

MAIN = "main"


def refusals(config: Sections, registry: Registry) -> Iterator[str]:
    """Every reason not to run this config."""
    for named in named_values(config):
        yield from _unknown(named, registry)
    yield from _misplaced(config)
    yield from _never_deleted(config)
    yield from _other_kinds(config, registry)


def _unknown(named: NamedValue, registry: Registry) -> Iterator[str]:
    """A name that nothing provides, or code that is not there."""
    try:
        if is_custom(named.value):
            custom_hash(named.value)
        elif named.value not in named.names.words and not named.names.open:
            registry.get(named.names.kind, named.value)
    except PluginError as error:
        yield f"{named.path}: {error}"


def _misplaced(config: Sections) -> Iterator[str]:
    """Entries of the objective that read a source which the data does not have."""
    for place, name, options in _entries(config):
        source = options.get("source", MAIN)
        if config.data and isinstance(source, str) and source not in config.data:
            yield f"objective.{place}.{name}: no data source is named '{source}'. {did_you_mean(source, config.data)}"


def _never_deleted(config: Sections) -> Iterator[str]:
    """A journal that is to be shortened, in a run that without a checkpoint needs all of it to begin anew."""
    if config.rollout is not None and config.rollout.keep is not None and config.checkpoint.every is None:
        yield "rollout.keep: what no checkpoint needs is deleted when one is written; let `checkpoint.every` be a number"


def _other_kinds(config: Sections, registry: Registry) -> Iterator[str]:
    """Entries that read one source and need rows of different kinds, or of another kind than the source's format gives."""
    needs: dict[str, dict[str, str]] = {}
    records = {record.name: record for record in registry.records(LossRecord)}
    for _, name, options in _entries(config):
        if name in records:
            needs.setdefault(str(options.get("source", MAIN)), {}).setdefault(records[name].data, name)
    formats = {record.name: record.kind for record in registry.records(FormatRecord)}
    for source, losses in needs.items():
        section = config.data.get(source)
        try:
            played = config.rollout is not None and source in config.rollout.sources
            made = "trajectory" if config.rollout is None or config.rollout.pairs is None else "preference"
            given = made if played else _kind(section, formats) if section else None
        except DataError as error:
            yield f"data.{source}.{error}"
            continue
        if not any(all(serves(kind, need) for need in losses) for kind in ([given] if given else losses)):
            wanted = " and ".join(f"'{name}' needs {need} rows" for need, name in losses.items() if need != "sequence")
            found = f", which holds {given} rows" if given else ""
            yield f"objective: {wanted} of the data source '{source}'{found}. Give each kind its own `source: NAME`"


def _kind(section: SourceSection, formats: Mapping[str, str]) -> str | None:
    """The kind of a source's examples, None where that is found out from its rows."""
    if section.format in formats:
        return kind_after(section.pairing, formats[section.format])
    return None if section.pairing is None else next(iter(PAIRINGS[section.pairing].values()))


def _entries(config: Sections) -> Iterator[tuple[int, str, dict[str, object]]]:
    for place, entry in enumerate(config.objective):
        for name, options in entry.items():
            yield place, name, options
