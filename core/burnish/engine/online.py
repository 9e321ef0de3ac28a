"""The online half of a run: what the config's `rollout` section asks for, put together with the models that play and score.

In: config, registry, then the run's models. Out: the source of its global batches. Refuses before the model is read what the
config and the data alone show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as List
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from torch import nn

from burnish.config import Config
from burnish.config.options import construct
from burnish.config.sections import RolloutSection
from burnish.data.dataset import TrainData
from burnish.data.render import Renderer
from burnish.data.units import Sequence
from burnish.engine.distributed import on_first
from burnish.engine.finding import Finder, context_of
from burnish.engine.recording import Recorder
from burnish.engine.sending import Sender
from burnish.engine.sharding import unsharded
from burnish.engine.step import StepRunner
from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective.compose import Objective
from burnish.registry import AdvantageRecord, BackendRecord, EnvironmentRecord, Record, Registry
from burnish.rollout.batches import OnlineBatches
from burnish.rollout.contract import Advantage, Backend, Environment
from burnish.rollout.filtering import keep_groups, with_signal
from burnish.rollout.foreseen import steps_a_pass
from burnish.rollout.journal import Journal
from burnish.rollout.judge import Judge, with_advantages
from burnish.rollout.local import LocalBackend
from burnish.rollout.play import GREEDY, Player, Prompt
from burnish.rollout.rewards import Reward
from burnish.rollout.single_turn import SingleTurn
from burnish.rollout.supply import Draw, Supply
from burnish.rollout.trajectory import Trajectory


@dataclass(frozen=True)
class Online:
    """The parts of the section `rollout`, made."""

    section: RolloutSection
    environment: Environment
    backend: Backend
    advantage: Advantage
    rewards: tuple[Reward, ...]

    @classmethod
    def of(cls, section: RolloutSection, rewards: tuple[Reward, ...], registry: Registry) -> Online:
        """Everything that the section names, with its options. ConfigError when nothing would judge the completions."""
        made = {
            word: _made(kind, getattr(section, word), f"rollout.{word}", registry)
            for word, kind in (("environment", EnvironmentRecord), ("backend", BackendRecord), ("advantage", AdvantageRecord))
        }
        if not rewards and isinstance(made["environment"], SingleTurn):
            raise ConfigError("rollout.rewards: nothing judges the completions; name a reward, or an environment that does")
        return cls(section, rewards=rewards, **made)


def _made(kind: type[Record], named: Mapping[str, Any], where: str, registry: Registry) -> Any:
    [(name, options)] = named.items()
    return construct(registry.find(kind, name), options, f"{where}.{name}")


@dataclass
class Rollouts:
    """Makes rollout batches with the run's models. step: how many updates have been made."""

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
    find: Finder = field(init=False)

    def batches(self, data: TrainData, folder: Any) -> OnlineBatches:
        """The source of the run's global batches."""
        section, sources = self.online.section, data.kinds
        if isinstance(self.online.backend, LocalBackend):
            self.online.backend.draw_from(self.model, self.tokenizer, self._within)
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
        )

    @cached_property
    def player(self) -> Player:
        """Plays with the run's settings."""
        online = self.online
        section, seed = online.section, self.config.train.seed
        return Player(
            online.environment, online.backend, self.tokenizer, section.sampling, seed, section.time_limit, self.tells
        )

    def make(self, supply: Supply, number: int) -> list[Trajectory]:
        """Rollout batch `number`: played, judged, scored, with advantages; the same on every rank."""
        judged = self._gathered(supply, number)
        advantage = self.online.advantage
        mine = judged[self.accelerator.process_index :: self.accelerator.num_processes]
        every = self._together(self.recorder(mine, "values" in self._needs))
        greedy = {one.origin.group: one.reward for one in every if one.origin.member == GREEDY}
        weights = {reward.name: reward.weight for reward in self.online.rewards}
        return with_advantages([one for one in every if one.origin.member != GREEDY], advantage, weights, greedy)

    def _gathered(self, supply: Supply, number: int) -> list[Trajectory]:
        """Judged trajectories of so many prompts as a rollout batch has; more in place of groups that are filtered."""
        section = self.online.section
        judged = self._judged(supply.take(section.prompts, within_epoch=not section.filter))
        if not section.filter:
            return judged
        left = section.max_refills * section.prompts
        while (missing := min(left, section.prompts - len(with_signal(judged)))) > 0:
            left -= missing
            judged += self._judged(supply.take(missing))
        kept = with_signal(judged)
        if len(kept) < section.prompts:
            drawn = section.prompts * (1 + section.max_refills)
            self.tells(
                f"rollout batch {number}: of {drawn} prompts only {len(kept)} gave answers of different rewards, and no more "
                f"are asked for (rollout.max_refills {section.max_refills}): it is trained on with {len(kept)} groups"
            )
        return keep_groups(judged, kept)

    def _judged(self, draws: List[Draw]) -> list[Trajectory]:
        """Trajectories of these prompts with their rewards, on every rank, in order."""
        prompts = [self.find(draw) for draw in draws]
        mine = self._play(prompts, [*range(self.online.section.group_size), *([GREEDY] if "greedy" in self._needs else [])])
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
            played = on_first(accelerator, lambda: self.player.play(prompts, members, version))
            return played[accelerator.process_index :: accelerator.num_processes]
        if self._as_one:
            self._awaken(prompts[0])
        share = prompts if self._as_one else prompts[accelerator.process_index :: accelerator.num_processes]
        played = self.player.play(share, members, version)
        return played if not self._as_one or accelerator.is_main_process else []

    @cached_property
    def judge(self) -> Judge:
        """Asks the rewards."""

        def state() -> Any:
            from transformers import TrainerState

            return TrainerState(global_step=self.step(), max_steps=self.num_steps)

        online = self.online
        return Judge(online.rewards, self.tokenizer, online.section.on_reward_error, state, self.tells)

    @cached_property
    def sender(self) -> Sender:
        """Gives the backend the weights."""
        backend, section = self.online.backend, self.online.section
        return Sender(backend, self.model, self.tokenizer, self.runner, section, self.accelerator, self.tells)

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

    def _beside(self, others: List[str]) -> int:
        """Units of other sources in every step batch, by the weights of the sources."""
        weights = {name: section.weight for name, section in self.config.data.items()}
        share = sum(weights[name] for name in others) / sum(weights[name] for name in self.online.section.sources)
        return max(1, math.ceil(share * self.config.train.batch_size))
