"""Small mistakes that can be planted in a formula: one change of a syntax tree each.

In: a module's syntax tree. Out: changed trees, each with what was changed. Knows no loss and runs nothing.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

UNMUTATED = frozenset({"signals", "derived_signals"})  # what they lack is an error at once, what they have too much a check's
OPPOSITE: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.GtE: ast.Gt, ast.LtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
ATTRIBUTES = {
    "sum": "mean", "mean": "sum", "last": "sum", "chosen": "rejected", "rejected": "chosen", "log_ratio": "logp",
    "minimum": "maximum", "maximum": "minimum", "min": "max", "max": "min",
}  # fmt: skip
IDENTITIES = frozenset({"detach", "clamp", "relu", "abs", "exp"})  # calls that are left out
ODD = frozenset({"logsigmoid", "logistic", "log_odds", "contrast"})  # functions whose argument's sign matters
SYMMETRIC = frozenset({"min", "max", "minimum", "maximum", "logaddexp", "hypot", "isclose", "allclose", "equal"})
EVEN = frozenset({"abs", "square", "cos", "cosh"})  # f(-x) = f(x)
LEVELS = frozenset({"token", "sequence", "pair", "list"})
SIDES = {"_w": "_l", "_l": "_w"}  # ends of names
NAMES = {"desirable_weight": "undesirable_weight", "undesirable_weight": "desirable_weight"}
NO_DETACH = "no .detach()"
WATCH = "_watched_detach"

Change = Callable[[Any], None]


@dataclass(frozen=True)
class Mutant:
    """One change. what: it, and the line that it makes: ``Sub -> Add: `h = r_w + r_l` ``; place: of the changed node."""

    what: str
    place: int
    tree: ast.Module

    @property
    def lets_gradients_through(self) -> bool:
        """Whether all it does is to leave out a `.detach()`."""
        return self.what.startswith(NO_DETACH)


def mutants(tree: ast.Module, classes: set[str], most: int, seed: str) -> tuple[list[Mutant], int]:
    """Single changes of methods of `classes` and of functions beside them: all, or `most` of them, drawn by `seed`.

    Second comes how many more are the same formula in other words (b + a for a + b) and were left out.
    """
    nodes, formula, normal = list(ast.walk(tree)), _formula(tree, classes), ast.dump(_normal(tree))
    found = [
        (place, number, what)
        for place, node in enumerate(nodes)
        if id(node) in formula
        for number, (what, _) in enumerate(_changes(node))
    ]
    kept: list[Mutant] = []
    same = 0
    for place, number, what in random.Random(seed).sample(found, len(found)):
        if len(kept) == most:
            break
        mutant = _mutant(tree, place, number, what)
        is_same = ast.dump(_normal(mutant.tree)) == normal
        same += is_same
        kept += [] if is_same else [mutant]
    return kept, same


def watched(tree: ast.Module) -> ast.Module:
    """The same program, whose every `x.detach()` is a call `_watched_detach(place, x)`; place: of the node in `ast.walk`."""
    changed = copy.deepcopy(tree)
    for place, node in enumerate(list(ast.walk(changed))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "detach" and not node.args:
            node.args = [ast.Constant(place), node.func.value]
            node.func = ast.Name(WATCH, ast.Load())
    return ast.fix_missing_locations(changed)


def _mutant(tree: ast.Module, place: int, number: int, what: str) -> Mutant:
    changed = copy.deepcopy(tree)
    node = list(ast.walk(changed))[place]
    [change] = [one for at, (_, one) in enumerate(_changes(node)) if at == number]
    change(node)
    ast.fix_missing_locations(changed)
    return Mutant(f"{what}: `{_line_of(changed, node)}`", place, changed)


def _line_of(tree: ast.Module, node: ast.AST) -> str:
    """The innermost statement or argument around a node, its first line."""
    above = {id(child): parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    while not isinstance(node, ast.stmt | ast.keyword):
        node = above[id(node)]
    return ast.unparse(node).splitlines()[0]


def _formula(tree: ast.Module, classes: set[str]) -> set[int]:
    """Identities of the nodes that compute."""
    functions = [top for top in tree.body if isinstance(top, ast.FunctionDef)]
    for top in tree.body:
        if isinstance(top, ast.ClassDef) and top.name in classes:
            functions += [one for one in top.body if isinstance(one, ast.FunctionDef) and one.name not in UNMUTATED]
    return {id(node) for function in functions for part in function.body for node in _computing(part)}


def _computing(node: ast.AST) -> Iterator[ast.AST]:
    """What is below a node, but for the messages of errors."""
    if not isinstance(node, ast.Raise):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _computing(child)


class _Normal(ast.NodeTransformer):
    """Writes equal formulas alike: operands that may change places in one order, b < a as a > b, |b - a| as |a - b|."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Add | ast.Mult):
            node.left, node.right = _sorted(node.left, node.right)
        if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant) and node.right.value == 2:
            node.left = _without_sign(node.left)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        turned = {ast.Lt: ast.Gt, ast.LtE: ast.GtE}
        if len(node.ops) == 1 and type(node.ops[0]) in turned:
            node.ops = [turned[type(node.ops[0])]()]
            node.left, node.comparators = node.comparators[0], [node.left]
        elif len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            node.left, node.comparators[0] = _sorted(node.left, node.comparators[0])
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        of_torch = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "torch"
        if isinstance(function, ast.Attribute) and not of_torch and len(node.args) == 1 and name in SYMMETRIC:
            function.value, node.args[0] = _sorted(function.value, node.args[0])
        elif name in SYMMETRIC:
            node.args.sort(key=ast.dump)
        if name in EVEN and node.args:
            node.args[0] = _without_sign(node.args[0])
        elif name in EVEN and isinstance(function, ast.Attribute):
            function.value = _without_sign(function.value)
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return node.operand if isinstance(node.op, ast.UAdd) else node


