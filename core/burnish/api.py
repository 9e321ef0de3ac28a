"""`train`: the command of the same name as a function, which takes live objects too. Importing this imports torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from burnish.config import Config, load_config
from burnish.config.defaults import with_plugin_options
from burnish.engine.distributed import make_accelerator, on_first
from burnish.engine.export import export_model
from burnish.engine.loop import train_loop
from burnish.engine.progress import quiet_libraries
from burnish.engine.rescue import rescued
from burnish.engine.resume import Resume, check_data, find_checkpoint, restore, settled
from burnish.engine.rundir import RunDirectory
from burnish.engine.setup import Live, set_up
from burnish.engine.tracking import start_trackers
from burnish.registry import Registry
from burnish.registry import load as load_registry

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class RunResult:
    """A finished run. path: its directory; model_path: the trained model in Hugging Face form; metrics: of the last step;
    before: the evaluation before the first step, {} without `evaluate.at_start`; evaluation: of the weights that the model has,
    {} where nothing was held out."""

    path: Path
    model_path: Path
    metrics: Mapping[str, Any]
    before: Mapping[str, float]
    evaluation: Mapping[str, float]


def train(
    config: str | Path | Mapping[str, Any] | Config,
    model: nn.Module | str | Path | None = None,
    tokenizer: Any = None,
    data: Rows | Mapping[str, Rows] | str | Path | None = None,
    rewards: Sequence[Callable[..., Any]] | None = None,
    observers: Sequence[object] | None = None,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    step: int | None = None,
    allow_changes: bool = False,
) -> RunResult:
    """Train as `config` says: a YAML file, a mapping of the same shape, or a `Config`.

    model, tokenizer: in place of what `model.name` would load. data: rows of the source `main`, or of several by name. A text
    as model or data stands for `model.name` or `data.main.source`. rewards: functions to evaluate with, beside the config's.
    observers: objects with some of the methods `run_started(run)`, `step_finished(run, step)`, `run_finished(run)`,
    `run_stopped(run, error)`; the second may return "stop", "save" or "evaluate". overrides: `key.path=value`.

    resume: go on with the run in `output`, from its newest checkpoint or that of `step`; what changed since is refused unless
    `allow_changes`. Raises `BurnishError` for mistakes, and `KeyboardInterrupt`, after saving, when a signal came.
    """
    named = {"model.name": model, "data.main.source": data}
    names = [f"{path}={json.dumps(str(value))}" for path, value in named.items() if isinstance(value, str | Path)]
    overrides = [*overrides, *names]
    rows = data if isinstance(data, Mapping) else {} if data is None or isinstance(data, str | Path) else {"main": data}
    module = None if isinstance(model, str | Path) else model
    live = Live(module, tokenizer, rows, tuple(rewards or ()), tuple(observers or ()))
    given = {f"data.{name}.source": "given rows" for name in rows}
    asked = config if isinstance(config, Config) and not overrides else load_config(_source(config), overrides, given=given)
    asked = asked.with_values({path: value for path, value in given.items() if path.split(".")[1] not in asked.data}, "given")
    registry = load_registry(asked.plugins.disable, run_code=True)
    directory = RunDirectory(asked.output)
    if resume:
        directory.require()
        asked = settled(asked, load_config(directory.config, registry=registry))
    asked = with_plugin_options(asked, registry)
    accelerator = make_accelerator(asked.train, asked.track, directory.path)
    with quiet_libraries(), _owned(directory, accelerator, resume):
        return _train(asked, registry, live, directory, accelerator, Resume(step, allow_changes))


def _train(
    config: Config, registry: Registry, live: Live, directory: RunDirectory, accelerator: Accelerator, resume: Resume
) -> RunResult:
    """A function of its own, so that the run is gone before the processes part (see `_owned`)."""
    folder = find_checkpoint(config, registry, directory, resume, accelerator)
    run = set_up(config, registry, live, directory, accelerator, partial(check_data, folder, resume))
    restore(run, folder, resume)
    if accelerator.is_main_process:
        directory.write(run.config, registry.fingerprint())
    start_trackers(accelerator, directory.path.name, run.config.model_dump(mode="json"))
    with run.observers.told_of_errors(run), closing(run.batches), rescued(run):
        train_loop(run)
        export_model(run)
    run.observers.tell("run_finished", run=run)
    run.progress.compare(run.state.first, run.state.evaluation)
    run.progress.say(f"model: {directory.model}")
    return RunResult(run.path, directory.model, run.last, run.state.first, run.state.evaluation)


def _source(config: str | Path | Mapping[str, Any] | Config) -> str | Path | Mapping[str, Any]:
    return config.model_dump(mode="json") if isinstance(config, Config) else config


@contextmanager
def _owned(directory: RunDirectory, accelerator: Accelerator, resume: bool) -> Iterator[None]:
    """Within it, this run is the only writer of `directory`; trackers are closed at its end."""

    def take() -> None:
        if not resume:
            directory.create()
        directory.lock()

    on_first(accelerator, take)
    try:
        yield
    finally:
        directory.unlock()
        # DDP must go before the process group: its destructor holds Python's lock, and gloo's threads may still want it.
        accelerator.free_memory()
        accelerator.end_training()
