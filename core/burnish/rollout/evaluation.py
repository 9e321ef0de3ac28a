"""Rewards on held-out rows: episodes played to their end, judged, averaged. As in training, but nothing is learnt from them.

In: held-out rows, who plays, who judges. Out: judged trajectories, and their means by name.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from burnish.data.examples import Example
from burnish.data.render import Renderer
from burnish.data.units import Unit
from burnish.rollout.judge import Judge
from burnish.rollout.metrics import rollout_metrics
from burnish.rollout.play import Player, Prompt
from burnish.rollout.trajectory import Trajectory

OF_GROUPS = ("reward_std", "frac_reward_zero_std")  # every row is answered once, so there are no groups


def questions(units: Sequence[Unit], examples: Sequence[Example], renderer: Renderer) -> list[Prompt]:
    """Held-out rows as they are asked. units: where each example stands.

    What is drawn depends on the prompt, and on how often it came before, not on its place among others.
    """
    found, seen = [], Counter[tuple[int, ...]]()
    for unit, example in zip(units, examples, strict=True):
        ids = tuple(renderer.prompt_ids(example).tolist())
        digest = hashlib.blake2b(repr((ids, seen[ids])).encode(), digest_size=6).digest()
        seen[ids] += 1
        found.append(Prompt(unit.source, unit.row, unit.part, int.from_bytes(digest), example, ids))
    return found


def examined(player: Player, judge: Judge, prompts: Sequence[Prompt]) -> list[Trajectory]:
    """Each of them answered once, and judged."""
    played = player.play(prompts, [0], version=0)
    return judge(played, [prompt.example for prompt in prompts])


def evaluation_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """`eval/` before the names of a rollout batch: `reward`, the weighted sum; `rewards/NAME/mean`, where it applies;
    `completions/...`, `environment/...`, `outcomes/...`. Rewards are of episodes that came to their end."""
    metrics = rollout_metrics(trajectories)
    return {f"eval/{name}": value for name, value in metrics.items() if name.rpartition("/")[2] not in OF_GROUPS}
