"""Rewards for the form of a completion, whatever it says. In: completions. Out: 1 or 0 each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from burnish.errors import RewardError
from burnish.rollout.prompts import text_of

FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Tags:
    """1 where a completion begins with the first tag, and each tag opens once and closes once, one after the other; else 0.

    `<think>...</think>` and what follows it, for `tags: [think]`. Space before, between and after tags does not matter.
    """

    tags: tuple[str, ...] = ("think",)
    """Names of tags, in order."""
    only: bool = False
    """Whether there may be nothing between and after the tags."""

    def __post_init__(self) -> None:
        wrong = [tag for tag in self.tags if not re.fullmatch(r"[\w-]+", tag)]
        if wrong or not self.tags or len(set(self.tags)) < len(self.tags):
            raise ValueError(f"tags must be different names such as 'think', got {list(self.tags)}")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pieces = [f"<{tag}>.*?</{tag}>" for tag in self.tags]
        rest = r"\s*" if self.only else ".*?"
        return re.compile(r"\s*" + rest.join(pieces) + (r"\s*" if self.only else ".*"), re.DOTALL)

    def __call__(self, completions: Sequence[Any], **_: Any) -> list[float]:
        """One number per completion."""
        return [float(self._kept(text_of(said))) for said in completions]

    def _kept(self, text: str) -> bool:
        marks = [mark for tag in self.tags for mark in (f"<{tag}>", f"</{tag}>")]
        places = [text.find(mark) for mark in marks]
        once = all(text.count(mark) == 1 for mark in marks)
        return once and places == sorted(places) and self._pattern.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Regex:
    """1 where a completion matches a regular expression, else 0; a dot matches line breaks, too."""

    pattern: str
    """As Python writes it."""
    anywhere: bool = False
    """Whether a part that matches is enough; else the whole completion must, apart from space around it."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is not a regular expression: {error}") from error

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.DOTALL)

    def __call__(self, completions: Sequence[Any], **_: Any) -> list[float]:
        """One number per completion."""
        match = self._compiled.search if self.anywhere else self._compiled.fullmatch
        return [float(match(text_of(said).strip()) is not None) for said in completions]


@dataclass(frozen=True, kw_only=True)
class Json:
    """1 where a completion, or the one fenced block in it, is JSON that keeps to a schema, else 0.

    The schema is the row's `schema` (a mapping, or JSON text), else the one given here; without any, all JSON will do.
    References are resolved within the schema and to the published drafts; nothing is fetched.
    """

    schema: Mapping[str, Any] | None = None
    """A JSON Schema."""

    def __post_init__(self) -> None:
        if self.schema is not None:
            _validator(self.schema)

    def __call__(self, completions: Sequence[Any], schema: Sequence[Any] | None = None, **_: Any) -> list[float]:
        """One number per completion."""
        rows = schema if schema is not None else [None] * len(completions)
        return [float(self._kept(text_of(said), row)) for said, row in zip(completions, rows, strict=True)]

    def _kept(self, text: str, row: Any) -> bool:
        blocks = FENCED.findall(text)
        try:
            value = json.loads(blocks[0] if len(blocks) == 1 else text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
        schema = self.schema if row is None else json.loads(row) if isinstance(row, str) else row
        try:
            return schema is None or bool(_validator(schema).is_valid(value))
        except (RecursionError, OverflowError):  # too deep for a schema that repeats itself; a number too large, as 1e999
            return False


def _validator(schema: Mapping[str, Any]) -> Any:
    from jsonschema import SchemaError, validators
    from jsonschema_specifications import REGISTRY

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise RewardError(f"this is no JSON Schema: {error.message} (at {error.json_path})") from error
    return kind(schema, registry=REGISTRY)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")  # Python would take NaN and Infinity
