"""YAML into a tree whose every value knows its line. Knows YAML 1.2's plain scalars and nothing of what the keys mean.

PyYAML follows YAML 1.1, where the key `on` is true, `1e-5` is text, `1:30` is 90 and 2024-01-01 is a date; a config has `on:
chosen` and `lr: 1e-5`, so scalars are read here by the rules of the core schema of YAML 1.2. A repeated key is an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from burnish.config.tree import Node, anchored, mark
from burnish.errors import ConfigError

WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}
INTEGER = re.compile(r"[-+]?[0-9]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
PLAIN_TAG = re.compile(r"tag:yaml\.org,2002:[a-z]+")
NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)


def read_file(path: Path) -> Node:
    """The tree of a YAML file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(other.name for other in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        hint = f" {path.absolute().parent} holds {', '.join(near)}." if near else ""
        raise ConfigError(f"there is no config file {path}.{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config file {path} cannot be read: {error}") from error
    node = _compose(text, str(path))
    tree = _Reader(str(path), path.absolute().parent).tree(node) if node else Node({}, str(path))
    if not isinstance(tree.value, dict):
        raise ConfigError(f"{path}: a config is a mapping of sections (model, data, objective, ...), found {tree.plain()!r}")
    return tree


def read_value(text: str, origin: str) -> Node:
    """The tree of one value, as after `key=` on a command line; files named in it are relative to the working directory."""
    node = _compose(text, origin)
    return mark(_Reader(origin, Path.cwd()).tree(node).plain() if node else None, origin)


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f"{name}:{line + 1}" if line is not None else name
        raise ConfigError(f"{place}: not YAML: {getattr(error, 'problem', None) or error}") from error


class _Reader:
    """Nodes of PyYAML into a tree. name: of the file, for origins; folder: where relative files are."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._within: list[yaml.Node] = []

    def tree(self, node: yaml.Node) -> Node:
        """The node with everything below it."""
        origin = f"{self.name}:{node.start_mark.line + 1}"
        if node in self._within:
            raise ConfigError(f"{origin}: an alias refers to what it is part of")
        self._within.append(node)
        try:
            return Node(self._value(node, origin), origin)
        finally:
            self._within.pop()

    def _value(self, node: yaml.Node, origin: str) -> Any:
        if not PLAIN_TAG.fullmatch(node.tag):
            raise ConfigError(f"{origin}: a config is plain data, found the tag {node.tag}")
        if isinstance(node, ScalarNode):
            return anchored(_scalar(node), self.folder)
        if isinstance(node, SequenceNode):
            return [self.tree(item) for item in node.value]
        assert isinstance(node, MappingNode)
        found: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, item in node.value:
            place = f"{self.name}:{key_node.start_mark.line + 1}"
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str) or not key:
                raise ConfigError(f"{place}: a key must be text")
            if key == "<<" and key_node.style is None:
                merged |= self._merged(item)
            elif (key := anchored(key, self.folder)) in found:
                raise ConfigError(f"{place}: {key}: said twice, first at {found[key].origin}")
            else:
                found[key] = self._at_key(item, place)
        return {**merged, **found}

    def _at_key(self, item: yaml.Node, place: str) -> Node:
        """A value's place is its key's line, where a reader looks for it."""
        return Node(self.tree(item).value, place)

    def _merged(self, item: yaml.Node) -> dict[str, Node]:
        """What `<<: *base` brings in; of several, the first that has a key wins."""
        merged: dict[str, Node] = {}
        for part in [self.tree(each) for each in (item.value if isinstance(item, SequenceNode) else [item])]:
            if not isinstance(part.value, dict):
                raise ConfigError(f"{part.origin}: `<<` takes in mappings, found {part.plain()!r}")
            merged = {**part.value, **merged}
        return merged


def _scalar(node: ScalarNode) -> Any:
    return plain_scalar(node.value) if node.style is None else node.value  # quoted or a block: text


def plain_scalar(text: str) -> Any:
    """What a plain scalar means."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if NOT_FINITE.fullmatch(text) else text
