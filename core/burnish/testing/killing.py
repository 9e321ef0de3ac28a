"""Online runs that die for good in the middle of something: what must be true of one once it has come to its end all the same.

In: a config whose data, model and rewards lie in files, since every life of a run is a process of its own. Out: nothing, or an
AssertionError.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file

from burnish.api import train
from burnish.config import load_config
from burnish.engine.checkpoint import Checkpoints
from burnish.engine.rundir import RunDirectory
from burnish.engine.scheduling import pace_of
from burnish.rollout.journal import Journal
from burnish.rollout.trajectory import Trajectory

EVENTS = (
    "os:fsync",
    "os:rename",
    "os:replace",
    "burnish.engine.step:StepRunner.run",
    "burnish.engine.sending:outgoing",
    "burnish.engine.sending:require_receipt",
)
"""Functions before whose calls a run may be killed: a file is synced or renamed, a batch is run, an update of a backend is
begun, the receipt for one is looked at."""
NEVER = -1
LIFE_S = 600.0  # seconds that a life may take


def assert_survives(config: Mapping[str, Any], kills: Sequence[int], events: Sequence[str] = EVENTS) -> None:
    """Kill a run at these of its events, one life after another (see `live`), let the last life come to its end, and look at
    what it has left: every step once; no prompt twice, and none left out but those that were under way at the end; no token
    older than `rollout.max_staleness`; and what was journaled makes the same weights again, bit for bit, and nothing else is
    written. The config keeps all checkpoints.
    """
    for life, event in enumerate([*kills, NEVER]):
        killed = live(config, event, events, resume=life > 0) is None
        assert killed is (event != NEVER), f"life {life} ended before its event {event}"
    assert_whole(config)
    directory = RunDirectory(config["output"])
    weights, files = _weights(directory), sorted(directory.rollouts.iterdir())
    [first, *_] = Checkpoints(directory.checkpoints, keep=1).steps()
    train(config, resume=True, step=first)
    assert sorted(directory.rollouts.iterdir()) == files, "a run from a whole journal drew more"
    again = _weights(directory)
    assert weights.keys() == again.keys()
    different = [name for name, tensor in weights.items() if not torch.equal(tensor, again[name])]
    assert not different, f"trained again from the journal, these are others: {different[:3]}"


def live(config: Mapping[str, Any], until: int = NEVER, events: Sequence[str] = EVENTS, **options: Any) -> int | None:
    """One life of a run, in a process of its own. How many events it saw; None where it was killed.

    until: it is killed just before this event, counted from 0. events: functions whose calls they are, as `module:function` or
    `module:Class.function`. options: of `burnish.train`. AssertionError where it failed, or took longer than ten minutes.
    """
    children = multiprocessing.get_context("forkserver")
    children.set_forkserver_preload(["burnish.api"])
    with TemporaryDirectory() as folder:
        counted = Path(folder) / "events"
        arguments = (until, counted, dict(config), tuple(events), options, dict(os.environ))
        process = children.Process(target=_live, args=arguments)
        process.start()
        process.join(LIFE_S)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"a life of the run {config['output']} took longer than {LIFE_S:g} s")
        if until != NEVER and process.exitcode == -signal.SIGKILL:
            return None
        assert process.exitcode == 0, f"a life of the run {config['output']} ended with {process.exitcode}"
        return int(counted.read_text())


def _live(
    until: int,
    counted: Path,
    config: dict[str, Any],
    events: Sequence[str],
    options: dict[str, Any],
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)  # the process from which all lives are forked has that of its own start
    counter = itertools.count()

    def fatal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if next(counter) == until:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    for event in events:
        module, _, path = event.partition(":")
        parent, _, name = path.rpartition(".")
        owner = resolve_name(f"{module}:{parent}" if parent else module)
        setattr(owner, name, fatal(getattr(owner, name)))
    train(config, **options)
    counted.write_text(str(next(counter)))


def assert_whole(config: Mapping[str, Any]) -> None:
    """AssertionError unless the steps, prompts and versions of a run that has ended are as `assert_survives` says."""
    loaded = load_config(config)
    assert loaded.rollout is not None
    pace, directory = pace_of(loaded.rollout, loaded.train.batch_size), RunDirectory(config["output"])
    journal = Journal(directory.rollouts)
    batches: list[list[Trajectory]] = [journal.read(number) or [] for number in journal.numbers()]

    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == list(range(1, len(steps) + 1)), f"the steps of its metrics are {steps}"

    groups = [group for batch in batches for group in {one.origin.group for one in batch}]
    assert len(groups) == len(set(groups)), "a prompt is in two rollout batches"
    left_out = set(range(max(groups))) - set(groups)
    under_way = pace.size * (1 + pace.ahead) + pace.extra
    assert len(left_out) <= under_way, f"{len(left_out)} prompts were skipped, more than the {under_way} that are under way"

    version = 0
    for number, batch in enumerate(batches):
        trained = [one for one in batch if one.is_trainable]
        ages = {version - int(drawn) for one in trained for drawn in one.versions[one.own]}
        assert ages <= set(range(pace.max_staleness + 1)), f"tokens of rollout batch {number} are {ages} versions old"
        version += pace.steps * bool(trained)


def _weights(directory: RunDirectory) -> dict[str, torch.Tensor]:
    [file] = directory.model.glob("*model.safetensors")
    tensors: dict[str, torch.Tensor] = load_file(file)
    return tensors
