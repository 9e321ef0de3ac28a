"""Checks of an advantage on drawn groups. In: an instance. Out: nothing, or `Broken` with what was found. Knows no reward.

Groups have one to five completions, some with equal rewards; among them a group of one, of equal rewards, and of none.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from collections.abc import Sequence as List
from dataclasses import dataclass, replace
from typing import Any

import torch

from burnish.objective.ragged import Ragged
from burnish.rollout.contract import Groups
from burnish.testing.batches import groups as groups_of
from burnish.testing.conformance.checking import Broken

OPTIONAL = ("values", "token_rewards", "steps", "greedy", "opponents")
CLOSE = 1e-9
SEEDS = range(6)


@dataclass(frozen=True)
class Completion:
    """A completion of n tokens: its reward, the two that it is the sum of, and the three numbers of each token."""

    reward: float
    parts: tuple[float, float]
    values: list[float]
    token_rewards: list[float]
    steps: list[int]


@dataclass(frozen=True)
class Group:
    """Completions of one prompt, the reward of its most likely one, and those of opponents."""

    members: tuple[Completion, ...]
    greedy: float
    opponents: tuple[float, ...] = (0.0, 1.0)


def shapes(advantage: Any) -> None:
    """One finite number per completion or per token, from groups of any size; `keeps` and `returns` fit, if there are any."""
    for seed in SEEDS:
        given = groups_from(_draw(seed), advantage)
        found = advantage(given)
        if not isinstance(found, Ragged):
            raise Broken(f"it gave a {type(found).__name__}, not Ragged values")
        _require_fit(found, given, "advantages")
        if (keeps := getattr(advantage, "keeps", None)) is not None:
            kept = keeps(given)
            if kept.dtype != torch.bool or kept.shape != given.rewards.values.shape:
                raise Broken(f"keeps gave {kept.dtype} {list(kept.shape)}, not one bool per completion")
        if (returns := getattr(advantage, "returns", None)) is not None:
            _require_fit(returns(given), given, "returns")


def needs(advantage: Any) -> None:
    """`needs` holds only names that there are."""
    if unknown := sorted(_needs(advantage) - set(OPTIONAL)):
        raise Broken(f"it needs {unknown}; groups may have {', '.join(OPTIONAL)}")


def pure(advantage: Any) -> None:
    """Called twice it says the same, and what it is given stays as it was."""
    given = groups_from(_draw(0), advantage)
    before = copy.deepcopy(given)
    first, again = advantage(given), advantage(given)
    if not torch.equal(first.values, again.values):
        raise Broken("a second call gave other numbers")
    names = ("rewards", "lengths", "values", "token_rewards", "steps", "opponents")
    pairs = [(getattr(given, name), getattr(before, name)) for name in names]
    pairs += [(given.parts[name], before.parts[name]) for name in before.parts]
    if not all(one is None or torch.equal(one.values, other.values) for one, other in pairs):
        raise Broken("what it was given has changed")


def order(advantage: Any) -> None:
    """The batch is a set: with groups and their members in another order, every completion gets the same."""
    for seed in SEEDS:
        drawn = _draw(seed)
        shuffled = random.Random(seed + 100)
        other = [replace(group, members=tuple(shuffled.sample(group.members, len(group.members)))) for group in drawn]
        shuffled.shuffle(other)
        for said, function in _functions(advantage).items():
            first, again = _by_completion(drawn, advantage, function), _by_completion(other, advantage, function)
            for member, numbers in first.items():
                far = [(a, b) for a, b in zip(numbers, again[member], strict=True) if abs(a - b) > CLOSE * max(1.0, abs(a))]
                if far:
                    raise Broken(f"{said} of a completion: {far[0][0]!r}, and {far[0][1]!r} with groups and members reordered")


def groups_from(drawn: List[Group], advantage: Any) -> Groups:
    """Drawn groups with all that is always there, and what the advantage needs of the rest."""
    members = [member for group in drawn for member in group.members]
    everything = groups_of(
        [[member.reward for member in group.members] for group in drawn],
        [[float(len(member.steps)) for member in group.members] for group in drawn],
        parts={
            name: [[member.parts[place] for member in group.members] for group in drawn] for place, name in enumerate("ab")
        },
        values=[member.values for member in members],
        token_rewards=[member.token_rewards for member in members],
        steps=[member.steps for member in members],
        greedy=[group.greedy for group in drawn],
        opponents=[[*group.opponents] for group in drawn],
    )
    absent: dict[str, Any] = dict.fromkeys(set(OPTIONAL) - _needs(advantage))
    return replace(everything, **absent)


def _needs(advantage: Any) -> set[str]:
    return set(getattr(advantage, "needs", ()))


def _functions(advantage: Any) -> dict[str, Callable[[Groups], Any]]:
    """What is compared: the advantages, and what else it gives."""
    others = {name: found for name in ("keeps", "returns") if (found := getattr(advantage, name, None)) is not None}
    return {"the advantage": advantage, **others}


def _by_completion(drawn: List[Group], advantage: Any, function: Callable[[Groups], Any]) -> dict[int, list[float]]:
    """What `function` gives each completion: one number, or one per token."""
    members = [member for group in drawn for member in group.members]
    found = function(groups_from(drawn, advantage))
    numbers = (found.values if isinstance(found, Ragged) else found).to(torch.float64).tolist()
    if len(numbers) == len(members):
        return {id(member): [number] for member, number in zip(members, numbers, strict=True)}
    taken = iter(numbers)
    return {id(member): [next(taken) for _ in member.steps] for member in members}


def _require_fit(found: Ragged, given: Groups, said: str) -> None:
    lengths = given.lengths.values.to(torch.int64)
    if not (torch.equal(found.lengths, given.rewards.lengths) or torch.equal(found.lengths, lengths)):
        raise Broken(
            f"{said} have lengths {found.lengths.tolist()}: neither one number for each completion of the groups "
            f"({given.rewards.lengths.tolist()}) nor one for each token of the completions ({lengths.tolist()})"
        )
    if not bool(torch.isfinite(found.values).all()):
        raise Broken(f"{said} are not finite: {found.values.tolist()}; rewards {given.rewards}")


def _draw(seed: int) -> list[Group]:
    draw = random.Random(seed)
    equal = _completion(draw)
    drawn = [Group(tuple(_completion(draw) for _ in range(draw.randint(2, 5))), draw.random()) for _ in range(3)]
    alone = [Group((_completion(draw),), 1.0, (0.5,)), Group((_completion(draw),), 0.0, ())]
    return [*drawn, *alone, Group((equal, replace(equal), replace(equal)), 0.5), Group((), 0.0)]


def _completion(draw: random.Random) -> Completion:
    length = draw.randint(2, 6)
    parts = (float(draw.randint(0, 1)), draw.uniform(-1, 1))
    turn = draw.randint(1, length)
    return Completion(
        sum(parts),
        parts,
        [draw.uniform(-1, 1) for _ in range(length)],
        [draw.choice([0.0, 0.0, draw.uniform(-1, 1)]) for _ in range(length)],
        [int(place >= turn) for place in range(length)],
    )
