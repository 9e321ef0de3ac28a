"""All checks of all that a plugin registers: what `burnish plugins check NAME` runs.

In: what a user names: a plugin, its package or that one's folder, something that it provides, `module:attr`, `./file.py:attr`.
Out: reports.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from burnish.errors import PluginError, nearest
from burnish.registry import (
    AdvantageRecord,
    BackendRecord,
    EnvironmentRecord,
    FormatRecord,
    LossRecord,
    PluginInfo,
    Record,
    Registry,
    RewardRecord,
    WeightRecord,
    is_custom,
)
from burnish.testing.conformance.contract import contract
from burnish.testing.conformance.formats import check_format
from burnish.testing.conformance.losses import check_loss
from burnish.testing.conformance.online import check_advantage, check_backend, check_environment, check_reward
from burnish.testing.conformance.report import Profile, Report
from burnish.testing.conformance.subject import title_of
from burnish.testing.conformance.weights import check_weight

CHECKS: dict[type[Record], Callable[[Any, Profile], Report]] = {
    LossRecord: lambda given, profile: check_loss(given, profile=profile),
    WeightRecord: lambda given, profile: check_weight(given, profile=profile),
    FormatRecord: lambda given, _: check_format(given),
    RewardRecord: lambda given, _: check_reward(given),
    AdvantageRecord: lambda given, _: check_advantage(given),
    BackendRecord: lambda given, _: check_backend(given),
    EnvironmentRecord: lambda given, _: check_environment(given),
}
"""Kinds that there are checks for beyond their contract."""


def check_everything(given: str, registry: Registry, profile: Profile = "fast") -> Iterator[Report]:
    """A report for each thing that `given` names; PluginError when it names nothing."""
    if is_custom(given):
        yield CHECKS[_kind_of(registry.custom(given), given)](given, profile)
        return
    for record in _records(given, registry):
        check = CHECKS.get(type(record))
        if check is None:
            yield Report(title_of(record.word, record.name), (contract(type(record), record.name, registry),))
        else:
            yield check(record.name, profile)


def _records(given: str, registry: Registry) -> list[Record]:
    """What the plugin, the package's folder, or the name itself stands for."""
    modules = _modules_of(Path(given)) if Path(given).is_dir() else frozenset()
    plugins = [
        plugin for plugin in registry.plugins if given in (plugin.name, plugin.distribution) or plugin.module in modules
    ]
    for plugin in plugins:
        if plugin.error:
            raise PluginError(f"plugin '{plugin.name}' ({plugin.provider}) cannot be loaded: {plugin.error}")
    if plugins:
        return [record for plugin in plugins for record in plugin.records]
    if modules:
        raise PluginError(f"the package in {given} is not installed: pip install -e {given}")
    found = [record for plugin in registry.plugins for record in plugin.records if record.name == given]
    if not found:
        raise PluginError(_unknown(given, registry.plugins))
    return found


def _modules_of(folder: Path) -> frozenset[str]:
    """The modules that a package's folder declares as plugins."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        modules = frozenset(project["project"]["entry-points"]["burnish"].values())
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise PluginError(f"{folder} is no package of a plugin: its pyproject.toml has no entry points `burnish`") from error
    return modules


def _unknown(given: str, plugins: tuple[PluginInfo, ...]) -> str:
    known = {record.name for plugin in plugins for record in plugin.records} | {plugin.name for plugin in plugins}
    near = nearest(given, known)
    hint = f" Did you mean '{near}'?" if near else ""
    return f"no plugin, nothing of one and no package's folder is named '{given}'.{hint} `burnish plugins list` names them all."


def _kind_of(target: Any, given: str) -> type[Record]:
    """What a piece of code is meant to be, by its members."""
    if hasattr(target, "sniff") and hasattr(target, "convert"):
        return FormatRecord
    if hasattr(target, "generate") and hasattr(target, "update"):
        return BackendRecord
    call = target if inspect.isroutine(target) else vars(target if inspect.isclass(target) else type(target)).get("__call__")
    parameters = inspect.signature(call).parameters if call is not None else {}
    if "batch" in parameters:  # a weight looks like a loss, but its degenerate cases are of `w`
        return WeightRecord if ">>> w(" in (target.__doc__ or "") else LossRecord
    if "completions" in parameters or "prompts" in parameters:
        return RewardRecord
    if {"task", "generate"} <= parameters.keys():
        return EnvironmentRecord
    if "groups" in parameters:
        return AdvantageRecord
    raise PluginError(f"'{given}' is neither a loss nor a weight, format, reward, advantage, backend or environment")
