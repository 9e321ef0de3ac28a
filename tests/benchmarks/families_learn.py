"""Does each family of offline methods move its own held-out measure, over seeds, against learning rate 0?

    python tests/benchmarks/families_learn.py --data ../shared/data --write docs/results/families.md

SmolLM2-135M-Instruct, all weights, float32. Measures, all on held-out rows: share of target tokens that are the most likely
ones (supervised); share of pairs whose chosen answer gets the higher reward (preferences; reference-free losses start from the
model's own taste, others from chance); AUC of the implicit reward between good and bad answers (KTO); share of pairs whose
chosen answer scores higher (reward models; a fresh head, drawn from the seed); F1 of the first wrong step (process reward
models), beside naming the most frequent first wrong step always.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learning_table import show

import burnish
from burnish import registry
from burnish.api import RunResult
from burnish.config.sections import RenderSection, SourceSection
from burnish.data.examples import Example, RowError
from burnish.data.prepare import open_reader
from burnish.data.render import Renderer
from burnish.data.units import Unit
from burnish.engine.saved import open_saved
from burnish.judging.classifier import Classifier
from burnish.judging.contests import auc
from burnish.judging.evidence import Evidence
from burnish.judging.steps import FirstWrong, majority
from burnish.model.check import check_layout
from burnish.model.roles import Roles
from burnish.model.scorer import Scorer
from burnish.model.signals import logp

MODEL = "smollm2-135m-instruct"
Measure = Callable[["Family", Path, RunResult], float]


@dataclass(frozen=True)
class Family:
    """One method that stands for a family. held: rows held out; floor: what knowing nothing gives, where lr 0 gives less;
    fresh: whether a head is drawn from the seed, so that lr 0 has a result for each seed."""

    name: str
    objective: list[Any]
    folder: str
    measure: str
    rate: float
    steps: int
    batch_size: int
    max_length: int
    take: Measure
    source: dict[str, Any] = field(default_factory=dict)
    floor: float | None = 0.5
    rows: int = 1000
    held: int = 101
    task: str | None = None
    fresh: bool = False

    def config(self, data: Path, seed: int, rate: float, output: Path) -> dict[str, Any]:
        """A run; with rate 0 one step says all."""
        train, test = (self.rows_of(data, part, output.parent) for part in ("train", "test"))
        return {
            "model": {"name": MODEL},
            "data": {"main": {"source": str(train), "limit": self.rows, "holdout": str(test), **self.source}},
            "render": {"max_length": self.max_length},
            "objective": self.objective,
            "train": {"batch_size": self.batch_size, "steps": self.steps if rate else 1, "seed": seed},
            "optimizer": {"lr": rate},
            "schedule": {"name": "linear", "warmup": 0.1},
            "evaluate": {"limit": self.held},
            "output": str(output),
        }

    def rows_of(self, data: Path, part: str, folder: Path) -> Path:
        """The file of a part; of one task, where the family asks for one."""
        whole = data / self.folder / f"{part}.jsonl"
        if self.task is None:
            return whole
        some = folder / f"{part}.jsonl"
        lines = [line for line in whole.read_text("utf-8").splitlines() if f'"task": "{self.task}"' in line]
        some.write_text("\n".join(lines) + "\n", "utf-8")
        return some


def reported(name: str) -> Measure:
    """What the run's own evaluation says."""
    return lambda family, test, result: result.evaluation[f"eval/{name}"]


def examples(family: Family, test: Path) -> list[Example]:
    """The held-out rows, as the run read them."""
    reader = open_reader("main", SourceSection(source=str(test), **family.source), registry.load())
    found = [example for _, example in reader.examples() if not isinstance(example, RowError)]
    return found[: family.held]


