"""Mutants of every registered loss and weight: small mistakes planted in its formula, and whether its tests find them.

    python tests/benchmarks/loss_mutants.py [NAME ...]

For each loss some 30 copies of its source with one change are made: a sign, a sum for a mean, an off-by-one, a missing stop of
the gradient, swapped roles, a constant, a comparison. The conformance kit's checks that need no model run first, then the tests
of the loss's own package. Writes docs/results/mutants.md, after every loss, when all are run; prints only, when some are named.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import inspect
import io
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from burnish.errors import BurnishError
from burnish.registry import LossRecord, Registry, WeightRecord, load
from burnish.testing.conformance.losses import WORDING, fitting
from burnish.testing.conformance.subject import Subject, loss_subject, weight_subject
from burnish.testing.conformance.weights import weight_checks

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "results" / "mutants.md"
MOST = 30  # mutants of a loss
LIMIT_S = 60  # for one mutant
OWN_TESTS = ("-q", "-x", "-p", "no:cacheprovider", "-c", "/dev/null", "--import-mode=importlib", "-k", "not conform")
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
SYMMETRIC = frozenset({"min", "max"})
LEVELS = frozenset({"token", "sequence", "pair", "list"})
SIDES = {"_w": "_l", "_l": "_w"}  # ends of names
NAMES = {"desirable_weight": "undesirable_weight", "undesirable_weight": "desirable_weight"}

# Mutants that compute the same numbers, by loss and change, and why.
ONE_TARGET = "A sequence has one target, its end, so the last of its scores is their sum."
COLUMNS = "Of two axes, 1 is the last one."
EQUIVALENT: dict[tuple[str, str], str] = {
    ("bco", "0.0 -> 1.0: `before, seen = state if state is not None else (1.0, 0)`"): (
        "It is multiplied by the number of answers before, 0."
    ),
    ("bradley_terry", "r_w -> r_l: `metrics = {'accuracy': Metric((r_w > r_l).to(r_l)), 'margin': Metric(r_w - r_l)}`"): (
        "Only the precision is taken from it."
    ),
    (
        "bradley_terry",
        ".last -> .sum: `r_w, r_l = (view.signal(score()).sum() for view in (batch.chosen, batch.rejected))`",
    ): ONE_TARGET,
    ("ordinal", ".last -> .sum: `r = batch.signal(score()).sum()`"): ONE_TARGET,
    ("ordinal", "no minus: `odd = float(ratings[~at.any(+1)][0])`"): COLUMNS,
    ("ordinal", "no minus: `return at.to(torch.int64).argmax(+1)`"): COLUMNS,
    ("prm", "no .detach(): `return (lambda _: _)(evidence).map(lambda values: (values < 0).to(values))`"): (
        "A comparison has no gradient."
    ),
    ("prm", "targets swapped: `marked, found = (is_wrong(right - wrong), is_wrong(label - 0.5))`"): (
        "Both metrics compare the two, and it does not matter which comes first."
    ),
    ("regression", ".last -> .sum: `r, y = (batch.signal(score()).sum(), batch.scalar('rating'))`"): ONE_TARGET,
}


@dataclass(frozen=True)
class Mutant:
    """One change. what: it, and the line that it makes: ``Sub -> Add: `h = r_w + r_l` ``."""

    what: str
    tree: ast.Module


@dataclass
class Tried:
    """What became of a loss's mutants."""

    name: str
    by_kit: int = 0
    by_tests: int = 0
    survivors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """All mutants that could have been found: those that compute the same numbers left out."""
        return self.by_kit + self.by_tests + len([one for one in self.survivors if (self.name, one) not in EQUIVALENT])


def mutants(tree: ast.Module, classes: set[str]) -> Iterator[Mutant]:
    """Every single change of a method of `classes` or of a function beside them."""
    lines = [place for place, node in enumerate(ast.walk(tree)) if isinstance(node, ast.stmt | ast.keyword)]
    for place, node in enumerate(ast.walk(tree)):
        for what, change in _changes(node):
            if _is_formula(tree, node, classes):
                changed = copy.deepcopy(tree)
                nodes = list(ast.walk(changed))
                change(nodes[place])
                ast.fix_missing_locations(changed)
                around = [nodes[at] for at in lines if any(nodes[place] is inner for inner in ast.walk(nodes[at]))]
                said = ast.unparse(around[-1]).splitlines()[0]
                yield Mutant(f"{what}: `{said}`", changed)


