"""A config before it is checked: plain values, each with where it was said. Knows no section and no plugin.

In: values from a file, a command line, a recipe. Out: one tree, laid over another or changed at a path, and the plain value of
it. A path is dotted: `train.batch_size`, `objective.0.dpo.beta`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError


@dataclass(frozen=True)
class Node:
    """A scalar, {key: Node} or [Node], and its origin (`run.yaml:12`, `recipe rpo`, `override`)."""

    value: Any
    origin: str

    def plain(self) -> Any:
        """The value without origins."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value

    def children(self) -> Iterator[tuple[str, Node]]:
        """Keys (of a list: indices) and what they hold."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from ((str(index), node) for index, node in enumerate(self.value))

    def find(self, path: str) -> tuple[Node, str]:
        """The deepest node on the way to `path`, and what of the path is left; '' when it is all there."""
        for key, node in sorted(self.children(), key=lambda child: -len(child[0])):  # a key may hold dots: the longest wins
            if path == key:
                return node, ""
            if path.startswith(f"{key}."):
                return node.find(path[len(key) + 1 :])
        if path.startswith("0.") and isinstance(self.value, dict):  # one item that stands for a list of it
            return self.find(path[2:])
        return self, path

    def get(self, path: str) -> Node | None:
        """The node at `path`, if there is one."""
        node, rest = self.find(path)
        return None if rest else node

    def origin_of(self, path: str) -> str:
        """Where the value at `path` was said; `default` when nowhere."""
        node, rest = self.find(path)
        return "default" if rest and isinstance(node.value, dict) else node.origin

    def set(self, path: str, new: Node, within: str = "") -> Node:
        """A copy with `new` at `path`; mappings are made on the way. ConfigError where a list or scalar is in the way."""
        for key, node in sorted(self.children(), key=lambda child: -len(child[0])):
            if path == key or path.startswith(f"{key}."):
                rest = path[len(key) + 1 :]
                changed = node.set(rest, new, f"{within}{key}.") if rest else new
                return Node(self._with(key, changed), self.origin)
        if isinstance(self.value, list):
            raise ConfigError(f"{within}{path}: '{within.rstrip('.')}' is a list of {len(self.value)}; its items count from 0")
        key, _, rest = path.partition(".")
        if rest and self.value == key:  # a name alone stands for {name: {}}
            return Node({key: Node({}, self.origin).set(rest, new, f"{within}{key}.")}, self.origin)
        if not isinstance(self.value, dict) and self.value is not None:
            raise ConfigError(f"{within}{path}: '{within.rstrip('.')}' is {self.value!r}, which has no keys")
        return Node({**(self.value or {}), key: Node({}, new.origin).set(rest, new) if rest else new}, self.origin)

    def _with(self, key: str, node: Node) -> Any:
        if isinstance(self.value, dict):
            return {**self.value, key: node}
        return [node if str(index) == key else other for index, other in enumerate(self.value)]

    def over(self, base: Node) -> Node:
        """This laid over `base`: mappings are merged, everything else replaces what lies below."""
        if not (isinstance(self.value, dict) and isinstance(base.value, dict)):
            return self
        merged = {key: node.over(base.value[key]) if key in base.value else node for key, node in self.value.items()}
        return Node({**base.value, **merged}, self.origin)


def mark(value: Any, origin: str, folder: Path | None = None) -> Node:
    """Plain values as a tree that all came from `origin`; texts that start with ./ or ../ are relative to `folder`."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{origin}: keys must be text, found {key!r}")
        return Node({anchored(key, folder): mark(item, origin, folder) for key, item in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Node([mark(item, origin, folder) for item in value], origin)
    if isinstance(value, Path):
        return Node(str(value), origin)
    if value is None or isinstance(value, bool | int | float | str):
        return Node(anchored(value, folder), origin)
    raise ConfigError(f"{origin}: a config is plain data, found a {type(value).__name__}; pass live objects to burnish.train")


def anchored(value: Any, folder: Path | None) -> Any:
    """A text that starts with ./ or ../ means a file beside what says it; anything else stays as it is."""
    if isinstance(value, str) and value.startswith(("./", "../")):
        return str(((folder or Path.cwd()) / value).resolve())
    return value


def parse_override(text: str) -> tuple[str, str]:
    """Path and value of `key.path=value`."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip() or path.strip() != path:
        raise ConfigError(f"override '{text}': write key.path=value, such as train.batch_size=8")
    return path, value


