"""From a draw to the prompt that is played: its row, rendered. In: data, a tokenizer. Out: prompts. Knows no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from burnish.data.dataset import RowPlace, TrainData
from burnish.data.examples import Example
from burnish.data.render import Renderer
from burnish.errors import ConfigError
from burnish.rollout.play import Prompt
from burnish.rollout.prompts import columns_of
from burnish.rollout.supply import Draw


@dataclass
class Finder:
    """data: the sources that are played. context: positions of the model, None for no limit; longest: of a completion.

    ConfigError where no prompt at all could be answered.
    """

    data: TrainData
    renderer: Renderer
    context: int | None
    longest: int

    def __post_init__(self) -> None:
        if self.context is not None and self.longest >= self.context:
            raise ConfigError(
                f"rollout.sampling.max_new_tokens: {self.longest} tokens, and before them a prompt, leave the model's "
                f"{self.context} positions"
            )

    @cached_property
    def examples(self) -> dict[RowPlace, Example]:
        """All rows but those of streams, by where they stand."""
        return self.data.examples()

    def again(self, draws: Sequence[Draw]) -> tuple[Draw, ...]:
        """Draws of an earlier life, those from streams with their rows, which are read again."""
        rows = self.data.streamed([(draw.source, draw.row, draw.part) for draw in draws])
        return tuple(draw._replace(example=rows.get((draw.source, draw.row, draw.part))) for draw in draws)

    def row(self, draw: Draw) -> dict[str, Any]:
        """The columns of a draw's row."""
        return {name: values[0] for name, values in columns_of([self._example(draw)]).items()}

    def __call__(self, draw: Draw) -> Prompt:
        """The prompt; ConfigError when its completions may leave the model's positions and `render.overlength` is `error`."""
        example = self._example(draw)
        ids = tuple(self.renderer.prompt_ids(example).tolist())
        refuses = self.renderer.section.overlength == "error"
        if refuses and self.context is not None and len(ids) + self.longest > self.context:
            raise ConfigError(
                f"rollout.sampling.max_new_tokens: the prompt of row {draw.row} of {draw.source} has {len(ids)} tokens, and "
                f"with {self.longest} more it leaves the model's {self.context} positions"
            )
        return Prompt(draw.source, draw.row, draw.part, draw.number, example, ids)

    def _example(self, draw: Draw) -> Example:
        return self.examples[draw.source, draw.row, draw.part] if draw.example is None else draw.example


def context_of(model: Any) -> int | None:
    """Positions of a model, where its config has them."""
    context: int | None = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return context
