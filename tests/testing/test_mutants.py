"""The mutants of a sample of losses are found; the table of all is docs/results/mutants.md."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from burnish.registry.custom import import_custom

PROGRAMS = "tests/benchmarks"
FORMULA = """
class Loss:
    def __call__(self, batch):
        a, b = batch.x, batch.y
        return Terms(pair={})
"""


@pytest.fixture
def mutations(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(root / PROGRAMS))
    module = __import__("mutations")
    assert isinstance(module, ModuleType)
    return module


def found(mutations: Any, formula: str) -> tuple[set[str], int]:
    """What is changed of the last line, and how many changes are the same formula."""
    kept, same = mutations.mutants(ast.parse(FORMULA.format(formula)), {"Loss"}, 1000, "seed")
    return {one.what.partition(":")[0] for one in kept if "a, b = " not in one.what and "batch" not in one.what}, same


@pytest.mark.parametrize(
    ("formula", "same", "different"),
    [
        ("torch.maximum(a, b)", 0, "terms negated"),
        ("last(a, b)", 0, "last two arguments swapped"),
        ("isclose(a, b)", 1, "terms doubled"),  # its arguments may change places
        ("abs(-a)", 1, "terms negated"),
        ("(-a) ** 2", 1, "Pow -> Mult"),
        ("logsigmoid(-a)", 0, "no minus"),
        ("a.maximum(b)", 0, ".maximum -> .minimum"),
    ],
)
def test_the_same_formula_in_other_words_is_no_mutant(mutations: Any, formula: str, same: int, different: str) -> None:
    changes, left_out = found(mutations, formula)
    assert left_out == same
    assert different in changes


def test_detaching_is_watched_place_by_place(mutations: Any) -> None:
    tree = ast.parse(FORMULA.format("a.detach() + b.detach()"))
    places = [one.place for one in mutations.mutants(tree, {"Loss"}, 1000, "seed")[0] if one.lets_gradients_through]
    assert len(set(places)) == 2
    seen: list[int] = []

    def detach(place: int, value: int) -> int:
        seen.append(place)
        return value

    names: dict[str, Any] = {mutations.WATCH: detach, "Terms": lambda pair: pair}
    exec(compile(mutations.watched(tree), "watched", "exec"), names)
    batch = type("Batch", (), {"x": 3, "y": 4})
    assert names["Loss"]()(batch) == 7
    assert sorted(seen) == sorted(places)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simpo", "kto"])
def test_mutants_of_a_loss_are_found(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / PROGRAMS))
    try_loss: Any = import_custom(f"{root / PROGRAMS / 'loss_mutants.py'}:try_loss")
    tried = try_loss(name, most=12)
    assert tried.total >= 10
    assert tried.killed >= 0.95 * tried.total, tried.missed