def _is_formula(tree: ast.Module, node: ast.AST, classes: set[str]) -> bool:
    for top in tree.body:
        functions = [top] if isinstance(top, ast.FunctionDef) else []
        if isinstance(top, ast.ClassDef) and top.name in classes:
            functions = [one for one in top.body if isinstance(one, ast.FunctionDef) and one.name not in UNMUTATED]
        if any(node is inner for function in functions for part in function.body for inner in _computing(part)):
            return True
    return False


def _computing(node: ast.AST) -> Iterator[ast.AST]:
    """What is below a node, but for the messages of errors."""
    if not isinstance(node, ast.Raise):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _computing(child)


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """What can be changed of a node, in words, and how."""

    def replaced(name: str, value: Any) -> Callable[[Any], None]:
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
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} -> {node.value + 1}", replaced("value", node.value + 1)
    if isinstance(node, ast.IfExp):
        yield "condition negated", replaced("test", ast.UnaryOp(ast.Not(), copy.deepcopy(node.test)))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _changes_of_call(node, node.func)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1 and node.func.id not in SYMMETRIC:
        yield "last two arguments swapped", lambda target: target.args.append(target.args.pop(-2))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and node.func.id in ODD:
        yield "argument negated", _negate


def _changes_of_call(node: ast.Call, function: ast.Attribute) -> Iterator[tuple[str, Callable[[Any], None]]]:
    is_module = isinstance(function.value, ast.Name) and function.value.id in ("torch", "math")
    if function.attr in IDENTITIES and not is_module:
        yield f"no .{function.attr}()", lambda target: _become(target, copy.deepcopy(function.value))
    if len(node.args) == 2 and not is_module:
        yield "arguments swapped", lambda target: target.args.reverse()
    if function.attr == "where" and len(node.args) == 3:
        yield "where swapped", lambda target: setattr(target, "args", [target.args[0], target.args[2], target.args[1]])


def _scale(node: Any, name: str, factor: int) -> None:
    """A part of a node, times a number."""
    setattr(node, name, ast.BinOp(getattr(node, name), ast.Mult(), ast.Constant(factor)))


def _negate(call: Any) -> None:
    call.args[0] = ast.UnaryOp(ast.USub(), call.args[0])


def _become(call: ast.Call, value: ast.expr) -> None:
    """`f(x)` that does nothing: a call of `(lambda _: _)`, since a node cannot change its kind in place."""
    parameters = ast.arguments(posonlyargs=[], args=[ast.arg("_")], kwonlyargs=[], kw_defaults=[], defaults=[])
    call.func, call.args, call.keywords = ast.Lambda(parameters, ast.Name("_", ast.Load())), [value], []


class Bench:
    """Runs one loss's checks and tests against whatever its module now holds."""

    def __init__(self, record: LossRecord | WeightRecord, registry: Registry) -> None:
        self.record, self.registry = record, registry
        self.module: ModuleType = importlib.import_module(record.target.partition(":")[0])
        self.source = Path(inspect.getsourcefile(self.module) or "").read_text(encoding="utf-8")
        folder = ROOT / "plugins" / registry.provider(record).name / "tests"
        self.tests = folder if folder.is_dir() else None

    def load(self, tree: ast.Module) -> None:
        """Make the module what `tree` says."""
        exec(compile(tree, self.module.__file__ or "", "exec"), self.module.__dict__)

    def kit_finds(self) -> bool:
        """Whether a check that needs no model fails."""
        try:
            subject = self._subject()
        except Exception:  # a mutant may raise anything, and has then been found
            return True
        for check in (*WORDING, *(weight_checks(subject) if subject.is_weight else fitting(subject))):
            for rows in subject.examples if check.on_rows else [()]:
                try:
                    check.run(subject, rows)
                except Exception:
                    return True
        return False

    def tests_find(self) -> bool:
        """Whether a test of the package fails."""
        if self.tests is None:
            return False
        for name in [name for name in sys.modules if name.rpartition(".")[2].startswith("test_")]:
            del sys.modules[name]
        silent = io.StringIO()
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            return int(pytest.main([*OWN_TESTS, "--rootdir", str(self.tests), str(self.tests)])) == 1

    def _subject(self) -> Subject:
        make = loss_subject if isinstance(self.record, LossRecord) else weight_subject
        return make(self.record.name, self.registry)


