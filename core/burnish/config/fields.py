"""The kinds of field that sections are made of: strict numbers, lists that may be written short, names of registered things.

Knows nothing of any section. Types are strict: text is no number, a truth value is no count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from burnish.registry.records import Record

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Options = dict[str, Any]
T = TypeVar("T")
Many = Annotated[tuple[T, ...], Strict(False)]  # a list in YAML, immutable here


class Section(BaseModel):
    """A part of the config: immutable, strict, without unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",  # not null
    )


@dataclass(frozen=True)
class Names:
    """Marks a field whose values name records of this kind, or code. words: what else it may hold, a word with a meaning of its
    own; with `open`, any other text (a path, a hub id)."""

    kind: type[Record]
    words: tuple[str, ...] = ()
    open: bool = False


class OneOrMany(BeforeValidator):
    """A list, of which one item may stand for the whole and null for none."""

    def __init__(self) -> None:
        super().__init__(_as_list)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed = handler(core)
        return {"anyOf": [listed, listed["items"], {"type": "null"}]}


def _as_list(value: Any) -> Any:
    if value is None:
        return []
    return [value] if isinstance(value, str | Mapping) else value


def _as_named(value: Any) -> Any:
    """In a list of {name: options}, `name` and {name: null} stand for {name: {}}."""
    if not isinstance(value, list | tuple):
        return value
    items: list[Any] = []
    for item in value:
        if isinstance(item, str):
            item = {item: {}}
        if isinstance(item, Mapping):
            if len(item) != 1:
                raise ValueError(f"each item is one name with its options, such as {{dpo: {{beta: 0.1}}}}, found {dict(item)}")
            item = {name: {} if options is None else options for name, options in item.items()}
        items.append(item)
    return items


def _as_one(value: Any) -> Any:
    """A name, or {name: options}, as the latter."""
    given = {value: {}} if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        return value
    if len(given) != 1:
        raise ValueError(f"one name with its options, such as {{group: {{scale: none}}}}, found {dict(given)}")
    return {name: {} if options is None else options for name, options in given.items()}


NamedOption = Annotated[dict[str, Options], BeforeValidator(_as_one)]
NamedOptions = Annotated[Many[dict[str, T]], BeforeValidator(_as_named)]