def implicit_auc(family: Family, test: Path, result: RunResult) -> float:
    """AUC of log p(answer) after against before, between good and bad answers."""
    sums, labels = [], []
    for what in (str(result.path), MODEL):
        saved = open_saved(what, registry.load())
        renderer = Renderer(saved.tokenizer, RenderSection(max_length=family.max_length, cache=False))
        rendered = renderer.render_many(examples(family, test), "main", range(family.held))
        units = [one.result for one in rendered if isinstance(one.result, Unit)]
        sequences = [unit.sequences[0] for unit in units]
        kind = check_layout(saved.model).kind
        roles = Roles(Scorer(saved.model.eval(), kind), kind)
        masks = [sequence.masks["completion"] for sequence in sequences]
        found = roles.score_frozen("old", sequences, masks, (logp("old"),), 4096)
        sums.append([float(one[logp("old")].sum()) for one in found])
        labels = [bool(sequence.scalars["label"]) for sequence in sequences]
    return auc([after - before for after, before in zip(*sums, strict=True)], labels) or 0.0


def first_wrong_f1(family: Family, test: Path, result: RunResult) -> float:
    """F1 of the first wrong step on the held-out solutions."""
    found = judged(family, test, result)
    return FirstWrong.of(found.named, found.true).f1


def judged(family: Family, test: Path, result: RunResult) -> Evidence:
    """What the trained process reward model says of the held-out solutions."""
    classifier, evidence = Classifier.open(str(result.path), registry.load()), Evidence("product")
    rows = examples(family, test)
    for example, verdict in zip(rows, classifier.judge(rows), strict=True):
        evidence.hear(example, verdict)
    return evidence


POLITE, STEPS = "pref_politeness", "stepwise_mistakes"
FAMILIES = [
    Family("dft", ["dft"], "instruct_alpaca", "token accuracy", 5e-5, 8, 12, 160, reported("mean_token_accuracy"), floor=None),
    Family("simpo", ["simpo"], POLITE, "pair accuracy", 1e-4, 16, 8, 128, reported("rewards/accuracies")),
    Family("kto", ["kto"], POLITE, "AUC", 2e-5, 8, 12, 128, implicit_auc, {"pairing": "undo"}, held=120),
    Family("bradley_terry", ["bradley_terry"], POLITE, "pair accuracy", 1e-4, 14, 8, 128, reported("accuracy"), fresh=True),
    Family("prm", ["prm"], STEPS, "F1", 1e-4, 64, 8, 320, first_wrong_f1, task="tracking_shuffled_objects", fresh=True),
]


def train(family: Family, data: Path, seed: int, rate: float) -> tuple[float, float]:
    """The held-out measure after a run, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        config = family.config(data, seed, rate, Path(folder) / "run")
        result = burnish.train(config)
        seconds = time.perf_counter() - started
        return family.take(family, Path(config["data"]["main"]["holdout"]), result), seconds


def baseline(family: Family, data: Path) -> float | None:
    """What knowing nothing gives: for first wrong steps, naming the most frequent one always."""
    if family.take is not first_wrong_f1:
        return family.floor
    with tempfile.TemporaryDirectory() as folder:
        rows = examples(family, family.rows_of(data, "test", Path(folder)))
    evidence = Evidence("product")
    true = [next((place for place, label in enumerate(row.labels) if label < 0.5), None) for row in rows]  # type: ignore[union-attr]
    evidence.true += true
    return majority(evidence.true).f1


def report(family: Family, data: Path, seeds: range) -> Iterator[tuple[object, ...]]:
    floor, still = baseline(family, data), 0.0
    for seed in seeds:
        if family.fresh or seed == seeds[0]:
            still, _ = train(family, data, seed, 0.0)
        after, seconds = train(family, data, seed, family.rate)
        against = max(still, floor or still)
        cells = (family.name, family.folder, f"{family.rate:g}", f"{family.steps} x {family.batch_size}", seed, family.measure)
        numbers = ("" if floor is None else f"{floor:.3f}", f"{still:.4f}", f"{after:.4f}", f"{after - against:+.4f}")
        yield *cells, *numbers, "" if after > against else "no gain", f"{seconds:.0f}"


if __name__ == "__main__":
    run_by = ("method", "data", "lr", "steps x units", "seed", "held-out measure")
    show(__doc__ or "", (*run_by, "floor", "lr 0", "after", "gain", "", "seconds"), FAMILIES, report)