def _normal(tree: ast.Module) -> ast.AST:
    return _Normal().visit(copy.deepcopy(tree))  # type: ignore[no-any-return]


def _sorted(one: ast.expr, other: ast.expr) -> tuple[ast.expr, ast.expr]:
    first, second = sorted((one, other), key=ast.dump)
    return first, second


def _without_sign(value: ast.expr) -> ast.expr:
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return value.operand
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Sub):
        value.left, value.right = _sorted(value.left, value.right)
    return value


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """What can be changed of a node, in words, and how."""

    def replaced(name: str, value: Any) -> Change:
        return lambda target: setattr(target, name, value)

    if isinstance(node, ast.BinOp) and type(node.op) in OPPOSITE:
        other = OPPOSITE[type(node.op)]
        yield f"{type(node.op).__name__} -> {other.__name__}", replaced("op", other())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield "right side left out", lambda target: _scale(target, "right", 0)
    if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store) and len(node.elts) == 2:
        yield "targets swapped", lambda target: target.elts.reverse()
    if isinstance(node, ast.keyword) and node.arg in LEVELS:
        yield "terms negated", lambda target: setattr(target, "value", ast.UnaryOp(ast.USub(), target.value))
        yield "terms doubled", lambda target: _scale(target, "value", 2)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPPOSITE:
        other = OPPOSITE[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} -> {other.__name__}", replaced("ops", [other()])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "no minus", replaced("op", ast.UAdd())
    if isinstance(node, ast.Attribute):
        name = ATTRIBUTES.get(node.attr) or NAMES.get(node.attr)
        if name:
            yield f".{node.attr} -> .{name}", replaced("attr", name)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id[-2:] in SIDES:
        other_side = node.id[:-2] + SIDES[node.id[-2:]]
        yield f"{node.id} -> {other_side}", replaced("id", other_side)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        yield f"{node.value} -> {node.value + 1}", replaced("value", node.value + 1)
    if isinstance(node, ast.IfExp):
        yield "condition negated", replaced("test", ast.UnaryOp(ast.Not(), copy.deepcopy(node.test)))
    if isinstance(node, ast.Call):
        yield from _changes_of_call(node)


def _changes_of_call(node: ast.Call) -> Iterator[tuple[str, Change]]:
    function = node.func
    if isinstance(function, ast.Attribute):
        is_module = isinstance(function.value, ast.Name) and function.value.id in ("torch", "math")
        if function.attr in IDENTITIES and not is_module:
            yield f"no .{function.attr}()", lambda target: _become(target, copy.deepcopy(function.value))
        if len(node.args) == 2 and not is_module:
            yield "arguments swapped", lambda target: target.args.reverse()
        if function.attr == "where" and len(node.args) == 3:
            yield "where swapped", lambda target: setattr(target, "args", [target.args[0], target.args[2], target.args[1]])
    if isinstance(function, ast.Name) and len(node.args) > 1:
        yield "last two arguments swapped", lambda target: target.args.append(target.args.pop(-2))
    if isinstance(function, ast.Name) and len(node.args) == 1 and function.id in ODD:
        yield "argument negated", _negate


def _scale(node: Any, name: str, factor: int) -> None:
    """A part of a node, times a number."""
    setattr(node, name, ast.BinOp(getattr(node, name), ast.Mult(), ast.Constant(factor)))


def _negate(call: Any) -> None:
    call.args[0] = ast.UnaryOp(ast.USub(), call.args[0])


def _become(call: ast.Call, value: ast.expr) -> None:
    """`f(x)` that does nothing: a call of `(lambda _: _)`, since a node cannot change its kind in place."""
    parameters = ast.arguments(posonlyargs=[], args=[ast.arg("_")], kwonlyargs=[], kw_defaults=[], defaults=[])
    call.func, call.args, call.keywords = ast.Lambda(parameters, ast.Name("_", ast.Load())), [value], []
