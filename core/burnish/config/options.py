"""Options of a plugin's target, checked by its own signature. Knows neither what the target is for nor where the config lies.

In: a dataclass, class or function, and the options that a config gives it. Out: the object, or a `ConfigError` that names the
key.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import to_jsonable_python

from burnish.config.messages import explain
from burnish.errors import ConfigError, PluginError, raised
from burnish.registry.records import Record, RewardRecord

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def takes_options(record: Record, target: Any) -> bool:
    """Whether the parameters of a record's target are its options. A reward that is a function is called with completions; its
    runner knows which of its parameters are options."""
    return inspect.isclass(target) or (inspect.isfunction(target) and not isinstance(record, RewardRecord))


def options_model(target: Callable[..., Any]) -> type[BaseModel]:
    """The options of `target` as a pydantic model: names (as aliases), types and defaults of its parameters.

    A type that exists for type checkers only is not checked; a target that takes any keyword takes any option.
    """
    fields: dict[str, Any] = {}
    said = descriptions(target)
    is_open = False
    for parameter in _parameters(target):
        is_open |= parameter.kind is parameter.VAR_KEYWORD
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            known = parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str)
            # The alias keeps a parameter called `copy` or `json` from hiding a method of the model.
            fields[f"option_{parameter.name}"] = (
                parameter.annotation if known else Any,
                _field(parameter, said.get(parameter.name)),
            )
    config = ConfigDict(
        extra="allow" if is_open else "forbid",
        strict=True,
        arbitrary_types_allowed=True,
        title=getattr(target, "__name__", "options"),
    )
    return create_model("Options", __config__=config, **fields)


def check_options(
    target: Callable[..., Any], options: Mapping[str, Any], where: str, reserved: Sequence[str] = ()
) -> dict[str, Any]:
    """The options with the types that `target` declares. ConfigError names `where.key`, what was found and what is near.

    reserved: words that stand beside the options in the config, for the error only.
    """
    model = options_model(target)
    values = dict(options)
    try:
        checked = model.model_validate_json(json.dumps(values))
    except TypeError as error:
        raise ConfigError(f"{where}: options are plain data: {error}") from None
    except ValidationError as error:
        wrong = explain(error, values, model, reserved)
        raise ConfigError("\n".join(f"{where}{'.' * bool(path)}{path}: {what}" for path, what in wrong)) from None
    given = {key: getattr(checked, f"option_{key}") for key in values if f"option_{key}" in checked.model_fields_set}
    return {**values, **given}


def construct(target: Callable[..., Any], options: Mapping[str, Any], where: str, reserved: Sequence[str] = ()) -> Any:
    """`target(**options)`, with the options checked first; what `target` itself refuses is a ConfigError too."""
    checked = check_options(target, options, where, reserved)
    try:
        return target(**checked)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error
    except Exception as error:
        raise PluginError(f"{where} cannot be made: {raised(error)}") from error


def defaults(target: Callable[..., Any]) -> dict[str, Any]:
    """The options that `target` would take unasked, as a config would write them."""
    unasked = {parameter.name: parameter.default for parameter in _parameters(target)}
    if dataclasses.is_dataclass(target):
        made = {field.name: field.default_factory for field in dataclasses.fields(target)}
        unasked |= {name: make() for name, make in made.items() if make is not dataclasses.MISSING}
    plain = {name: dataclasses.asdict(value) if _is_instance(value) else value for name, value in unasked.items()}
    return {name: to_jsonable_python(value) for name, value in plain.items() if _is_plain(value)}


def descriptions(target: Callable[..., Any]) -> dict[str, str]:
    """What the options of a dataclass mean: the text below each field, in its own source and in that of its bases."""
    said: dict[str, str] = {}
    for kind in reversed(target.__mro__ if isinstance(target, type) else ()):
        if dataclasses.is_dataclass(kind):
            said |= _texts_below_fields(kind)
    return said


def _texts_below_fields(kind: type) -> dict[str, str]:
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # made without a file: there is no text to show
        return {}
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(getattr(body, "body", ()))
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _is_instance(value: object) -> TypeGuard[DataclassInstance]:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target, eval_str=True).parameters.values())
    except NameError:  # an annotation that exists for type checkers only
        return list(inspect.signature(target).parameters.values())
    except ValueError:  # built in, without a signature
        return [inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)]


def _field(parameter: inspect.Parameter, description: str | None) -> Any:
    if parameter.default is parameter.empty:
        return Field(alias=parameter.name, description=description)
    if _is_plain(parameter.default):
        return Field(default=parameter.default, alias=parameter.name, description=description)
    return Field(default_factory=lambda: parameter.default, alias=parameter.name, description=description)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return value is None or isinstance(value, bool | int | float | str)
