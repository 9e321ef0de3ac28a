"""Mutants of every registered loss and weight: small mistakes planted in its formula, and whether its tests find them.

    python tests/benchmarks/loss_mutants.py [NAME ...] [--resume] [--processes 2]

For each loss some 30 copies of its source with one change are made: a sign, a sum for a mean, an off-by-one, a missing stop of
the gradient, swapped roles, a constant, a comparison. The conformance kit's checks that need no model run first, then the tests
of the loss's own package, the quickest ones first. A loss's result is a line of JSON in the file of `--results`, written as it
comes; `--resume` keeps those whose source and tests are what they were. At the end docs/results/mutants.md is written, and says
which are missing; `--table` tries none and writes it of what was kept.

Left out are mutants that compute the same numbers: the same formula in other words, and a `.detach()` of what never carried a
gradient in the checks and tests of the unchanged loss. What is the same for other reasons stands in same_numbers.py.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib
import inspect
import io
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mutations import WATCH, Mutant, mutants, watched
from same_numbers import SAME_NUMBERS

from burnish.errors import BurnishError
from burnish.objective import Ragged
from burnish.registry import LossRecord, Registry, WeightRecord, load
from burnish.testing.conformance.losses import WORDING, fitting
from burnish.testing.conformance.subject import Subject, loss_subject, weight_subject
from burnish.testing.conformance.weights import weight_checks

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "results" / "mutants.md"
RESULTS = ROOT / "runs" / "loss_mutants.jsonl"
MOST = 30  # mutants of a loss
LIMIT_S = 60  # of processor time for one mutant
OWN_TESTS = (
    *("-q", "-x", "-c", "/dev/null", "--import-mode=importlib", "-k", "not conform"),
    *("-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "no:threadexception"),
)  # fmt: skip
PASSED, FAILED = frozenset({0, 5}), frozenset({1, 2})  # exit codes of pytest: none collected, and errors of collection


@dataclass
class Tried:
    """What became of a loss's mutants. same: how many were left out; fingerprint: of the source and its tests."""

    name: str
    fingerprint: str
    by_kit: int = 0
    by_tests: int = 0
    same: int = 0
    survivors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def explained(self) -> list[str]:
        """Survivors that compute the same numbers."""
        return [one for one in self.survivors if (self.name, one) in SAME_NUMBERS]

    @property
    def missed(self) -> list[str]:
        """Survivors that a test could have found."""
        return [one for one in self.survivors if (self.name, one) not in SAME_NUMBERS]

    @property
    def killed(self) -> int:
        """How many were found."""
        return self.by_kit + self.by_tests

    @property
    def total(self) -> int:
        """All mutants that could have been found."""
        return self.killed + len(self.missed)


class Quickest:
    """A pytest plugin: tests that failed before come first, then the quickest."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, int] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Order them."""
        items.sort(key=lambda item: (-self.failures.get(item.nodeid, 0), self.seconds.get(item.nodeid, 0.0)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember one."""
        self.seconds.setdefault(report.nodeid, 0.0)
        self.seconds[report.nodeid] = max(self.seconds[report.nodeid], report.duration)
        self.failures[report.nodeid] = self.failures.get(report.nodeid, 0) + report.failed


class Bench:
    """Runs one loss's checks and tests against whatever its module now holds."""

    def __init__(self, record: LossRecord | WeightRecord, registry: Registry) -> None:
        self.record, self.registry, self.quickest = record, registry, Quickest()
        self.module: ModuleType = importlib.import_module(record.target.partition(":")[0])
        self.source = Path(inspect.getsourcefile(self.module) or "").read_text(encoding="utf-8")
        folder = ROOT / "plugins" / registry.provider(record).name / "tests"
        self.tests = folder if folder.is_dir() else None

    @property
    def fingerprint(self) -> str:
        """Of the source, of the package's tests and of the mistakes that are planted."""
        files = [*sorted(self.tests.rglob("*.py") if self.tests else []), Path(__file__).with_name("mutations.py")]
        texts = [self.source, *(file.read_text(encoding="utf-8") for file in files)]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]

    def load(self, tree: ast.Module) -> None:
        """Make the module what `tree` says, and its package what it now exports."""
        before = dict(self.module.__dict__)
        exec(compile(tree, self.module.__file__ or "", "exec"), self.module.__dict__)
        package = self.module.__name__.partition(".")[0]
        for name, beside in list(sys.modules.items()):
            if name.partition(".")[0] == package and beside is not self.module:
                for word, value in list(vars(beside).items()):
                    if not word.startswith("__") and callable(value) and before.get(word) is value:
                        setattr(beside, word, getattr(self.module, word))

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
            code = int(pytest.main([*OWN_TESTS, "--rootdir", str(self.tests), str(self.tests)], plugins=[self.quickest]))
        if code not in PASSED | FAILED:
            raise BurnishError(f"pytest ended with {code} on {self.tests}:\n{silent.getvalue()[-2000:]}")
        return code in FAILED

    def gradients_stopped(self, tree: ast.Module) -> set[int]:
        """Places of the `.detach()` that ever stopped a gradient in the checks and tests, all of which must pass."""
        stopped: set[int] = set()

        def detach(place: int, value: Any) -> Any:
            if getattr(value.values if isinstance(value, Ragged) else value, "requires_grad", True):
                stopped.add(place)
            return value.detach()

        self.module.__dict__[WATCH] = detach
        self.load(watched(tree))
        if self.kit_finds() or self.tests_find():
            raise BurnishError(f"{self.record.name} fails as it is; its mutants say nothing")
        return stopped

    def _subject(self) -> Subject:
        make = loss_subject if isinstance(self.record, LossRecord) else weight_subject
        return make(self.record.name, self.registry)


def try_loss(name: str, most: int = MOST) -> Tried:
    """All mutants of one loss, or `most` of them, drawn by its name."""
    bench, began = _bench(name), time.monotonic()
    tree = ast.parse(bench.source)
    gc.freeze()  # pytest collects garbage twice a run, over everything that is imported
    try:
        stopped = bench.gradients_stopped(tree)
        found, same = mutants(tree, {bench.record.target.partition(":")[2]}, most, name)
        idle = [one for one in found if one.lets_gradients_through and one.place not in stopped]
        tried = Tried(name, bench.fingerprint, same=same + len(idle))
        for mutant in found:
            if mutant not in idle:
                _try(bench, mutant, tried)
        bench.gradients_stopped(tree)  # what fails for another reason by now has not found any mutant
    finally:
        bench.load(tree)
    tried.seconds = round(time.monotonic() - began, 1)
    return tried


def _try(bench: Bench, mutant: Mutant, tried: Tried) -> None:
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
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
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(*_: Any) -> None:
    raise TimeoutError


def _records(registry: Registry) -> dict[str, LossRecord | WeightRecord]:
    records: list[LossRecord | WeightRecord] = [*registry.records(LossRecord), *registry.records(WeightRecord)]
    return {record.name: record for record in records}


def _bench(name: str) -> Bench:
    torch.set_num_threads(1)
    registry = load(run_code=True)
    return Bench(_records(registry)[name], registry)


def kept(file: Path) -> dict[str, Tried]:
    """Results of earlier runs, the last one of every loss; a line that was cut off counts as not written."""
    found: dict[str, Tried] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError, TypeError):
            one = Tried(**json.loads(line))
            found[one.name] = one
    return found


