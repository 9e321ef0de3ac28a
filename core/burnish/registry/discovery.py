"""Discovery: from installed distributions to plugins and their records, failing closed. Imports only `plugin.py` modules.

pluggy's own `load_setuptools_entrypoints` loads in directory order, skips a duplicate name silently and dies on one bad import;
this loop is sorted, keeps what failed together with its exception, and blocks before import.
"""

from __future__ import annotations

import inspect
import os
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import pluggy

from burnish import __version__
from burnish.errors import PluginError, did_you_mean
from burnish.registry import builtin, hookspecs
from burnish.registry.hookspecs import PROJECT, RECORD_HOOKS
from burnish.registry.records import Record
from burnish.registry.sources import package_hash

GROUP = "burnish"
DISABLE = "BURNISH_DISABLE_PLUGINS"


@dataclass(frozen=True)
class PluginInfo:
    """An installed plugin. error: why it cannot be used, None for a working one; trace: the traceback of that error."""

    name: str
    distribution: str
    version: str
    module: str
    records: tuple[Record, ...] = ()
    observes: tuple[str, ...] = ()
    error: str | None = None
    trace: str = field(default="", repr=False, compare=False)

    @property
    def provider(self) -> str:
        """Distribution and version, as messages name it."""
        return f"{self.distribution} {self.version}"

    @property
    def hash(self) -> str:
        """Hash of the sources that the plugin's package and targets lie in, found without importing them."""
        return package_hash(self.module, [record.target for record in self.records])


def new_manager() -> pluggy.PluginManager:
    """A plugin manager that knows every hook and no plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def disabled_names(disabled: Iterable[str]) -> frozenset[str]:
    """The plugins to block: those given and those in BURNISH_DISABLE_PLUGINS (names, separated by commas)."""
    listed = (name.strip() for name in os.environ.get(DISABLE, "").split(","))
    return frozenset(disabled) | {name for name in listed if name}


def discover(manager: pluggy.PluginManager, disabled: Iterable[str] = ()) -> list[PluginInfo]:
    """Register the core's own records and every installed plugin with `manager`, in order of name.

    PluginError when `disabled` names a plugin that is not installed: a misspelt name would leave one running.
    """
    found = ((point, *_distribution(point)) for point in entry_points(group=GROUP))
    points = sorted(found, key=lambda one: (one[0].name, one[1:]))
    counts = Counter(point.name for point, _, _ in points)
    blocked = disabled_names(disabled)
    if unknown := sorted(blocked - counts.keys()):
        raise PluginError(f"cannot disable plugin '{unknown[0]}': it is not installed. {did_you_mean(unknown[0], counts)}")
    plugins = [_register(manager, builtin, PluginInfo("burnish", "burnish", __version__, builtin.__name__))]
    for point, distribution, version in points:
        if point.name in blocked:
            continue
        info = PluginInfo(point.name, distribution, version, point.module)
        try:
            if counts[point.name] > 1:
                both = ", ".join(" ".join(which) for other, *which in points if other.name == point.name)
                raise PluginError(f"several distributions provide a plugin '{point.name}': {both}. Uninstall all but one.")
            plugins.append(_register(manager, point.load(), info))
        except (Exception, SystemExit) as error:
            plugins.append(_failed(info, error))
    return plugins


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Name and version; reads a file, so it is asked once."""
    if point.dist is None:
        return "unknown distribution", "?"
    about = point.dist.metadata
    return about["Name"], about["Version"]


def _failed(info: PluginInfo, error: BaseException) -> PluginInfo:
    trace = "".join(traceback.format_exception(error))
    return PluginInfo(
        info.name, info.distribution, info.version, info.module, error=f"{type(error).__name__}: {error}", trace=trace
    )


def _register(manager: pluggy.PluginManager, module: object, info: PluginInfo) -> PluginInfo:
    """Register one plugin and collect its records; whatever goes wrong, it leaves no hook behind."""
    if not isinstance(module, ModuleType):
        raise PluginError(f"the entry point must name a module, such as burnish_NAME.plugin, not a {type(module).__name__}.")
    _require_marks(manager, module)
    try:
        manager.register(module, name=info.name)
        manager.check_pending()
        records = tuple(_records(manager, module))
    except BaseException:
        manager.unregister(name=info.name)
        raise
    hooks = [caller.name for caller in manager.get_hookcallers(module) or ()]
    if not hooks:
        manager.unregister(name=info.name)
        raise PluginError(f"{module.__name__} implements no hook: mark one of {', '.join(RECORD_HOOKS)} with @hookimpl.")
    observes = tuple(sorted(set(hooks) - RECORD_HOOKS.keys()))
    return PluginInfo(info.name, info.distribution, info.version, info.module, records, observes)


def _require_marks(manager: pluggy.PluginManager, module: ModuleType) -> None:
    """pluggy passes over a hook without its mark in silence."""
    for name, value in vars(module).items():
        own = inspect.isfunction(value) and value.__module__ == module.__name__
        if own and name.startswith("burnish_") and manager.parse_hookimpl_opts(module, name) is None:
            raise PluginError(f"{module.__name__}.{name} is not marked with @hookimpl, so it would never be called.")


def _records(manager: pluggy.PluginManager, module: ModuleType) -> Iterator[Record]:
    for hook, kind in RECORD_HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin is not module:
                continue
            given = implementation.function()
            if not isinstance(given, list | tuple):
                raise PluginError(f"{hook} must return a list of {kind.__name__}, got a {type(given).__name__}.")
            for record in given:
                if type(record) is not kind:
                    raise PluginError(f"{hook} must return {kind.__name__} items, got a {type(record).__name__}.")
                yield record
