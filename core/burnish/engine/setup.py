"""From a config to a run that can start: in the order in which mistakes are cheapest, data before weights.

In: a checked config, the registry, live objects in place of what the config would load. Out: a `Run`. What says `auto` is
decided here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import nn

from burnish.batch.layout import Kind
from burnish.config import Config
from burnish.config.sections import RewardSection
from burnish.data.cache import cache_folder
from burnish.data.dataset import Cursor, TrainData, build_dataset
from burnish.engine.alarms import alarms_of
from burnish.engine.budget import choose_budget, free_bytes
from burnish.engine.checkpoint import Trained
from burnish.engine.distributed import (
    check_critic,
    check_saving,
    check_sync,
    launch_warning,
    on_first,
    precision_warning,
)
from burnish.engine.guard import Guard
from burnish.engine.memory import state_bytes
from burnish.engine.models import check_models, following, load_models, with_head
from burnish.engine.observers import Observers
from burnish.engine.online import Rollouts
from burnish.engine.optim import build_optimizer, check_optimizer
from burnish.engine.parts import Online, check_values
from burnish.engine.progress import Progress
from burnish.engine.resume import origin_of
from burnish.engine.run import Run, State
from burnish.engine.rundir import RunDirectory
from burnish.engine.schedule import Schedule
from burnish.engine.scheduling import check_pace
from burnish.engine.step import StepRunner
from burnish.errors import ConfigError, PluginError
from burnish.model.hashing import weights_hash
from burnish.model.loading import load_tokenizer
from burnish.objective.compose import Objective
from burnish.objective.entries import check_kinds
from burnish.objective.roles import check_roles
from burnish.registry import Registry
from burnish.rollout.batches import OnlineBatches, ReadBatches
from burnish.rollout.foreseen import foreseen_batches, num_steps, seen_kinds, smaller_steps
from burnish.rollout.likeliest import check_likeliest
from burnish.rollout.mismatch import watched
from burnish.rollout.rewards import Reward, load_reward, told_apart


@dataclass(frozen=True)
class Live:
    """Objects in place of what the config names. data: rows by source. rewards and observers come on top of the config's."""

    model: nn.Module | None = None
    tokenizer: Any = None
    data: Mapping[str, Iterable[Mapping[str, Any]]] = field(default_factory=dict)
    rewards: Sequence[Callable[..., Any]] = ()
    observers: Sequence[object] = ()


def set_up(
    config: Config,
    registry: Registry,
    live: Live,
    directory: RunDirectory,
    accelerator: Accelerator,
    check_data: Callable[[Mapping[str, str]], None],
) -> Run:
    """Everything about a run before its first step; its config has no `auto` left to decide.

    check_data: is told the hash of each source on the first process, before the model is read, and raises where it must not be.
    """
    with config.located():
        objective = Objective.parse(config.objective, registry)
        config = with_head(config, objective)
    if config.rollout is not None:
        objective = objective.sampled_at(dict.fromkeys(config.rollout.sources, config.rollout.sampling.temperature))
        objective = watched(objective, config.rollout)
    check_roles(config, objective.entries)
    rewards, online = _rewards(config, registry, live)
    if online is not None:
        with config.located():
            check_pace(online.section, online.backend, config.train.batch_size, accelerator)
            check_likeliest(objective, online.section, online.backend)
            check_values(online, objective)
    observers = Observers(registry, live.observers)
    progress = Progress(shown=accelerator.is_main_process)
    progress.say(launch_warning(), precision_warning(config.train), smaller_steps(config.rollout, config.train.batch_size))
    check_saving(config.checkpoint, accelerator)
    check_sync(config.reference, accelerator)
    check_critic(config.value, accelerator)
    _refuse_other_plugins(registry)
    if live.model is not None and live.tokenizer is None and config.model.name is None:
        raise ConfigError("a model was given without its tokenizer; give `tokenizer` too, or `model.name` to take it from")
    tokenizer = load_tokenizer(config.model, registry) if live.tokenizer is None else live.tokenizer
    if live.model is None:
        check_models(config, registry, objective, tokenizer)
    check_optimizer(config, accelerator)

    def accept(kinds: Mapping[str, str]) -> None:
        check_kinds(objective.entries, seen_kinds(config.rollout, kinds))

    with config.located():
        data = _build_data(accelerator, lambda: build_dataset(config, tokenizer, registry, live.data, accept))
    progress.say(*data.report.lines())
    with config.located():
        steps = _check_data(config, data, rewards)
    schedule = Schedule(config.schedule, config.optimizer.lr, steps)
    progress.say(schedule.doubt)
    on_first(accelerator, lambda: check_data(data.fingerprints))

    set_seed(config.train.seed)  # the same on every rank, for fresh adapters
    model, roles, reason = load_models(config, registry, objective, tokenizer, accelerator, live.model)
    progress.say(reason)
    budget = _budget(config, model, objective, roles.kind, accelerator, data)
    decided: dict[str, Any] = {"model.layout": roles.kind, "train.micro_batch_tokens": budget}
    decided |= {f"data.{name}.format": report.format for name, report in data.report.sources.items()}
    config = config.with_values(decided, "decided at the start")
    main = accelerator.is_main_process
    weights = weights_hash(model) if main else ""
    optimizer = build_optimizer(config.optimizer, model.named_parameters())
    roles.policy, optimizer = accelerator.prepare(roles.policy, optimizer)
    set_seed(config.train.seed, device_specific=True)
    runner, state = StepRunner(roles, objective, budget, accelerator), State(Cursor())
    batches: OnlineBatches | ReadBatches = ReadBatches(data)
    if online is not None:
        shows = progress.counting("drawn")
        rollouts = Rollouts(
            online, config, objective, runner, model, tokenizer, accelerator, lambda: run.state.step, progress.say, steps, shows
        )
        batches = rollouts.batches(data, directory.rollouts)
        rewards = rewards or (online.rewards if data.holdout else ())
    run = Run(
        config=config,
        registry=registry,
        directory=directory,
        accelerator=accelerator,
        model=model,
        tokenizer=tokenizer,
        data=data,
        batches=batches,
        objective=objective,
        runner=runner,
        trained=Trained(model, optimizer),
        schedule=schedule,
        num_steps=steps,
        rewards=rewards,
        observers=observers,
        progress=progress,
        guard=Guard(config.guard.max_skipped),
        origin=origin_of(config, registry, data.fingerprints if main else {}, weights, accelerator.num_processes),
        state=state,
        following=following(config, model, roles),
        environments={} if online is None else online.environments,
        alarms=alarms_of(config.rollout),
    )
    return run


