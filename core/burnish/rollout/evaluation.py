"""Rewards on held-out rows: generate from their prompts, score what was written, average. Leaves the model as it found it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from burnish.config.sections import RenderSection, SamplingSection
from burnish.data.examples import Example, prompt_of
from burnish.data.render import Renderer
from burnish.rollout.prompts import as_list, columns_of, completion_said
from burnish.rollout.rewards import Reward, run_rewards
from burnish.rollout.sampler import HFSampler


def evaluate_rewards(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    rewards: Sequence[Reward],
    sampling: SamplingSection,
    seed: int = 0,
) -> dict[str, float]:
    """Means over the examples: `eval/rewards/NAME/mean` where it applies, `eval/reward` the weighted sum, and lengths.

    Equal seeds sample equal completions from an unchanged model, whatever the order of the examples.
    """
    prompts = [as_list(prompt_of(example)) for example in examples]
    renderer = Renderer(tokenizer, RenderSection())
    ids = [renderer.prompt_ids(example).tolist() for example in examples]
    completions = HFSampler(model, tokenizer).generate(ids, sampling, seed)
    said = [completion_said(tokenizer, prompt, completion.ids) for prompt, completion in zip(prompts, completions, strict=True)]
    scores = run_rewards(rewards, prompts, said, [completion.ids for completion in completions], columns_of(examples))
    metrics: dict[str, float] = {}
    for name, values in scores.items():
        if applying := [value for value in values if value is not None]:
            metrics[f"eval/rewards/{name}/mean"] = sum(applying) / len(applying)
    totals = [
        sum(reward.weight * value for reward in rewards if (value := scores[reward.name][row]) is not None)
        for row in range(len(examples))
    ]
    metrics["eval/reward"] = sum(totals) / len(totals)
    metrics["eval/completions/mean_length"] = sum(len(completion.ids) for completion in completions) / len(completions)
    metrics["eval/completions/clipped_ratio"] = sum(not completion.finished for completion in completions) / len(completions)
    return metrics
