"""The online half of a run: what the config's `rollout` section asks for, put together with the models that play and score.

In: config, the section's parts, the run's models. Out: the source of its global batches.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as List
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from torch import nn

from burnish.config import Config
from burnish.data.dataset import TrainData
from burnish.data.render import Renderer
from burnish.data.units import Sequence
from burnish.engine.distributed import on_first
from burnish.engine.finding import Finder, context_of
from burnish.engine.parts import Online
from burnish.engine.recording import Recorder
from burnish.engine.scheduling import Overlapped, collect_now, pace_of
from burnish.engine.sending import Sender
from burnish.engine.sharding import unsharded
from burnish.engine.step import StepRunner
from burnish.errors import ConfigError
from burnish.model.adapters import adapter_off
from burnish.model.scorer import Scorer
from burnish.model.signals import logp
from burnish.objective.compose import Objective
from burnish.rollout.asking import trainer_state
from burnish.rollout.batches import OnlineBatches
from burnish.rollout.contract import Backend
from burnish.rollout.copied import CopiedBackend
from burnish.rollout.filtering import keep_groups, with_signal
from burnish.rollout.foreseen import steps_a_pass
from burnish.rollout.journal import Journal
from burnish.rollout.judge import Judge, with_advantages
from burnish.rollout.likeliest import asked_for
from burnish.rollout.local import LocalBackend
from burnish.rollout.play import GREEDY, OPPONENT, Player, Prompt
from burnish.rollout.samples import Samples
from burnish.rollout.scheduler import Collected, Pace
from burnish.rollout.single_turn import goes_on
from burnish.rollout.soundness import vocabulary_of
from burnish.rollout.supply import Draw, Supply
from burnish.rollout.trajectory import Trajectory
from burnish.rollout.versioned import Versioned
from burnish.rollout.waiting import Gate, Shows, finish, unseen


@dataclass
class Rollouts:
    """Makes rollout batches with the run's models. step: how many updates have been made; shows: is told how many completions
    of a rollout batch are done."""

    online: Online
    config: Config
    objective: Objective
    runner: StepRunner
    model: nn.Module
    tokenizer: Any
    accelerator: Accelerator
    step: Callable[[], int]
    tells: Callable[..., None]
    num_steps: int
    shows: Shows
    find: Finder = field(init=False)
    samples: Samples = field(init=False)

    def batches(self, data: TrainData, folder: Any) -> OnlineBatches:
        """The source of the run's global batches."""
        section, sources = self.online.section, data.kinds
        self.samples = Samples(section.samples, Path(folder).with_name("samples"), self.tokenizer, self.tells)
        if isinstance(self.online.backend, CopiedBackend):
            self.online.backend.draw_like(self.model, self.tokenizer, self.accelerator.autocast)
        elif isinstance(self.online.backend, LocalBackend):
            stepwise = self._pace.extra > 0 or (not self._as_one and goes_on(self.online.environments))
            self.online.backend.draw_from(self.model, self.tokenizer, self._within, stepwise=stepwise, shows=self.shows)
            self.online.backend.compare_with(self._reference)
        if section.opponents is not None:
            self._check_opponents()
        played = data.only(section.sources, section.prompts)
        longest, renderer = section.sampling.max_new_tokens, Renderer(self.tokenizer, self.config.render)
        self.find = Finder(data.only(section.sources, 1), renderer, context_of(self.model), longest)

        others = [name for name in sources if name not in section.sources]
        return OnlineBatches(
            prompts=self.find.data,
            make=self.make,
            journal=Journal(folder),
            passes=section.epochs,
            steps_a_pass=steps_a_pass(section, self.config.train.batch_size),
            seed=self.config.train.seed,
            others=data.only(others, self._beside(others)) if others else None,
            exchange=lambda action: on_first(self.accelerator, action),
            tells=self.tells,
            rollouts_per_epoch=played.steps_per_epoch,
            ends=self.close,
            may=None if self.online.curriculum is None else self._may,
            pairs=section.pairs,
            recall=self.find.again,
        )

    @cached_property
    def player(self) -> Player:
        """Plays with the run's settings."""
        online = self.online
        section, seed = online.section, self.config.train.seed
        context, longest = context_of(self.model), section.sampling.max_new_tokens
        return Player(
            online.environments,
            self.backend,
            self.tokenizer,
            section.sampling,
            seed,
            section.time_limit,
            self.tells,
            section.retries.model_dump(),
            Gate(section.episodes),
            None if context is None else context - longest,
            0.0 if section.opponents is None else section.opponents.mixture,
            vocabulary_of(self.model),
            asked_for(self.objective, section),
            unseen if self.online.backend.capabilities.live else self.shows,  # what draws in this process shows more itself
        )

    @cached_property
    def overlapped(self) -> Overlapped | None:
        """Plays beside training, where tokens of earlier weights are allowed. All processes have one; the first uses it."""
        pace = self._pace
        return Overlapped(pace, Versioned(self.online.backend), self._group) if pace.ahead else None

    @property
    def backend(self) -> Backend:
        """What draws."""
        return self.online.backend if self.overlapped is None else self.overlapped.backend

    def _may(self, draw: Draw, used: int) -> bool:
        """Whether a prompt may be played yet."""
        return self.online.curriculum is None or bool(self.online.curriculum(self.find.row(draw), used))

    def close(self) -> None:
        """End what is still being played, and let the backend give back what it holds."""
        if self.overlapped is not None:
            self.overlapped.close(with_backend=self.accelerator.is_main_process)
            self._judging.shutdown()
        elif self.accelerator.is_main_process and not self.online.backend.capabilities.live:
            finish(self.online.backend.close())

    def make(self, supply: Supply, number: int) -> tuple[list[Trajectory], Mapping[str, float]]:
        """Rollout batch `number`: played, judged, scored, with advantages; the same on every rank."""
        judged, noted = self._gathered(supply, number)
        if self.overlapped is None and hasattr(self.online.backend, "rest"):
            on_first(self.accelerator, lambda: finish(self.online.backend.rest()))  # type: ignore[attr-defined]
        advantage = self.online.advantage
        mine = judged[self.accelerator.process_index :: self.accelerator.num_processes]
        every = self._together(self.recorder(mine, "values" in self._needs, self.step()))
        greedy = {one.origin.group: one.reward for one in every if one.origin.member == GREEDY}
        weights = {reward.name: reward.weight for reward in self.online.rewards}
        made = with_advantages([one for one in every if one.origin.member != GREEDY], advantage, weights, greedy)
        if self.accelerator.is_main_process:
            self.samples(number, made)
        return made, noted

    def _gathered(self, supply: Supply, number: int) -> tuple[list[Trajectory], Mapping[str, float]]:
        """Judged trajectories of a rollout batch's groups, and of those that are filtered; and how they came about."""
        if self._pace.ahead or self._pace.extra:
            return self._collected(supply, number)
        judged, missing = self._in_rounds(supply)
        self._say_missing(missing, number)
        return judged, {}

    def _collected(self, supply: Supply, number: int) -> tuple[list[Trajectory], Mapping[str, float]]:
        """From the scheduler, on the first process."""
        version, overlapped = self.step(), self.overlapped
        if not self.online.backend.capabilities.live:
            self.sender.send(version)

        def collect() -> tuple[Collected, dict[str, float]]:
            if overlapped is not None:
                return overlapped.collect(supply, version)
            collected = collect_now(self._pace, supply, self._group, version)
            return collected, {"sampling/groups/cut": float(collected.cut)}

        collected, noted = on_first(self.accelerator, collect)
        self._say_missing(collected.missing, number)
        return collected.trajectories, noted

    async def _group(self, draw: Draw) -> list[Trajectory]:
        """A group, played and judged; rewards of a run that overlaps are asked in a thread, one group after another."""
        prompt = self.find(draw)
        played = await self.player.playing([prompt], self._members, self.step())
        examples = [prompt.example] * len(played)
        if self.overlapped is None:
            return self.judge(played, examples)
        return await asyncio.get_running_loop().run_in_executor(self._judging, self.judge, played, examples)

    @cached_property
    def _judging(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "burnish rewards")

    @property
    def _members(self) -> list[int]:
        opponents = self.online.section.opponents
        beside = [GREEDY] if "greedy" in self._needs else []
        beside += [OPPONENT - number for number in range(0 if opponents is None else opponents.count)]
        return [*range(self.online.section.group_size), *beside]

    @property
    def _pace(self) -> Pace:
        return pace_of(self.online.section, self.config.train.batch_size)

    def _in_rounds(self, supply: Supply) -> tuple[list[Trajectory], int]:
        """All prompts side by side; then as many again as groups were filtered. And how many groups are missing."""
        section = self.online.section
        judged = self._judged(supply.take(section.prompts, within_epoch=not (section.filter or section.curriculum)))
        if not section.filter:
            return judged, 0
        left = section.max_refills * section.prompts
        while (missing := min(left, section.prompts - len(with_signal(judged)))) > 0:
            left -= missing
            judged += self._judged(supply.take(missing))
        kept = with_signal(judged)
        return keep_groups(judged, kept), section.prompts - len(kept)

    def _say_missing(self, missing: int, number: int) -> None:
        if missing:
            section = self.online.section
            drawn, kept = section.prompts * (1 + section.max_refills), section.prompts - missing
            self.tells(
                f"rollout batch {number}: of {drawn} prompts only {kept} gave answers of different rewards, and no more "
                f"are asked for (rollout.max_refills {section.max_refills}): it is trained on with {kept} groups"
            )

    def _judged(self, draws: List[Draw]) -> list[Trajectory]:
        """Trajectories of these prompts with their rewards, on every rank, in order."""
        prompts = [self.find(draw) for draw in draws]
        mine = self._play(prompts, self._members)
        examples = {prompt.group: prompt.example for prompt in prompts}
        judged = self.judge(mine, [examples[one.origin.group] for one in mine])
        return self._together(judged)

    @property
    def _needs(self) -> frozenset[str]:
        return getattr(self.online.advantage, "needs", frozenset())

    def _play(self, prompts: List[Prompt], members: List[int]) -> list[Trajectory]:
        """What this rank plays: its share; where the ranks hold one model together, or a server plays, the first has all."""
        accelerator, version = self.accelerator, self.step()
        if not self.online.backend.capabilities.live:
            self.sender.send(version)
            played = on_first(accelerator, lambda: self._sendable(self.player.play(prompts, members, version)))
            return played[accelerator.process_index :: accelerator.num_processes]
        if self._as_one:
            self._awaken(prompts[0])
        share = prompts if self._as_one else prompts[accelerator.process_index :: accelerator.num_processes]
        played = self.player.play(share, members, version)
        return played if not self._as_one or accelerator.is_main_process else []

    def _sendable(self, played: list[Trajectory]) -> list[Trajectory]:
        """Without the objects that played, where other processes are to judge: they cannot have them."""
        return played if self.accelerator.num_processes == 1 else [replace(one, instance=None) for one in played]

    @cached_property
    def judge(self) -> Judge:
        """Asks the rewards."""

        online = self.online

        def state() -> Any:
            return trainer_state(self.step(), self.num_steps)

        return Judge(online.rewards, self.tokenizer, online.section.on_reward_error, state, self.tells)

    @cached_property
    def sender(self) -> Sender:
        """Gives the backend the weights."""
        section, wait = self.online.section, finish if self.overlapped is None else self.overlapped.wait
        return Sender(self.backend, self.model, self.tokenizer, self.runner, section, self.accelerator, self.tells, wait)

    @cached_property
    def recorder(self) -> Recorder:
        """Notes what must be known of trajectories before the weights move."""
        section, batch_size = self.online.section, self.config.train.batch_size
        moves = section.epochs * steps_a_pass(section, batch_size) > 1
        return Recorder(self.objective, self.runner, moves, section, self.online.backend.capabilities)

    def _awaken(self, prompt: Prompt) -> None:
        """One forward of the whole: in it sharded layers learn whose they are, which the sampler does not tell them."""
        ids = np.array(prompt.ids, np.int64)
        nothing = np.zeros(len(ids), np.bool_)
        sequence = Sequence(ids, {"completion": nothing})
        self.runner.roles.score_frozen("old", [sequence], [nothing], (logp("old"),), self.runner.budget)

    @property
    def _as_one(self) -> bool:
        """Whether every forward pass needs all ranks."""
        return self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)

    def _together(self, mine: list[Trajectory]) -> list[Trajectory]:
        """What all ranks have, group after group."""
        every: list[Trajectory] = gather_object(mine)
        return sorted(every, key=lambda one: (one.origin.group, one.origin.member))

    @contextmanager
    def _within(self) -> Iterator[None]:
        with self.accelerator.autocast(), unsharded(self.runner.roles.policy):
            yield

    @contextmanager
    def _reference(self) -> Iterator[nn.Module]:
        """The reference, to draw from."""
        reference = self.runner.roles.reference
        if reference is None or reference.scorer is None:
            with adapter_off(self.model):
                yield self.model
        else:
            yield cast("Scorer", reference.scorer).model

    def _check_opponents(self) -> None:
        """ConfigError where nothing can draw opponents."""
        if not self.online.backend.capabilities.mixture:
            raise ConfigError(
                "rollout.opponents: this backend cannot draw from a mixture of the policy and its reference; `hf` can"
            )
        if self._as_one:
            raise ConfigError("rollout.opponents: a model whose layers are sharded cannot draw beside its reference")
        if self.runner.roles.reference is None:
            raise ConfigError("rollout.opponents: they are drawn with the reference, which no part of the objective reads")

    def _beside(self, others: List[str]) -> int:
        """Units of other sources in every step batch, by the weights of the sources."""
        weights = {name: section.weight for name, section in self.config.data.items()}
        share = sum(weights[name] for name in others) / sum(weights[name] for name in self.online.section.sources)
        return math.ceil(share * self.config.train.batch_size)
