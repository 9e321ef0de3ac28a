"""Wrong answers that look right. In: an item and a random stream. Out: an answer that scores below the right one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from random import Random
from typing import Any

from burnish.errors import DataError
from burnish_reasoning_gym.items import Generator

NUMBER = re.compile(r"-?\d+(\.\d+)?")
MISSES = (1, 2, 3, 10)
OTHER_ITEMS = 50


def is_number(answer: str) -> bool:
    """Whether an answer is a plain number, without unit or text."""
    return NUMBER.fullmatch(answer) is not None


@dataclass(frozen=True)
class WrongAnswers:
    """Wrong answers to the questions of one generator."""

    generator: Generator

    def of(self, item: Mapping[str, Any], random: Random) -> str:
        """A near miss of a number, else the answer to another question; DataError where all others are right too."""
        right = self.generator.score(item["answer"], dict(item))
        near = near_misses(item["answer"], random) if is_number(item["answer"]) else iter(())
        for answer in chain(near, islice(self._others(random), OTHER_ITEMS)):
            if answer != item["answer"] and self.generator.score(answer, dict(item)) < right:
                return answer
        raise DataError(f"no wrong answer was found for a question of '{self.generator.task}': {item['question'][:200]!r}")

    def _others(self, random: Random) -> Iterator[str]:
        while True:
            yield str(self.generator.item(random.randrange(self.generator.size))["answer"])


def near_misses(number: str, random: Random) -> Iterator[str]:
    """Numbers of the same form that are off by a little, in random order: `12.51` for `12.50`, `8` for `7`, `7` for `-7`."""
    whole, point, decimals = number.partition(".")
    scaled = int(whole + decimals)
    found = [scaled + sign * miss for miss in MISSES for sign in (1, -1)] + [-scaled]
    # A number below zero is a likely mistake only where the right one is below zero, too.
    likely = [value for value in found if value >= 0 or scaled < 0]
    for value in random.sample(likely, k=len(likely)):
        digits = str(abs(value)).zfill(len(decimals) + 1)
        cut = len(digits) - len(decimals)
        yield ("-" if value < 0 else "") + digits[:cut] + point + digits[cut:]