def try_loss(record: LossRecord | WeightRecord, registry: Registry, most: int = MOST) -> Tried:
    """All mutants of one loss, or `most` of them, drawn by its name."""
    bench, tried, began = Bench(record, registry), Tried(record.name), time.monotonic()
    tree = ast.parse(bench.source)
    found = list(mutants(tree, {record.target.partition(":")[2]}))
    found = random.Random(record.name).sample(found, min(most, len(found)))
    if bench.kit_finds() or bench.tests_find():
        raise SystemExit(f"{record.name} fails as it is; its mutants say nothing")
    try:
        for mutant in found:
            _try(bench, mutant, tried)
    finally:
        bench.load(tree)
    tried.seconds = time.monotonic() - began
    return tried


def _try(bench: Bench, mutant: Mutant, tried: Tried) -> None:
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT_S)
    try:
        bench.load(mutant.tree)
        if bench.kit_finds():
            tried.by_kit += 1
        elif bench.tests_find():
            tried.by_tests += 1
        else:
            tried.survivors.append(mutant.what)
    except Exception:  # it cannot even be imported, or never ends
        tried.by_kit += 1
    finally:
        signal.alarm(0)


def _too_long(*_: Any) -> None:
    raise TimeoutError


def table(results: list[Tried]) -> str:
    """The results as a page."""
    killed, total = (sum(getattr(one, name) for one in results) for name in ("by_kit", "total"))
    killed += sum(one.by_tests for one in results)
    equal = [(one.name, what) for one in results for what in one.survivors if (one.name, what) in EQUIVALENT]
    left = [(one.name, what) for one in results for what in one.survivors if (one.name, what) not in EQUIVALENT]
    lines = [
        "# Mutants of the losses",
        "",
        "Small mistakes planted in every registered loss and weight, one at a time: a sign, a sum for a mean, an off-by-one, a",
        "missing stop of the gradient, swapped roles, a constant, a comparison.",
        "Written by `python tests/benchmarks/loss_mutants.py`.",
        "",
        f"{killed} of {total} are found ({killed / max(total, 1):.1%}), by the kit's checks that need no model or by the own",
        f"tests of the package. {len(equal)} more compute the same numbers and cannot be found.",
        "",
        "| loss | mutants | found by the kit | by the package's tests | not found | the same numbers | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results:
        same = len(one.survivors) - (one.total - one.by_kit - one.by_tests)
        missed = one.total - one.by_kit - one.by_tests
        lines.append(
            f"| {one.name} | {one.total + same} | {one.by_kit} | {one.by_tests} | {missed} | {same} | {one.seconds:.0f} |"
        )
    if left:
        lines += ["", "## Not found", "", *(f"- {name}: {what}" for name, what in left)]
    if equal:
        lines += ["", "## The same numbers", "", *(f"- {name}: {what}. {EQUIVALENT[name, what]}" for name, what in equal)]
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> None:
    """Run those that are named, or all."""
    torch.set_num_threads(1)
    registry = load(run_code=True)
    records = [*registry.records(LossRecord), *registry.records(WeightRecord)]
    if unknown := set(names) - {record.name for record in records}:
        raise BurnishError(f"no loss or weight named {sorted(unknown)}")
    results = []
    for record in records:
        if not names or record.name in names:
            results.append(try_loss(record, registry))
            one = results[-1]
            print(f"{one.name}: {one.by_kit} + {one.by_tests} of {one.total}, {one.seconds:.0f} s", *one.survivors, sep="\n  ")
            if not names:
                TABLE.parent.mkdir(exist_ok=True)
                TABLE.write_text(table(results), encoding="utf-8")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
