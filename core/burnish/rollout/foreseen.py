"""What a section `rollout` comes to before anything is drawn: kinds of data, numbers of steps, trajectories of full length.

In: the section, data. Out: what `plan` and the checks before a run need. Runs no model and no plugin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from burnish.data.dataset import Cursor, TrainData
from burnish.data.units import Sequence as TokenSequence
from burnish.data.units import Unit
from burnish.errors import ConfigError, did_you_mean
from burnish.rollout.pairs import pairs_a_group

if TYPE_CHECKING:
    from burnish.config.sections import RolloutSection

WITHOUT_PROMPT = ("text", "trajectory")


def seen_kinds(section: RolloutSection | None, kinds: Mapping[str, str]) -> Mapping[str, str]:
    """What losses see of each source: what is played gives trajectories. ConfigError for sources that have no prompts."""
    if section is None:
        return kinds
    for name in section.sources:
        if name not in kinds:
            raise ConfigError(f"rollout.sources: there is no data source '{name}'. {did_you_mean(name, kinds)}")
        if kinds[name] in WITHOUT_PROMPT:
            raise ConfigError(f"rollout.sources: '{name}' holds {kinds[name]} rows, which have no prompt to be answered")
    made = "trajectory" if section.pairs is None else "preference"
    return {name: made if name in section.sources else kind for name, kind in kinds.items()}


def steps_a_pass(section: RolloutSection, batch_size: int) -> int:
    """Step batches of one pass over a rollout batch."""
    return math.ceil(section.prompts * pairs_a_group(section.pairs, section.group_size) / batch_size)


def step_size(section: RolloutSection, batch_size: int) -> int:
    """Units of a step batch at most. Those of a pass are as even as may be, so smaller than `batch_size` where that does not
    divide what a rollout batch gives."""
    return math.ceil(section.prompts * pairs_a_group(section.pairs, section.group_size) / steps_a_pass(section, batch_size))


def smaller_steps(section: RolloutSection | None, batch_size: int) -> str | None:
    """A sentence where step batches are smaller than asked for."""
    if section is None or (size := step_size(section, batch_size)) == batch_size:
        return None
    made = section.prompts * pairs_a_group(section.pairs, section.group_size)
    what = "pairs at most" if section.pairs else "completions"
    return f"a rollout batch gives {made} {what}, so a step has {size} of them, not the {batch_size} of train.batch_size"


def num_steps(section: RolloutSection | None, data: TrainData, epochs: float, batch_size: int) -> int | None:
    """Optimiser steps of so many epochs, over rows or over prompts; None for a stream."""
    if section is None:
        return data.steps(epochs)
    rollouts = data.only(section.sources, section.prompts).steps(epochs)
    return None if rollouts is None else rollouts * section.epochs * steps_a_pass(section, batch_size)


def foreseen_batches(section: RolloutSection | None, data: TrainData, batch_size: int) -> Iterator[list[Unit]]:
    """Global batches as they will be; of a rollout, as they would be if every completion had its full length."""
    if section is None:
        yield from (units for units, _ in data.units(Cursor()))
        return
    for prompts, _ in data.only(section.sources, section.prompts).units(Cursor()):
        units = [unit for prompt in prompts for unit in _units(prompt, section)]
        pieces = np.array_split(np.arange(len(units)), steps_a_pass(section, batch_size))
        yield from ([units[place] for place in piece] for piece in pieces if len(piece))


def _units(prompt: Unit, section: RolloutSection) -> Sequence[Unit]:
    """What a prompt's group is trained on."""
    length = section.sampling.max_new_tokens
    if section.pairs is None:
        return foreseen(prompt, section.group_size, length)
    count = 2 * pairs_a_group(section.pairs, section.group_size)  # in a pair of its own each, though some are in several
    sides = [unit.sequences[0] for unit in foreseen(prompt, count, length)]
    twos = zip(sides[::2], sides[1::2], strict=True)
    return [Unit("preference", (replace(one, role="chosen"), replace(two, role="rejected"))) for one, two in twos]


def foreseen(prompt: Unit, group_size: int, length: int) -> Sequence[Unit]:
    """The group of a prompt, its completions of `length` tokens that have none in common."""
    first = prompt.sequences[0]
    targets = np.flatnonzero(first.masks["completion"])
    ids = first.ids[: targets[0]] if len(targets) else first.ids
    own = np.arange(len(ids) + length) >= max(len(ids), 1)
    return [
        Unit("trajectory", (TokenSequence(np.concatenate([ids, np.full(length, -1 - member)]), {"completion": own}),))
        for member in range(group_size)
    ]
