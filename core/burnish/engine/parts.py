"""The parts of the section `rollout`, made from what it names: environment, backend, advantage, rewards, curriculum.

In: the section, the registry. Out: objects. Refuses what the config alone shows, before a model is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from burnish.config.sections import RolloutSection, SourceSection
from burnish.errors import ConfigError
from burnish.objective.compose import Objective
from burnish.objective.ragged import Ragged
from burnish.registry import AdvantageRecord, BackendRecord, CurriculumRecord, EnvironmentRecord, Record, Registry
from burnish.rollout.contract import Advantage, Backend, Environment, Groups
from burnish.rollout.curriculum import Curriculum
from burnish.rollout.environments.classes import environment_of
from burnish.rollout.rewards import Reward


@dataclass(frozen=True)
class Online:
    """The parts of the section `rollout`, made. environments: by source, what its prompts are played in."""

    section: RolloutSection
    environments: Mapping[str, Environment]
    backend: Backend
    advantage: Advantage
    rewards: tuple[Reward, ...]
    curriculum: Curriculum | None = None

    @classmethod
    def of(
        cls, section: RolloutSection, sources: Mapping[str, SourceSection], rewards: tuple[Reward, ...], registry: Registry
    ) -> Online:
        """Everything that the section names, with its options. ConfigError when nothing would judge the completions."""
        made = {
            word: _made(kind, getattr(section, word), f"rollout.{word}", registry)
            for word, kind in (("backend", BackendRecord), ("advantage", AdvantageRecord))
        }
        environments = _environments(section, sources, registry)
        if section.curriculum:
            made["curriculum"] = _made(CurriculumRecord, section.curriculum, "rollout.curriculum", registry)
        silent = [name for name, one in environments.items() if not getattr(one, "judges", True)]
        if not rewards and silent:
            whose = "the completions" if len(silent) == len(environments) else f"the completions of {', '.join(silent)}"
            raise ConfigError(f"rollout.rewards: nothing judges {whose}; name a reward, or an environment that does")
        if section.group_size == 1 and section.pairs is None:
            _refuse_nothing(section, made["advantage"])
        return cls(section, environments, rewards=rewards, **made)


def check_values(online: Online, objective: Objective) -> None:
    """ConfigError where an advantage reads values, and nothing learns any."""
    needs: frozenset[str] = getattr(online.advantage, "needs", frozenset())
    if "values" in needs and all(signal.name != "value" for entry in objective.entries for signal in entry.signals()):
        [name] = online.section.advantage
        raise ConfigError(
            f"rollout.advantage: '{name}' reads values, and no part of the objective learns any; add `value` to the objective, "
            "as the recipe `ppo` does"
        )


def _environments(
    section: RolloutSection, sources: Mapping[str, SourceSection], registry: Registry
) -> dict[str, Environment]:
    """By source: its own, or the one of the section, which is made once."""
    for name, source in sources.items():
        if source.environment and name not in section.sources:
            raise ConfigError(
                f"data.{name}.environment: rows of '{name}' are read, not played; add it to rollout.sources, which has "
                f"{', '.join(section.sources)}"
            )
    own = {name: source.environment for name, source in sources.items() if source.environment}
    found = {name: _made(EnvironmentRecord, named, f"data.{name}.environment", registry) for name, named in own.items()}
    if any(name not in own for name in section.sources):
        shared = _made(EnvironmentRecord, section.environment, "rollout.environment", registry)
        found |= {name: shared for name in section.sources if name not in own}
    return found


def _refuse_nothing(section: RolloutSection, advantage: Advantage) -> None:
    """ConfigError where an advantage compares the completions of a prompt, and there is one."""
    needs: frozenset[str] = getattr(advantage, "needs", frozenset())
    if not needs <= {"token_rewards", "steps"}:
        return
    ones = torch.ones(2, dtype=torch.int64)
    alone = Ragged(torch.tensor([0.0, 1.0], dtype=torch.float64), ones)
    tokens = alone * 0
    seen = Groups(
        rewards=alone,
        parts={"reward": alone},
        weights={"reward": 1.0},
        lengths=tokens + 1,
        token_rewards=tokens if "token_rewards" in needs else None,
        steps=tokens if "steps" in needs else None,
    )
    if not bool(advantage(seen).values.any()):
        [name] = section.advantage
        raise ConfigError(
            f"rollout.group_size: 1 completion of each prompt, but the advantage '{name}' compares those of one prompt, so all "
            "would be 0 and nothing learnt. Use at least 2, or an advantage that compares with something else"
        )


def _made(kind: type[Record], named: Mapping[str, Any], where: str, registry: Registry) -> Any:
    [(name, options)] = named.items()
    return environment_of(registry.find(kind, name), options, f"{where}.{name}")
