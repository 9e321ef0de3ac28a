"""Lookup: from a name to its record and from a record to the object. Knows no tensor; imports a target when it is asked for.

In: the plugins that discovery found. Out: records, objects, and errors that say what exists, what is near and what failed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import pluggy

from burnish.errors import PluginError, did_you_mean, raised
from burnish.registry.custom import attribute_of, import_custom, is_custom
from burnish.registry.discovery import PluginInfo, disabled_names, discover, new_manager
from burnish.registry.records import Record

R = TypeVar("R", bound=Record)


class Registry:
    """All installed plugins and what they provide. The same installation gives the same registry in every process.

    hook: pluggy's caller, for observers. run_code: whether values that name code (`module:attr`, `./file.py:attr`) may be run;
    only `train` and `plugins check` say yes. disabled: names of plugins that were left out on request.
    """

    def __init__(
        self, plugins: Iterable[PluginInfo], hook: pluggy.HookRelay, *, run_code: bool = False, disabled: Iterable[str] = ()
    ) -> None:
        self.plugins = tuple(plugins)
        self.hook = hook
        self.run_code = run_code
        self.disabled = tuple(sorted(disabled))
        self._providers: dict[tuple[type[Record], str], list[tuple[PluginInfo, Record]]] = {}
        for plugin in self.plugins:
            for record in plugin.records:
                self._providers.setdefault((type(record), record.name), []).append((plugin, record))

    def records(self, kind: type[R]) -> tuple[R, ...]:
        """All records of a kind, by name; a name that several plugins claim is left out."""
        unique = (given[0][1] for given in self._providers.values() if len(given) == 1)
        return tuple(sorted((record for record in unique if isinstance(record, kind)), key=lambda record: record.name))

    def get(self, kind: type[R], name: str) -> R:
        """The record of that kind and name; PluginError says what there is, what is near and which plugins failed."""
        given = self._providers.get((kind, name), [])
        if len(given) > 1:
            raise PluginError(_clash(kind, name, given))
        if given and isinstance(record := given[0][1], kind):
            return record
        known = [other for of, other in self._providers if of is kind]
        raise PluginError(f"no {kind.word} named '{name}'. {did_you_mean(name, known)}{self._failures()}")

    def provider(self, record: Record) -> PluginInfo:
        """The plugin that gave the record."""
        return next(plugin for plugin, given in self._providers[type(record), record.name] if given is record)

    def resolve(self, record: Record, target: str | None = None) -> Any:
        """The object behind a record (or behind another target of it); PluginError names the plugin that cannot be imported."""
        module, _, attribute = (target or record.target).partition(":")
        what = f"{record.word} '{record.name}' of {self.provider(record).provider} ({module}:{attribute})"
        try:
            imported = importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{what} cannot be imported: {raised(error)}") from error
        return attribute_of(imported, attribute, what)

    def custom(self, value: str) -> Any:
        """The object that `module:attr` or `./file.py:attr` names; PluginError where this command does not run code."""
        if not self.run_code:
            raise PluginError(
                f"'{value}' is code named by a config, and only `burnish train` and `burnish plugins check` run such code. "
                "Make it a plugin to use it everywhere."
            )
        return import_custom(value)

    def find(self, kind: type[Record], value: str) -> Any:
        """The object that a config value names: custom code, or the target of the record of that name."""
        return self.custom(value) if is_custom(value) else self.resolve(self.get(kind, value))

    def fingerprint(self) -> dict[str, dict[str, str]]:
        """What identifies the plugin set: name -> distribution, version, hash of the sources, and the error of a failed one."""
        return {
            plugin.name: {"distribution": plugin.distribution, "version": plugin.version, "hash": plugin.hash}
            | ({"error": plugin.error} if plugin.error else {})
            for plugin in self.plugins
        }

    def problems(self) -> Iterator[str]:
        """Every failed plugin and every name that several plugins claim, one sentence each."""
        yield from (f"plugin '{plugin.name}' ({plugin.provider}): {plugin.error}" for plugin in self.plugins if plugin.error)
        yield from (_clash(kind, name, given) for (kind, name), given in self._providers.items() if len(given) > 1)

    def _failures(self) -> str:
        failed = dict.fromkeys(f"{plugin.name} ({plugin.error})" for plugin in self.plugins if plugin.error)
        left_out = f" Disabled: {', '.join(self.disabled)}." if self.disabled else ""
        return left_out + (f" Installed but failed to load: {', '.join(failed)}." if failed else "")


def load(disabled: Iterable[str] = (), *, run_code: bool = False) -> Registry:
    """Find all plugins but the disabled ones; reads `plugin.py` modules only."""
    manager = new_manager()
    blocked = disabled_names(disabled)
    return Registry(discover(manager, blocked), manager.hook, run_code=run_code, disabled=blocked)


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What changed between two fingerprints (of plugins, or of custom code), one line for each name."""
    return [
        f"{name}: {_words(before.get(name))} -> {_words(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(str(part) for part in value.values())
    return "absent" if value is None else str(value)


def _clash(kind: type[Record], name: str, given: list[tuple[PluginInfo, Record]]) -> str:
    providers = ", ".join(f"{plugin.provider} (plugin '{plugin.name}')" for plugin, _ in given)
    return f"several plugins provide a {kind.word} named '{name}': {providers}. Uninstall or disable all but one."
