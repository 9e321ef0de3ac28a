"""The names of `burnish`: what type checkers see is what there is."""

from __future__ import annotations

import ast
import inspect

import pytest

import burnish
from burnish.registry import Record


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(inspect.getsource(burnish))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {(alias.name, node.module) for node in imports for alias in node.names} == set(burnish._MODULES.items())


def test_every_name_is_there() -> None:
    for name in dir(burnish):
        assert getattr(burnish, name) is not None
    assert {kind.__name__ for kind in Record.__subclasses__()} <= set(dir(burnish))


def test_a_star_brings_the_names() -> None:
    namespace: dict[str, object] = {}
    exec("from burnish import *", namespace)
    assert namespace["train"] is burnish.train
    assert {*burnish.__all__} < set(namespace)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="module 'burnish' has no attribute 'trian'"):
        burnish.trian  # type: ignore[attr-defined]  # noqa: B018
