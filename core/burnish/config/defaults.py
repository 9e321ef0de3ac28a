"""The options of registered plugins: those given are checked, those not given are written down. Imports the plugins' targets.

In: a checked config and the registry. Out: the config with every option that its losses, weights, rewards and sources take, so
that a later release with other defaults changes no run. Code that the config names is left alone.
"""

from __future__ import annotations

from burnish.config.custom import NamedValue, named_values
from burnish.config.load import Config
from burnish.config.options import check_options, defaults, takes_options
from burnish.config.sections import ENTRY_WORDS
from burnish.errors import ConfigError
from burnish.registry import LossRecord, Record, Registry, is_custom


def with_plugin_options(config: Config, registry: Registry) -> Config:
    """`config` with the plugins' own defaults filled in. ConfigError with every option that is unknown or of a wrong type."""
    filled, wrong = config, []
    for named in named_values(config):
        record = _record(named, registry)
        if record is None or not takes_options(record, target := registry.resolve(record)):
            continue
        given = named.options or {}
        try:
            check_options(target, given, named.at, ENTRY_WORDS if isinstance(record, LossRecord) else ())
        except ConfigError as error:
            wrong.append(str(error))
            continue
        unasked = {f"{named.at}.{key}": value for key, value in defaults(target).items() if key not in given}
        filled = filled.with_values(unasked, f"plugin {registry.provider(record).provider}")
    with config.located():
        if wrong:
            raise ConfigError("\n".join(wrong))
    return filled


def _record(named: NamedValue, registry: Registry) -> Record | None:
    """The record of a value that takes options, where it names one; an open name may be a path instead."""
    if named.options is None or is_custom(named.value):
        return None
    return next((record for record in registry.records(named.names.kind) if record.name == named.value), None)
