"""Options are checked by the signature of what takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from burnish.config.options import check_options, construct, defaults
from burnish.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Taken:
    """A dataclass with fields that a config may give."""

    size: int
    rate: float = 0.5
    names: tuple[str, ...] = ()
    copy: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size must be at least 1")


def test_types_are_what_json_gives() -> None:
    made = construct(Taken, {"size": 1, "rate": 2, "names": ["a"], "copy": {"k": 3}}, "here")
    assert made == Taken(1, 2.0, ("a",), {"k": 3})
    assert type(made.rate) is float


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "here.size: is required, and missing"),
        ({"size": 1.5}, "here.size: should be a valid integer, found 1.5"),
        ({"size": True}, "here.size: should be a valid integer, found True"),
        ({"size": "1"}, "here.size: should be a valid integer, found '1'"),
        ({"size": 1, "names": "a"}, "here.names: should be a list, `[one, another]`, found 'a'"),
        ({"size": 1, "copy": {"k": "x"}}, "here.copy.k: should be a valid integer, found 'x'"),
        ({"size": 1, "cpoy": {}}, "here.cpoy: unknown key. Did you mean 'copy'? Known: copy, names, on, rate, size."),
        ({"size": 0}, "here: size must be at least 1"),
        ({"size": object()}, "here: options are plain data"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        construct(Taken, options, "here", reserved=["on"])
    assert said in str(error.value)


def test_functions_have_options_too() -> None:
    def recipe(beta: float = 0.1, **others: Any) -> None: ...

    assert check_options(recipe, {"beta": 1, "more": [1]}, "here") == {"beta": 1.0, "more": [1]}
    assert defaults(recipe) == {"beta": 0.1}


def test_annotations_for_type_checkers_only_are_not_checked() -> None:
    def source(given: Tensor, size: int = 1) -> None: ...

    assert check_options(source, {"given": "anything"}, "here") == {"given": "anything"}


def test_defaults_are_as_a_config_would_write_them() -> None:
    assert defaults(Taken) == {"rate": 0.5, "names": [], "copy": {}}

    class Other:
        def __init__(self, inner: Taken = Taken(2), live: Sequence[object] = (object,)) -> None: ...

    assert defaults(Other) == {"inner": {"size": 2, "rate": 0.5, "names": [], "copy": {}}}