def tried_in_turn(names: list[str], processes: int) -> Iterator[Tried]:
    """Results as they come; one that cannot be had is said and left out."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(try_loss, name) for name in names]):
            try:
                yield done.result()
            except BurnishError as error:
                print(error, flush=True)


def table(results: list[Tried], missing: list[str]) -> str:
    """The results as a page. missing: losses and weights without one."""
    killed, total = sum(one.killed for one in results), sum(one.total for one in results)
    same = sum(one.same + len(one.explained) for one in results)
    lines = [
        "# Mutants of the losses",
        "",
        "Small mistakes planted in every registered loss and weight, one at a time: a sign, a sum for a mean, an off-by-one, a",
        f"missing stop of the gradient, swapped roles, a constant, a comparison; {MOST} of each, drawn by its name, or all",
        "there are. Written by `python tests/benchmarks/loss_mutants.py`.",
        "",
        f"{killed} of {total} are found ({killed / max(total, 1):.1%}), by the conformance kit's checks that need no model or",
        f"by the package's own tests. {same} more compute the same numbers and cannot be found: the same formula in other",
        "words, a `.detach()` of what carries no gradient, and what is listed below with its reason.",
        *([f"Not tried since they or their tests last changed: {', '.join(missing)}."] if missing else []),
        "",
        "| loss or weight | mutants | found by the kit | by the package's tests | not found | the same numbers |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        same = one.same + len(one.explained)
        lines.append(f"| {one.name} | {one.total} | {one.by_kit} | {one.by_tests} | {len(one.missed)} | {same} |")
    if left := [f"- {one.name}: {what}" for one in results for what in one.missed]:
        lines += ["", "## Not found", "", *left]
    if equal := [f"- {one.name}: {what}. {SAME_NUMBERS[one.name, what]}" for one in results for what in one.explained]:
        lines += ["", "## The same numbers", "", *equal]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--resume", action="store_true", help="keep what is in the file of results and still holds")
    parser.add_argument("--table", action="store_true", help="only write the page, of what was kept")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    registry = load(run_code=True)
    records = _records(registry)
    if unknown := set(given.names) - set(records):
        raise BurnishError(f"no loss or weight named {sorted(unknown)}")
    results = kept(given.results) if given.resume or given.table else {}
    if not given.names:
        results = {name: one for name, one in results.items() if name in records and _still_holds(one, records, registry)}
    wanted = given.names or [name for name in records if name not in results]
    given.results.parent.mkdir(parents=True, exist_ok=True)
    with given.results.open("a" if given.resume or given.table else "w", encoding="utf-8") as file:
        for one in tried_in_turn([] if given.table else wanted, given.processes):
            results[one.name] = one
            print(json.dumps(asdict(one)), file=file, flush=True)
            said = f"{one.name}: {one.by_kit} + {one.by_tests} of {one.total}, {one.seconds:.0f} s"
            print(said, *one.missed, sep="\n  ", flush=True)
    missing = [name for name in records if name not in results]
    if not given.names or not missing:
        TABLE.write_text(table([results[name] for name in records if name in results], missing), encoding="utf-8")


def _still_holds(one: Tried, records: dict[str, LossRecord | WeightRecord], registry: Registry) -> bool:
    return Bench(records[one.name], registry).fingerprint == one.fingerprint


if __name__ == "__main__":
    main()
