"""Does `burnish plan --simulate` know how a schedule of rollouts will go? Runs beside what the simulator says of them.

    python -m tests.benchmarks.simulation_compared --write docs/results/simulation.md

Each run trains a small random model for real, and draws from a backend that only waits: it decodes its rows step by step, so
many at once, a step taking so many seconds and a little more for each row, as a server elsewhere would. The simulator is given
the same timing, the lengths in the run's journal, the seconds that its steps took, and those of a transfer. Both are looked at
after the first batches, in which everything is slow.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.clocked import Clocked

import burnish
from burnish.config import Config, load_config
from burnish.engine.prediction import measured_train_s
from burnish.engine.rundir import RunDirectory
from burnish.engine.scheduling import pace_of
from burnish.rollout.journal import Journal
from burnish.rollout.recorded import of_journal
from burnish.rollout.simulation import Prediction, simulate
from burnish.testing import tiny_model, tiny_tokenizer

BACKEND = "tests.benchmarks.clocked:Clocked"


def odd(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """Whether an answer has an odd number of tokens, so that groups differ."""
    return [float(len(ids) % 2) for ids in completion_ids]


@dataclass(frozen=True)
class Case:
    """A schedule. rollout: of the config; backend: what differs of the timing."""

    name: str
    rollout: dict[str, Any] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How large all runs are. warm: batches that are not looked at, of `batches`."""

    hidden: int = 256
    layers: int = 6
    prompts: int = 8
    group: int = 4
    mean: float = 48.0
    longest: int = 160
    token_s: float = 0.006
    row_s: float = 0.0001
    rows: int = 256
    batches: int = 16
    warm: int = 3


FEW = {"rows": 8}
QUICK = {"token_s": 0.001, "row_s": 0.00005}
TAILS = {"spread": 1.0}
CASES = [
    Case("one after the other"),
    Case("beside, 1 behind", {"max_staleness": 1}),
    Case("beside, 2 behind", {"max_staleness": 2}),
    Case("beside, 1 behind, weights in flight", {"max_staleness": 1}, {"in_flight": True}),
    Case("few rows at once, one after the other", {}, FEW),
    Case("few rows at once, beside, 1 behind", {"max_staleness": 1}, FEW),
    Case("few rows at once, 2 behind, in flight", {"max_staleness": 2}, {**FEW, "in_flight": True}),
    Case("quick sampler, one after the other", {}, QUICK),
    Case("quick sampler, beside, 1 behind", {"max_staleness": 1}, QUICK),
    Case("long tails, one after the other", {}, TAILS),
    Case("long tails, 4 more than needed", {"oversample": 4}, TAILS),
    Case("long tails, 4 more, beside, 1 behind", {"max_staleness": 1, "oversample": 4}, TAILS),
]


@dataclass(frozen=True)
class Seen:
    """A run, or what the simulator says of it, in the batches after the first. seconds: of a batch; tokens_per_s: trained on;
    waits, idle: shares of the time that the trainer waits and that nothing is drawn; staleness: of a token, in versions."""

    seconds: float
    tokens_per_s: float
    waits: float
    idle: float
    staleness: float


class Watch:
    """An observer that notes, after every batch: the time, the seconds that the trainer has waited, those of drawing."""

    def __init__(self) -> None:
        self.notes: list[tuple[float, float, float]] = []
        self.sent: list[float] = []
        self.staleness: list[float] = []
        self.waited = 0.0

    def run_started(self, run: Any) -> None:
        """Listen where the trainer waits: for the transfer, for the batch."""
        rollouts = run.batches.make.__self__
        self.backend: Clocked = rollouts.online.backend
        gathered, send = rollouts._gathered, rollouts.sender.send

        def waits(*asked: Any) -> Any:
            began = time.perf_counter()
            found = gathered(*asked)
            self.waited += time.perf_counter() - began
            return found

        def sends(version: int) -> None:
            began = time.perf_counter()
            send(version)
            self.sent.append(time.perf_counter() - began)

        rollouts._gathered, rollouts.sender.send = waits, sends

    def step_finished(self, run: Any, step: Any) -> None:
        """A batch is trained on."""
        self.notes.append((time.perf_counter(), self.waited, self.backend.busy_s))
        self.staleness.append(step.metrics.get("sampling/staleness/mean", 0.0))