def _rewards(config: Config, registry: Registry, live: Live) -> tuple[tuple[Reward, ...], Online | None]:
    """Rewards of evaluations, and what makes rollouts, where the config has them. Live rewards go to the rollouts, if any."""

    def load(items: Iterable[Mapping[str, RewardSection]]) -> tuple[Reward, ...]:
        named = [(name, section) for item in items for name, section in item.items()]
        return tuple(_reward(name, section, registry) for name, section in named)

    given = tuple(Reward(getattr(function, "__name__", type(function).__name__), function) for function in live.rewards)
    rewards = load(config.evaluate.rewards)
    if config.rollout is None:
        return told_apart((*rewards, *given)), None
    with config.located():
        played = told_apart((*load(config.rollout.rewards), *given))
        return told_apart(rewards), Online.of(config.rollout, config.data, played, registry)


def _reward(name: str, section: RewardSection, registry: Registry) -> Reward:
    cache = cache_folder().parent if section.cache else None
    limits: dict[str, Any] = {"time_limit": section.time_limit, "processes": section.processes, "cache": cache}
    return load_reward(name, registry, section.weight, section.options, **limits)


def _refuse_other_plugins(registry: Registry) -> None:
    """Refuse processes that have other plugins than the first."""
    mine = registry.fingerprint()
    for rank, other in enumerate(gather_object([mine])):
        if other != mine:
            raise PluginError(f"process {rank} has other plugins than this one: {other} instead of {mine}")


def _build_data(accelerator: Accelerator, build: Callable[[], TrainData]) -> TrainData:
    """On the first process first: the others then find its cache, and are spared its errors."""
    built: list[TrainData] = []
    on_first(accelerator, lambda: built.append(build()))
    return built[0] if built else build()


def _check_data(config: Config, data: TrainData, rewards: Sequence[Reward]) -> int:
    """Refuse data that the evaluation cannot use; returns the number of steps."""
    if not data.holdout and (config.evaluate.every or config.evaluate.at_start or rewards or config.checkpoint.best):
        raise ConfigError("evaluate: there is nothing to evaluate on; give a source a `holdout`, such as `holdout: 0.1`")
    train = config.train
    steps = train.steps or num_steps(config.rollout, data, train.epochs, train.batch_size)
    if steps is None:
        raise ConfigError("train.steps: a stream has no known length, so say how many steps to train for")
    return steps


def _budget(
    config: Config, model: nn.Module, objective: Objective, kind: Kind, accelerator: Accelerator, data: TrainData
) -> int:
    """Tokens of a micro-batch; where it is `auto`, the first process decides for all."""
    if config.train.micro_batch_tokens != "auto":
        return config.train.micro_batch_tokens
    device, signals = accelerator.device, objective.signals("policy")

    def decide() -> int:
        room = free_bytes(device) - state_bytes(config.optimizer, model, device)
        foreseen = foreseen_batches(config.rollout, data, config.train.batch_size)
        batch = [] if data.steps_per_epoch is None else next(foreseen, [])  # a stream is not begun twice
        return choose_budget(model, signals, kind, config, room, device, batch)

    return on_first(accelerator, decide)
