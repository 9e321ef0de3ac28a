"""Checks of what a loss or weight says of itself: its docstring, its degenerate cases, the ranges of its fields, its copies.

In: a subject. Out: nothing, or `Broken` with what was found.

A degenerate case is a line `>>> L(unmoved) == log(2)` in the docstring, as many as there are. `L` gives the unreduced terms of
a named case, with other fields where some are given (`L(equal, form="ipo")`); a weight is `w`. A line may name the fields of
the instance, functions of `math`, the cases, and `A`, `R`, `y` for the rows' advantage, return and rating. A field's range is
what its docstring says after a semicolon: `; above 0.`, `; at least 0.`, `; in (0, 1].`, `; 0 <= e < .5.`, `; any number.`
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import operator
import pickle
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from burnish.config.options import construct
from burnish.errors import BurnishError
from burnish.objective.ragged import Ragged
from burnish.testing.conformance.checking import Broken, Rows
from burnish.testing.conformance.numbers import NUM_OUTCOMES, Case, Numbers
from burnish.testing.conformance.rows import KNOWN_COLUMNS, NUM_ITEMS, alike, plain
from burnish.testing.conformance.subject import Subject

CASES: dict[str, tuple[Case, bool]] = {  # numbers, and whether all answers of a row are the same
    "unmoved": ("unmoved", False),
    "equal": ("drawn", True),
    "certain": ("certain", False),
    "uniform": ("uniform", False),
}
COLUMNS = {"A": "advantages", "R": "returns", "y": "rating"}  # letters of columns, the same number in every row
COMPARISONS: dict[type[ast.cmpop], Callable[[Tensor, Tensor], Tensor]] = {
    ast.Eq: lambda left, right: torch.isclose(left, right, rtol=1e-6, atol=1e-6),
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
NEAR = 1e-3  # to an end that does not belong to a range
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(
    rf"[;,.]\s*(?:(?P<open>above)\s(?P<above>{NUMBER})"
    rf"|at least\s(?P<least>{NUMBER})"
    rf"|in (?P<left>[\[(])(?P<low>{NUMBER}),\s*(?P<high>{NUMBER})(?P<right>[\])])"
    rf"|(?P<from>{NUMBER})\s*(?P<first><=?)\s*\w+\s*(?P<second><=?)\s*(?P<to>{NUMBER})"
    r"|(?P<any>any number))"
)


def docstring(subject: Subject, _: Rows) -> None:
    """It has an equation, a source and a degenerate case."""
    text = inspect.cleandoc(type(subject.plugin).__doc__ or "")
    indented = [line for line in text.splitlines()[1:] if line.startswith("    ") and not line.lstrip().startswith(">>>")]
    if not any("=" in line for line in indented):
        raise Broken("the docstring has no equation: an indented line such as `    L = -log sigmoid(h)`")
    for word in ("Source:", "Degenerate:"):
        if word not in text:
            raise Broken(f"the docstring has no `{word}`")


def degenerate(subject: Subject, _: Rows) -> None:
    """Every `>>>` line of the docstring holds, and there is one."""
    lines = re.findall(r"^\s*>>> (.+)$", type(subject.plugin).__doc__ or "", re.MULTILINE)
    if not lines:
        raise Broken("the docstring has no line such as `>>> L(unmoved) == log(2)` under `Degenerate:`")
    known = _names(subject)
    for line in lines:
        _holds(line, known)


def fields(subject: Subject, _: Rows) -> None:
    """Fields refuse what lies outside the range that they state, and numbers that are none."""
    target: Any = type(subject.plugin)
    stated = _field_docstrings(target)
    for field in dataclasses.fields(target):
        value = getattr(subject.plugin, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if stated is not None and (found := RANGE.search(stated.get(field.name, ""))) is None:
            raise Broken(f"the docstring of `{field.name}` states no range: end it with `; above 0.` or `; any number.`")
        outside = list(_outside(found)) if stated is not None and found else []
        for wrong in map(int, outside) if isinstance(value, int) else [*outside, math.nan]:
            if _accepts(subject, field.name, wrong):
                raise Broken(f"`{field.name}` accepts {wrong}")
        inside = list(_inside(found)) if stated is not None and found else []
        for right in {int(end) for end in inside if end == int(end)} if isinstance(value, int) else inside:
            if not _accepts(subject, field.name, right):
                raise Broken(f"`{field.name}` refuses {right:g}, which its docstring allows")


def copies(subject: Subject, _: Rows) -> None:
    """It is pickled and copied as what it is, and can be a key."""
    again = pickle.loads(pickle.dumps(subject.plugin))
    if again != subject.plugin or hash(again) != hash(subject.plugin):
        raise Broken(f"pickled and read again it is {again}, not {subject.plugin}")
    if dataclasses.replace(again) != subject.plugin:
        raise Broken("a copy with the same fields is not equal to it")


def _names(subject: Subject) -> dict[str, Any]:
    """What a degenerate line may name."""

    def terms(case: str, **options: Any) -> Tensor:
        numbers, are_alike = CASES[case]
        rows = [alike(plain(row)) if are_alike else plain(row) for row in subject.examples[0]]
        other = subject.having(dataclasses.replace(subject.plugin, **options)) if options else subject  # type: ignore[type-var]
        scene = other.scene(rows, numbers=Numbers(numbers))
        values = scene.call().values
        return (values.values if isinstance(values, Ragged) else values).detach()

    functions = {name: getattr(math, name) for name in dir(math) if not name.startswith("_")}
    plugin: Any = subject.plugin
    own = {field.name: getattr(plugin, field.name) for field in dataclasses.fields(plugin)}
    given: dict[str, Any] = {name: name for name in CASES}
    given |= {letter: KNOWN_COLUMNS[column] for letter, column in COLUMNS.items()}
    given |= {"num_outcomes": NUM_OUTCOMES, "num_items": NUM_ITEMS, "w" if subject.is_weight else "L": terms}
    return {**functions, **own, **given}


def _holds(line: str, known: dict[str, Any]) -> None:
    """Broken unless the comparison in `line` is true of every term."""
    tree = ast.parse(line, mode="eval").body
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or type(tree.ops[0]) not in COMPARISONS:
        raise Broken(f"`{line}` is not one comparison")
    plain = {"len": len, "min": min, "max": max, "abs": abs}
    sides = [eval(ast.unparse(side), {"__builtins__": plain}, known) for side in (tree.left, tree.comparators[0])]
    left, right = (torch.as_tensor(side, dtype=torch.float64) for side in sides)
    if not left.numel():
        raise Broken(f"`{line}`: no term is left to compare")
    if not COMPARISONS[type(tree.ops[0])](left, right).all():
        raise Broken(f"`{line}` does not hold: {_brief(left)} and {_brief(right)}")


def _brief(values: Tensor) -> str:
    return ", ".join(f"{value:.6g}" for value in values.flatten()[:3].tolist())


def _field_docstrings(target: type) -> dict[str, str] | None:
    """The string under each field; None where there is no source to read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(target)))
    except (OSError, TypeError):
        return None
    [made] = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found: dict[str, str] = {}
    for node, after in zip(made.body, made.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            found[node.target.id] = str(ast.literal_eval(after.value)) if isinstance(after.value, ast.Constant) else ""
    return found


def _ends(found: re.Match[str]) -> Iterator[tuple[float, bool, int]]:
    """The ends of a stated range: the number, whether it belongs to the range, the direction out of it."""
    part = found.groupdict()
    if part["above"]:
        yield float(part["above"]), False, -1
    if part["least"]:
        yield float(part["least"]), True, -1
    if part["low"]:
        yield from ((float(part["low"]), part["left"] == "[", -1), (float(part["high"]), part["right"] == "]", 1))
    if part["from"]:
        yield from ((float(part["from"]), part["first"] == "<=", -1), (float(part["to"]), part["second"] == "<=", 1))


def _outside(found: re.Match[str]) -> Iterator[float]:
    """Numbers just out of a stated range, and its ends where they do not belong to it."""
    for end, belongs, direction in _ends(found):
        yield end + direction
        if not belongs:
            yield end


def _inside(found: re.Match[str]) -> Iterator[float]:
    """The ends that belong to a stated range, numbers just within the others."""
    yield from (end if belongs else end - direction * NEAR for end, belongs, direction in _ends(found))


def _accepts(subject: Subject, name: str, value: float) -> bool:
    """Whether the class can be made with this value, its other fields as they are."""
    target: Any = type(subject.plugin)
    try:
        if math.isnan(value):  # no JSON number, so a config cannot hold it; Python can
            dataclasses.replace(subject.plugin, **{name: value})  # type: ignore[type-var]
        else:
            construct(target, {name: value}, subject.title)
    except (BurnishError, ValueError):
        return False
    return True
