"""A trained classifier at work: what it thinks of answers, or of the steps of solutions.

In: examples. Out: numbers for each of their answers. Renders as training does, so that what is judged is what was learnt;
changes nothing of the model. Used by rewards and by `burnish score`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from burnish.config.sections import RenderSection
from burnish.data.examples import Example, PromptCompletion, Said, Stepwise, prompt_of
from burnish.data.render import Dropped, Renderer
from burnish.data.units import Unit
from burnish.engine.rundir import RunDirectory
from burnish.engine.saved import open_saved
from burnish.errors import DataError, ModelError
from burnish.model.check import check_layout
from burnish.model.roles import Roles
from burnish.model.scorer import Scorer, base_of
from burnish.model.signals import label_logp, score
from burnish.model.tasks import task_of_model
from burnish.registry import Registry

MICRO_BATCH_TOKENS = 8192
MAIN = "main"
UNLIMITED = 2**20


@dataclass(frozen=True)
class Verdict:
    """What was found. scores: role of an answer (`main`; `chosen`, `rejected`; ...) -> its score; empty for a process reward
    model, whose numbers are in steps: role -> probability that each step is right. reason: why there are none."""

    scores: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    reason: str | None = None


class Classifier:
    """Judges with a sequence classifier (a score for each answer) or a token classifier (a probability for each step).

    step_separator: what follows a step; answers that are texts are taken apart at it. micro_batch_tokens: forwarded at once.
    what: where the model comes from.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        step_separator: str = "\n",
        micro_batch_tokens: int = MICRO_BATCH_TOKENS,
        what: str = "the model",
    ) -> None:
        base = base_of(model)
        self.task = task_of_model(base)
        if self.task == "language":
            raise ModelError(
                f"{what} is a language model, which scores nothing: train one on `bradley_terry` or `prm`, or name a classifier"
            )
        model.eval()
        kind = check_layout(model).kind
        self._roles, self._budget = Roles(Scorer(model, kind), kind), micro_batch_tokens
        self._signal, self._mask = (score(), "end") if self.task == "sequence" else (label_logp(1), "steps")
        context = int(getattr(base.config.get_text_config(), "max_position_embeddings", None) or UNLIMITED)
        self._renderer = Renderer(tokenizer, RenderSection(max_length=context, step_separator=step_separator, cache=False))

    @property
    def step_separator(self) -> str:
        """What follows a step."""
        return self._renderer.section.step_separator

    @classmethod
    def open(
        cls,
        where: str,
        registry: Registry,
        step: int | None = None,
        step_separator: str | None = None,
        micro_batch_tokens: int = MICRO_BATCH_TOKENS,
        overrides: dict[str, Any] | None = None,
    ) -> Classifier:
        """The model of a run, a checkpoint, an adapter or a folder, on the GPU if there is one.

        step_separator: by default the one that the run was trained with, else a line break. overrides: as in `open_saved`.
        """
        saved = open_saved(where, registry, step, overrides)
        saved.model.to("cuda" if torch.cuda.is_available() else "cpu")
        separator = step_separator or _trained_with(Path(where).expanduser()) or "\n"
        return cls(saved.model, saved.tokenizer, separator, micro_batch_tokens, saved.what)

    def judge(self, examples: Sequence[Example]) -> list[Verdict]:
        """What is thought of each example's answers. An example longer than the model's context gets a reason instead.

        RowError: one cannot be rendered. DataError: one holds no answer.
        """
        parts = [list(self._parts(example)) for example in examples]
        rendered = iter(self._rendered([part for own in parts for _, part in own]))
        units = [[(role, next(rendered)) for role, _ in own] for own in parts]
        sequences = [one for own in units for _, unit in own if isinstance(unit, Unit) for one in unit.sequences]
        masks = [sequence.masks[self._mask] for sequence in sequences]
        found = self._roles.score_frozen("old", sequences, masks, (self._signal,), self._budget)
        numbers = iter([values[self._signal] for values in found])
        return [self._verdict(own, numbers) for own in units]

    def solution(self, prompt: Said, answer: Said) -> Example:
        """An answer taken apart into steps, blank ones left out; as it is when there is none, and then it gets no verdict."""
        text = answer if isinstance(answer, str) else "\n".join(str(m["content"]) for m in answer if m["role"] == "assistant")
        steps = tuple(step for step in text.split(self._renderer.section.step_separator) if step.strip())
        return Stepwise(prompt, steps, (1.0,) * len(steps)) if steps else PromptCompletion(prompt, answer)

    def _parts(self, example: Example) -> Iterator[tuple[str, Example]]:
        """The example as it is rendered: whole for a score, each answer a solution for steps. Roles name solutions."""
        if example.kind in ("prompt", "trajectory"):
            raise DataError(f"rows of kind '{example.kind}' hold no answer that could be scored")
        if self.task == "sequence" or isinstance(example, Stepwise):
            yield MAIN, example
            return
        for role, answer in _answers_of(example).items():
            yield role, replace(self.solution(prompt_of(example), answer), side=replace(example.side, columns={}))

    def _rendered(self, examples: Sequence[Example]) -> list[Unit | Dropped]:
        results: list[Unit | Dropped] = []
        for one in self._renderer.render_many(examples, MAIN, range(len(examples))):
            if not isinstance(one.result, Unit | Dropped):
                raise one.result
            result = one.result
            if isinstance(result, Dropped) and result.reason == "over_length":
                context = self._renderer.section.max_length
                result = replace(result, detail=f"longer than the model's context of {context} tokens")
            elif isinstance(result, Unit) and self._mask not in result.sequences[0].masks:
                result = Dropped("no_steps", "the answer has no step")
            results.append(result)
        return results

    def _verdict(self, own: list[tuple[str, Unit | Dropped]], numbers: Iterator[Any]) -> Verdict:
        found: dict[str, tuple[float, ...]] = {}
        reasons: list[str] = []
        for role, unit in own:
            if isinstance(unit, Dropped):
                reasons.append(f"{unit.reason}: {unit.detail}")
                continue
            for sequence in unit.sequences:
                found[sequence.role if self.task == "sequence" else role] = tuple(next(numbers).tolist())
        if not reasons and not all(found.values()):
            reasons.append("no_targets: a sequence of one token has no place to read a score")
        if reasons:
            return Verdict(reason=reasons[0])
        if self.task == "sequence":
            return Verdict({role: values[0] for role, values in found.items()})
        return Verdict(steps={role: tuple(np.exp(values).tolist()) for role, values in found.items()})


def _answers_of(example: Example) -> dict[str, Said]:
    """Role -> answer, for every answer to the prompt."""
    if (several := getattr(example, "completions", None)) is not None:
        return {f"item{place}": answer for place, answer in enumerate(several)}
    roles = {MAIN: "completion", "chosen": "chosen", "rejected": "rejected", "gold": "gold"}
    found = {role: getattr(example, name) for role, name in roles.items() if hasattr(example, name)}
    if not found:
        raise DataError(f"rows of kind '{example.kind}' cannot be taken apart into a prompt and steps")
    return found


def _trained_with(where: Path) -> str | None:
    """The separator of the run that `where` is, or is a checkpoint or the model of."""
    for folder in (where, *where.parents[:2]):
        config = RunDirectory(folder).config
        if config.is_file():
            render = yaml.safe_load(config.read_text(encoding="utf-8")).get("render") or {}
            return render.get("step_separator")
    return None
