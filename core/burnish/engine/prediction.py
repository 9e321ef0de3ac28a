"""What a schedule of rollouts costs, in words: `burnish plan --simulate`. In: a config and timings. Out: sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from burnish.config import Config
    from burnish.rollout.simulation import Prediction, Recorded

BATCHES = 64


@dataclass(frozen=True)
class Assumed:
    """What the user says about speed. like: a run whose lengths, rewards and training speed are taken; the rest as options of
    the command, None where they are not given."""

    like: Path | None
    mean_length: float | None
    spread: float
    token_s: float | None
    row_s: float
    rows: int
    train_s: float | None
    send_s: float
    in_flight: bool


def simulation(config: Config, assumed: Assumed) -> Iterator[str]:
    """What the config's schedule would come to, and what others would."""
    from dataclasses import replace

    from burnish.engine.scheduling import pace_of
    from burnish.errors import ConfigError
    from burnish.rollout.simulation import Timing, simulate

    if config.rollout is None:
        raise ConfigError("--simulate: the config has no section `rollout`, so there is no schedule to simulate")
    train_s = assumed.train_s if assumed.train_s is not None or assumed.like is None else measured_train_s(assumed.like)
    if assumed.token_s is None or train_s is None:
        raise ConfigError(
            "--simulate needs --token-s, the seconds of a decoding step, and --train-s, those of an optimiser step; "
            "--like RUN takes the latter from a run"
        )
    recorded = _recorded(config, assumed)
    timing = Timing(
        token_s=assumed.token_s, row_s=assumed.row_s, rows=assumed.rows, train_s=train_s, send_s=assumed.send_s
    )
    pace = pace_of(config.rollout, config.train.batch_size)
    others = sorted({0, 1, 2, pace.ahead})
    yield f"{BATCHES} rollout batches, {timing.train_s:.3g} s a step, {timing.token_s:.3g} s a token:"
    for ahead in others:
        tried = replace(pace, max_staleness=pace.max_staleness if ahead == pace.ahead else ahead * pace.steps)
        mark = "  <- this config" if ahead == pace.ahead else ""
        yield f"  {line(tried.max_staleness, simulate(tried, timing, recorded, BATCHES, assumed.in_flight))}{mark}"


def line(max_staleness: int, found: Prediction) -> str:
    """One schedule in one line."""
    return (
        f"max_staleness {max_staleness}: {found.tokens_per_s:,.0f} tokens/s, {found.seconds / found.batches:.3g} s a batch; "
        f"the trainer waits {found.trainer_idle:.0%}, the sampler {found.sampler_idle:.0%} of the time; "
        f"staleness {found.staleness_mean:.2f} (at most {found.staleness_max}); {found.replayed} groups played again"
    )


def _recorded(config: Config, assumed: Assumed) -> Recorded:
    from burnish.engine.rundir import RunDirectory
    from burnish.errors import ConfigError
    from burnish.rollout.journal import Journal
    from burnish.rollout.recorded import of_distribution, of_journal

    section = config.rollout
    if section is None or (assumed.like is None) == (assumed.mean_length is None):
        raise ConfigError("--simulate needs lengths: --like RUN (those of its rollouts), or --mean-length N")
    if assumed.like is not None:
        return of_journal(Journal(RunDirectory(assumed.like).rollouts), section.group_size)
    mean, longest = assumed.mean_length or 1.0, section.sampling.max_new_tokens
    return of_distribution(mean, assumed.spread, longest, section.group_size, config.train.seed)


def measured_train_s(run: Path) -> float | None:
    """Seconds of an optimiser step, the mean over the run's steps; None where it has too few."""
    from burnish.engine.rundir import RunDirectory

    path = RunDirectory(run).metrics
    lines = [json.loads(text) for text in path.read_text().splitlines()] if path.is_file() else []
    steps = [one for one in lines if "tokens_per_s" in one]
    seconds = [(after["num_tokens"] - before["num_tokens"]) / after["tokens_per_s"] for before, after in pairwise(steps)]
    return sum(seconds) / len(seconds) if seconds else None
