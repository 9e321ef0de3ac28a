"""The reward: every completion is shown to a judge. In: prompts, completions, columns. Out: a number from 0 to 1, or None."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from burnish_openai.endpoint import Client, Endpoint

from burnish.errors import RewardError, did_you_mean
from burnish_judge.rubric import QUALITY, TEMPLATE, filled, names_in, score_in

log = logging.getLogger(__name__)
OWN = ("rubric", "low", "high")


@dataclass(frozen=True, kw_only=True)
class Judge(Endpoint):
    """What a language model thinks of a completion: 0 at `low`, 1 at `high`; None where its answer ends without a score.

    Nothing is asked of it before there are completions to judge.
    """

    rubric: str = QUALITY
    """What to judge by."""
    template: str = TEMPLATE
    """All that the judge is shown. `{prompt}`, `{completion}`, `{rubric}`, `{low}`, `{high}` and columns of the row are filled
    in; the judge must be asked for a last line `Score: N`."""
    low: float = 0.0
    """The worst score."""
    high: float = 10.0
    """The best score."""
    temperature: float = 0.0
    """Of the judge."""
    max_tokens: int = 512
    """Tokens of the judge's answer."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if "completion" not in names_in(self.template):
            raise ValueError("template: {completion} is missing, so the judge would not see what it judges")
        super().__post_init__()

    async def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """prompts, completions: texts, or lists of messages; columns: those that the template names are filled in."""
        known = {"prompt": prompts, "completion": completions, **columns}
        if strange := sorted(names_in(self.template) - known.keys() - set(OWN)):
            raise RewardError(f"judge: the template asks for '{strange[0]}'. {did_you_mean(strange[0], [*known, *OWN])}")
        asked = names_in(self.template) & known.keys()
        texts = []
        for place in range(len(completions)):
            row = {name: known[name][place] for name in asked}
            texts.append(filled(self.template, {**self._own(), **row}))
        async with Client(self) as client:
            return list(await asyncio.gather(*(self._judged(client, text) for text in texts)))

    async def _judged(self, client: Client, text: str) -> float | None:
        messages = [{"role": "user", "content": text}]
        answer = await client.ask(messages, temperature=self.temperature, max_tokens=self.max_tokens)
        score = score_in(answer, self.low, self.high)
        if score is None:
            log.warning("the judge %s gave no score from %g to %g: ...%r", self.model, self.low, self.high, answer[-80:])
        return score

    def _own(self) -> dict[str, str]:
        return {"rubric": self.rubric, "low": f"{self.low:g}", "high": f"{self.high:g}"}
