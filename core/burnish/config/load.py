"""From a file, overrides and recipes to a checked config that knows where every value came from.

In: a YAML file or a mapping, and `key.path=value` texts. Out: `Config`, or one `ConfigError` with everything that is wrong.
Imports no loss and runs no code that a config names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationError

from burnish.config import recipes
from burnish.config.messages import explain
from burnish.config.reading import read_file, read_value
from burnish.config.refusals import refusals
from burnish.config.sections import Sections
from burnish.config.tree import Node, mark, parse_override
from burnish.config.trl_names import instead
from burnish.errors import ConfigError
from burnish.registry import Registry
from burnish.registry import load as load_registry

OVERRIDE = "override"
LEADING_PATH = re.compile(r"(?P<path>[^\s:]+(?:\.py:\w+|:\w+)?[^\s:]*): ")


class Config(Sections):
    """A checked config. `origin(path)` says where a value came from; values resolved later are added with `with_values`."""

    _tree: Node = PrivateAttr(default=Node({}, "default"))

    def __eq__(self, other: object) -> bool:
        """The same values, wherever they came from."""
        return isinstance(other, Config) and self.model_dump() == other.model_dump()

    def origin(self, path: str) -> str:
        """Where the value at a dotted path came from: `default`, `run.yaml:12`, `recipe rpo`, `override`, `plugin ...`."""
        return self._tree.origin_of(path)

    def with_values(self, values: Mapping[str, Any], origin: str) -> Config:
        """A config in which the values at these dotted paths are others, said to come from `origin`."""
        tree = self._tree
        for path, value in values.items():
            tree = tree.set(path, mark(value, origin))
        return _checked(tree)

    @contextmanager
    def located(self) -> Iterator[None]:
        """Within it, a ConfigError that begins with a path (`objective.0.dpo.beta: ...`) also says where that stands."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError("\n".join(self._locate(line) for line in str(error).splitlines())) from error

    def _locate(self, line: str) -> str:
        match = LEADING_PATH.match(line)
        root = match["path"].partition(".")[0] if match else ""
        if match is None or root not in type(self).model_fields:
            return line
        node, _ = self._tree.find(match["path"])
        return f"{node.origin}: {line}"


def load_config(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
    given: Mapping[str, Any] | None = None,
) -> Config:
    """Read, expand and check a config.

    source: a YAML file, or a mapping of the same shape. overrides: `key.path=value`, later ones win. registry: the plugins to
    look names up in; by default, and where it has one that the config disables, all but the disabled ones. given: what
    stands at these paths where the config says nothing, since a live object takes its place. ConfigError says every unknown
    key, wrong type, unknown name and impossible combination, with file and line.
    """
    if isinstance(source, Mapping):
        tree, stem = mark(source, "the given config"), "run"
    else:
        tree, stem = read_file(Path(source)), Path(source).stem
    changes = [(path, _overriding(path, value)) for path, value in map(parse_override, overrides)]
    # A recipe lies below the file, and other overrides above what it gives: `objective.0.dpo.beta=1` may be about its list.
    for path, node in changes:
        if path.partition(".")[0] in (recipes.KEY, "plugins"):
            tree = tree.set(path, node)
    disabled = _disabled(tree)
    if registry is None or any(plugin.name in disabled for plugin in registry.plugins):
        registry = load_registry(disabled)
    tree = recipes.expand(tree, registry)
    for path, node in changes:
        if path.partition(".")[0] != recipes.KEY:
            tree = tree.set(path, node)
    for path, value in (given or {}).items():
        if tree.get(path) is None:
            tree = tree.set(path, mark(value, "given"))
    if tree.get("output") is None:
        tree = tree.set("output", Node(f"runs/{stem}", "default"))
    config = _checked(tree)
    if found := list(refusals(config, registry)):
        with config.located():
            raise ConfigError("\n".join(found))
    return config


def _overriding(path: str, text: str) -> Node:
    """The value of an override."""
    try:
        return read_value(text, OVERRIDE)
    except ConfigError as error:
        what = str(error).partition(": ")[2]
        raise ConfigError(f"override '{path}={text}': {what}. A shell parts words at spaces: quote all of it") from error


def _checked(tree: Node) -> Config:
    values = tree.plain()
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        said = explain(error, values, Sections, elsewhere=instead)
        raise ConfigError("\n".join(f"{tree.find(path)[0].origin}: {path}: {what}" for path, what in said)) from None
    config._tree = tree
    return config


def _disabled(tree: Node) -> list[str]:
    """Plugins to leave out, before anything is checked; what is no list of names is refused later."""
    node = tree.get("plugins.disable")
    value = node.plain() if node else []
    return [value] if isinstance(value, str) else [name for name in value or () if isinstance(name, str)]
