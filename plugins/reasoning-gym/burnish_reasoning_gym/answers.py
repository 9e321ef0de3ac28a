"""Answers that may be evaluated: some generators hand what they are given to `eval`, or to sympy's parser, which does the same.

In: a generator's class; an answer. Out: what the one evaluates with, and whether the other then comes to a small value and
nothing else. Knows no item.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from functools import cache
from inspect import isfunction
from typing import Any

PYTHON, SYMPY = frozenset({"eval", "exec", "compile"}), frozenset({"parse_expr", "sympify", "parse_latex"})
STEEP = frozenset({"exp", "sinh", "cosh"})  # their values have as many digits as their arguments are large
FUNCTIONS = STEEP | {"Abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cot", "coth", "csc", "erf", "ln", "log"}
FUNCTIONS |= {"sec", "sin", "sqrt", "tan", "tanh"}
CONSTANTS = frozenset({"pi", "oo"})
MOST_BITS = 1e4  # of a number that is computed on the way
UNREADABLE = "("
"""What stands for an answer that may not be evaluated: no generator can read it."""


@cache
def evaluators(kind: Any) -> frozenset[str]:
    """What scoring by a generator of this class may evaluate with: its own function, and those that this calls."""
    return _evaluators(kind.score_answer, kind, set())


def is_harmless(answer: str, evaluated_with: frozenset[str]) -> bool:
    """Whether evaluating it comes to a small number, a formula of such with one-letter symbols and elementary functions, or a
    list of these and of texts; or to nothing, as it is no Python. A name of several letters could be one of the program's."""
    if not evaluated_with:
        return True
    try:
        tree = ast.parse(answer.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return not evaluated_with & SYMPY  # sympy makes Python of more
    except (RecursionError, MemoryError):  # nested too deeply
        return False
    try:
        _check(tree)
    except (ValueError, RecursionError):
        return False
    return True


def _evaluators(function: Callable[..., Any], kind: Any, seen: set[Any]) -> frozenset[str]:
    code = function.__code__
    if code in seen:
        return frozenset()
    seen.add(code)
    found = (PYTHON | SYMPY) & set(code.co_names)
    called = [getattr(kind, name, None) or function.__globals__.get(name) for name in code.co_names]
    return found.union(*(_evaluators(one, kind, seen) for one in called if isfunction(one)))


def _check(node: ast.expr) -> None:
    """ValueError for what is no text, formula or list of these."""
    if isinstance(node, ast.List | ast.Tuple):
        for one in node.elts:
            _check(one)
    elif not (isinstance(node, ast.Constant) and isinstance(node.value, str)) and _bits(node) > MOST_BITS:
        raise ValueError("too large a number")


def _bits(node: ast.expr) -> float:
    """As many binary digits as a formula's value has at most, about, a symbol counting as one; ValueError for what is none."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return math.log2(abs(value) + 2)
        case ast.Name(id=name) if len(name) == 1 or name in CONSTANTS:
            return 1.0
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=one):
            return _bits(one)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            return max(_bits(left), _bits(right)) + 1
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div(), right=right):
            return _bits(left) + _bits(right)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _bits(left) * math.exp2(min(_bits(right), 64))
        case ast.Call(func=ast.Name(id=name), args=[one], keywords=[]) if name in FUNCTIONS:
            return 2 * math.exp2(min(_bits(one), 64)) if name in STEEP else _bits(one)
    raise ValueError(f"{type(node).__name__} is no part of a formula")
