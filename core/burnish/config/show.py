"""A checked config as YAML, each value with where it came from. Out: text that `load_config` reads back to the same config."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from burnish.config.load import Config
from burnish.config.reading import plain_scalar

SAFE = re.compile(r"[\w./~][\w./@+~-]*([: ][\w./@+~-]+)*")
OLD_WORDS = {"y", "n", "yes", "no", "on", "off"}
INDENT = "  "


def to_yaml(config: Config) -> str:
    """Every value of the config, the defaults too."""
    lines = list(_lines(config.model_dump(mode="json"), "", "", config))
    width = min(60, max(len(text) for text, _ in lines))
    return "".join(f"{text:<{width}}  # {origin}\n" if origin else f"{text}\n" for text, origin in lines)


def _lines(value: dict[str, Any] | list[Any], path: str, indent: str, config: Config) -> Iterator[tuple[str, str]]:
    """Lines of a mapping or list, each with its origin where it holds a value."""
    is_list = isinstance(value, list)
    for key, item in enumerate(value) if isinstance(value, list) else value.items():
        at = f"{path}.{key}" if path else str(key)
        head = f"{indent}-" if is_list else f"{indent}{_scalar(key)}:"
        if not isinstance(item, dict | list) or not item:
            yield f"{head} {_scalar(item)}", config.origin(at)
            continue
        below = list(_lines(item, at, indent + INDENT, config))
        if is_list:  # the first line of an item stands beside its dash
            text, origin = below[0]
            below[0] = (f"{head} {text.removeprefix(indent + INDENT)}", origin)
        else:
            yield head, ""
        yield from below


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        as_is = SAFE.fullmatch(value) and plain_scalar(value) == value and value.lower() not in OLD_WORDS
        return value if as_is else yaml.safe_dump(value, default_style='"', allow_unicode=True, width=sys.maxsize).rstrip("\n")
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value)


def _float(value: float) -> str:
    """YAML 1.1 takes 1e-05 for text, so it is written 1.0e-05."""
    if value != value or value in (float("inf"), float("-inf")):
        return repr(value).replace("inf", ".inf").replace("nan", ".nan")
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text