def trained(case: Case, scale: Scale, folder: Path) -> tuple[Config, Watch]:
    """A run; gives its config and what was noted."""
    shape = {"hidden_size": scale.hidden, "intermediate_size": 3 * scale.hidden, "num_hidden_layers": scale.layers}
    model = tiny_model("llama", **shape, head_dim=scale.hidden // 4, max_position_embeddings=1024, initializer_range=0.02)
    timing = {"token_s": scale.token_s, "row_s": scale.row_s, "rows": scale.rows, "mean": scale.mean, "spread": 0.5}
    batch_size = scale.prompts * scale.group
    rows = [{"prompt": f"What is {number}?"} for number in range(4 * scale.prompts * scale.batches)]
    config = load_config(
        {
            "objective": [{"grpo": {}}],
            "rollout": {
                "prompts": scale.prompts,
                "group_size": scale.group,
                "backend": {BACKEND: {**timing, **case.backend}},
                "sampling": {"max_new_tokens": scale.longest},
                # What it says of probabilities is not true: there are no weights.
                "receipts": {"handshake": False, "warn": 1e6, "stop": 1e6},
                "mismatch": {"warn": None},
                **case.rollout,
            },
            "train": {"batch_size": batch_size, "steps": scale.batches, "micro_batch_tokens": 1024},
            "optimizer": {"lr": 0.0},
            "render": {"cache": False},
            "output": str(folder / "run"),
        },
        given={"data.main.source": "given rows"},
    )
    watch = Watch()
    burnish.train(config, model=model, tokenizer=tiny_tokenizer(False), data=rows, rewards=[odd], observers=[watch])
    return config, watch


def seen(watch: Watch, tokens: int, warm: int) -> Seen:
    """What a run was like after its first batches, in which it trained on so many tokens."""
    (began, waited, drawn), (ended, waited_then, drawn_then) = watch.notes[warm - 1], watch.notes[-1]
    seconds, batches = ended - began, len(watch.notes) - warm
    return Seen(
        seconds=seconds / batches,
        tokens_per_s=tokens / seconds,
        waits=(waited_then - waited) / seconds,
        idle=1 - (drawn_then - drawn) / seconds,
        staleness=statistics.mean(watch.staleness[warm:]),
    )


def foreseen(whole: Prediction, first: Prediction) -> Seen:
    """What the simulator says of the batches after the first: all without those."""
    seconds, batches = whole.seconds - first.seconds, whole.batches - first.batches
    tokens = whole.tokens - first.tokens
    return Seen(
        seconds=seconds / batches,
        tokens_per_s=tokens / seconds,
        waits=(whole.trainer_idle * whole.seconds - first.trainer_idle * first.seconds) / seconds,
        idle=(whole.sampler_idle * whole.seconds - first.sampler_idle * first.seconds) / seconds,
        staleness=(whole.staleness_mean * whole.tokens - first.staleness_mean * first.tokens) / tokens,
    )


def compare(case: Case, scale: Scale, folder: Path, send_s: float) -> tuple[Seen, Seen, float]:
    """A run and what the simulator says of it, with the run's lengths and the seconds of its steps; and those of a transfer.

    send_s: of a transfer, where this run cannot tell it, since the sampler is emptied in it too.
    """
    config, watch = trained(case, scale, folder)
    assert config.rollout is not None
    directory = RunDirectory(config.output)
    journal = Journal(directory.rollouts)
    batches = [journal.read(number) or [] for number in journal.numbers()]
    tokens = sum(int(one.own.sum()) for batch in batches[scale.warm :] for one in batch if one.is_trainable)
    train_s = measured_train_s(directory.path)
    assert train_s is not None
    send_s = send_s if config.rollout.max_staleness else statistics.median(watch.sent)
    timing = replace(watch.backend.timing, train_s=train_s, send_s=send_s)
    pace, recorded = pace_of(config.rollout, config.train.batch_size), of_journal(journal, scale.group)
    in_flight = watch.backend.capabilities.in_flight
    whole, first = (simulate(pace, timing, recorded, count, in_flight) for count in (scale.batches, scale.warm))
    return seen(watch, tokens, scale.warm), foreseen(whole, first), send_s


def hidden(apart: Seen, beside: Seen, send_s: float) -> float:
    """Of the shorter phase, drawing or training, the share that costs no time when both go on beside each other.

    Drawing is what the trainer waits for where it does one after the other, but for the transfer; training is all that the
    trainer does in this very run, since a machine is not equally fast all the time.
    """
    draw, train = apart.waits * apart.seconds - send_s, (1 - beside.waits) * beside.seconds
    return (draw + train + send_s - beside.seconds) / min(draw, train)


def markdown(found: Mapping[str, tuple[Seen, Seen, float]]) -> str:
    """Measured and foreseen side by side; then what overlapping has hidden. found: with the seconds of a transfer."""
    lines = [
        "| schedule | s/batch | foreseen | off by | tokens/s | foreseen | trainer waits | foreseen | sampler idle | foreseen "
        "| staleness | foreseen |",
        "|---|" + "---:|" * 11,
    ]
    for name, (run, told, _) in found.items():
        cells = [
            f"{run.seconds:.3f} | {told.seconds:.3f} | {told.seconds / run.seconds - 1:+.1%}",
            f"{run.tokens_per_s:.0f} | {told.tokens_per_s:.0f}",
            f"{run.waits:.0%} | {told.waits:.0%} | {run.idle:.0%} | {told.idle:.0%}",
            f"{run.staleness:.2f} | {told.staleness:.2f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| beside each other | drawing, s | training, s | transfer, s | hidden of the shorter phase | foreseen |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    apart: tuple[Seen, Seen, float] | None = None
    for name, (run, told, send_s) in found.items():
        if "one after the other" in name:
            apart = run, told, send_s
        elif apart is not None and "behind" in name:
            phases = f"{apart[0].waits * apart[0].seconds - send_s:.3f} | {(1 - run.waits) * run.seconds:.3f} | {send_s:.3f}"
            shares = f"{hidden(apart[0], run, send_s):.0%} | {hidden(apart[1], told, send_s):.0%}"
            lines.append(f"| {name} | {phases} | {shares} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--batches", type=int, default=Scale.batches)
    parser.add_argument("--write", type=Path, help="Markdown file; what stands above its first table is kept")
    asked = parser.parse_args()
    scale = Scale(batches=asked.batches)
    found, send_s = {}, 0.0
    for case in (case for case in CASES if asked.case in case.name):
        with tempfile.TemporaryDirectory() as folder:
            found[case.name] = compare(case, scale, Path(folder), send_s)
        send_s = found[case.name][2]
        print(case.name, *found[case.name], flush=True)
    print(markdown(found))
    if asked.write:
        old = asked.write.read_text(encoding="utf-8") if asked.write.is_file() else "# Schedules, measured and foreseen\n\n"
        asked.write.write_text(old.partition("\n| schedule")[0].rstrip() + "\n\n" + markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
