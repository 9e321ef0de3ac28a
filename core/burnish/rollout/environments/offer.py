"""Tools: python functions, sync or async, with type hints. In: a function. Out: its schema, and answers to calls of it.

A tool that raises, or is called wrongly, answers with the error in words: the policy reads it and goes on. What cannot be
reached (ConnectionError) is nobody's mistake and ends the episode. Knows no model and no token.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from burnish.errors import ConfigError, did_you_mean
from burnish.rollout.waiting import in_thread

WORDS = {"None": None, "True": True, "False": False}


@dataclass(frozen=True)
class Answer:
    """What a call came to. failed: the text is an error."""

    text: str
    failed: bool = False


@dataclass(frozen=True)
class Tool:
    """A function that the policy may call. schema: as chat templates take it. arguments: checks and converts them."""

    name: str
    function: Callable[..., Any]
    schema: Mapping[str, Any]
    arguments: type[BaseModel]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        """From its signature and docstring. ConfigError for one that the policy could not call by names."""
        name = getattr(function, "__name__", type(function).__name__)
        said, of_parameters = _described(inspect.getdoc(function) or "")
        fields: dict[str, Any] = {}
        for parameter in _signature(function, name).parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ConfigError(f"tool '{name}': a tool is called by the names of its parameters; `{parameter}` has none")
            if parameter.annotation is parameter.empty:
                raise ConfigError(f"tool '{name}': the parameter `{parameter.name}` has no type hint, so it has no schema")
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (parameter.annotation, Field(default, description=of_parameters.get(parameter.name)))
        try:
            arguments = create_model(name, __config__=ConfigDict(extra="forbid", protected_namespaces=()), **fields)
            parameters = _without_titles(arguments.model_json_schema())
        except Exception as error:  # pydantic raises many kinds for types that have no schema
            raise ConfigError(f"tool '{name}': no schema can be made of its type hints: {error}") from error
        parameters.pop("additionalProperties", None)
        parameters.setdefault("properties", {})
        described = {"name": name, "description": said, "parameters": parameters}
        return cls(name, function, {"type": "function", "function": described}, arguments)

    async def __call__(self, given: Mapping[str, Any], time_limit: float | None = None, longest: int | None = None) -> Answer:
        """One call. time_limit: seconds; longest: characters of an answer, the rest is cut."""
        try:
            checked = self._checked(dict(given))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            return Answer(f"Error: {self.name} was called with wrong arguments: {wrong}", failed=True)
        values = {name: getattr(checked, name) for name in self.arguments.model_fields}
        try:
            answer = await asyncio.wait_for(called(partial(self.function, **values)), time_limit)
        except TimeoutError:
            return Answer(f"Error: {self.name} took longer than {time_limit or 0:g} s", failed=True)
        except ConnectionError:
            raise
        except Exception as error:  # the policy's to hear, whatever it is
            return Answer(shortened(f"Error: {type(error).__name__}: {error}", longest), failed=True)
        return Answer(shortened(as_text(answer), longest))


    def _checked(self, given: dict[str, Any]) -> BaseModel:
        """The arguments as the type hints want them; a text that cannot be one is what it says: JSON, or a word of Python's."""
        try:
            return self.arguments.model_validate(given)
        except ValidationError as error:
            wrong = {one["loc"][0] for one in error.errors() if one["loc"]}
            read = {name: _read(value) if name in wrong else value for name, value in given.items()}
            if read == given:
                raise
        return self.arguments.model_validate(read)


async def called(function: Callable[[], Any]) -> Any:
    """What a function gives, sync (in a thread, so that it can be waited for) or async."""
    inner = function.func if isinstance(function, partial) else function
    if inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None)):  # noqa: B004
        return await function()
    answer = await in_thread(function)
    return await answer if inspect.isawaitable(answer) else answer


def as_text(answer: Any) -> str:
    """What the policy reads of a tool's answer: text as it is, anything else as JSON."""
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, default=str)


def shortened(text: str, longest: int | None) -> str:
    """The text, or its beginning and how much is missing."""
    return text if longest is None or len(text) <= longest else f"{text[:longest]}... ({len(text) - longest} more characters)"


def by_name(tools: Iterable[Tool]) -> dict[str, Tool]:
    """Tools by their names. ConfigError for two of one name."""
    found: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in found:
            raise ConfigError(f"two tools are called '{tool.name}'; the policy could not tell them apart")
        found[tool.name] = tool
    return found


def unknown(name: str, tools: Iterable[str]) -> Answer:
    """The answer to a call of a tool that is not there."""
    return Answer(f"Error: no tool is called '{name}'. {did_you_mean(name, tools)}", failed=True)


def _read(value: Any) -> Any:
    """What a text says, where it says something; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return WORDS[value] if value in WORDS else json.loads(value)
    except (ValueError, RecursionError):
        return value


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError as error:
        raise ConfigError(f"tool '{name}': a type hint names what is not there: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"tool '{name}' is not a function with a signature: {error}") from error


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of its parameters where it has a section `Args:`."""
    said, _, rest = docstring.partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", rest)[0]
    parts = re.split(r"^\s*(\w+)(?:\s*\([^)]*\))?:\s*", section, flags=re.MULTILINE)[1:]
    texts = {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}
    return re.split(r"\n(?:Returns|Raises):", said)[0].strip(), texts


def _without_titles(schema: Any) -> Any:
    """A schema without the titles that pydantic makes up."""
    if isinstance(schema, list):
        return [_without_titles(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: one for name, one in schema.items() if not (name == "title" and isinstance(one, str))}
    return {name: _without_titles(one) for name, one in kept.items()}
