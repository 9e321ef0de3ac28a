"""What pydantic found wrong, in words a user can act on: the key as the file has it, what was found, what is near.

In: a validation error, the plain values it is about and the model that refused them. Out: (path, sentence) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from burnish.errors import did_you_mean

_KEYS = "should be a mapping, `key: value`"
_LIST = "should be a list, `[one, another]`"
PLAIN = {"model_type": _KEYS, "dict_type": _KEYS, "tuple_type": _LIST, "list_type": _LIST}
"""pydantic's kinds of error that it words for programmers."""


def explain(
    error: ValidationError,
    values: Any,
    model: type[BaseModel],
    also: Sequence[str] = (),
    elsewhere: Callable[[str], str | None] = lambda key: None,
) -> list[tuple[str, str]]:
    """One sentence per path, in the order of the model. also: words that are allowed besides the model's keys. elsewhere: a
    sentence about a key that other tools have."""
    found: dict[str, list[str]] = {}
    inputs: dict[str, str] = {}
    for each in error.errors(include_url=False):
        location, kind = each["loc"], each["type"]
        path = ".".join(_within(values, location, keep_last=kind == "missing"))
        message = PLAIN.get(kind) or each["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
        if kind == "extra_forbidden":
            key = str(location[-1])
            message = f"unknown key. {elsewhere(key) or _where_instead(key, location, model, also)}"
        elif kind == "missing":
            message = "is required, and missing"
        elif kind != "value_error":
            inputs[path] = repr(each["input"])
        if message not in found.setdefault(path, []):
            found[path].append(message.removeprefix("should be ") if found[path] else message)
    return [(path, " or ".join(said) + (f", found {inputs[path]}" if path in inputs else "")) for path, said in found.items()]


def known_keys(model: type[BaseModel]) -> list[str]:
    """The keys of a section, as a file writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _within(values: Any, location: tuple[int | str, ...], keep_last: bool) -> Iterator[str]:
    """The parts of a location that the values have; pydantic also names the branches of a union and normalised lists."""
    for place, part in enumerate(location):
        is_key = isinstance(values, dict) and part in values
        if is_key or (isinstance(values, list) and isinstance(part, int) and part < len(values)):
            values = values[part]
        elif not (keep_last and place == len(location) - 1):
            continue
        yield str(part)


def _where_instead(key: str, location: tuple[int | str, ...], model: type[BaseModel], also: Sequence[str]) -> str:
    """The nearest key of the same section, or the section that has this very key."""
    section = model
    for part in location[:-1]:
        section = sections_in(section).get(str(part), section)
    keys = known_keys(section)
    passed_on = f" Options of its own stand under `options`, as in `options: {{{key}: ...}}`." if "options" in keys else ""
    homes = [name for name, other in sections_in(model).items() if key in known_keys(other)]
    if len(homes) == 1 and section is not model:
        return f"Did you mean '{homes[0]}.{key}'?{passed_on}"
    return did_you_mean(key, [*keys, *also]) + passed_on


def sections_in(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Fields that hold sections, themselves or in lists, mappings and unions."""
    return {
        name: section for name, field in model.model_fields.items() if (section := _model_in(field.annotation)) is not None
    }


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(chain.from_iterable([_model_in(part)] for part in get_args(annotation) if _model_in(part)), None)
