"""Plain sentences about a run that goes wrong while its loss looks fine: numbers seen, and what to try.

In: the metrics of each step, by the names that dashboards know. Out: sentences, each kind at most once per `AGAIN` steps.
Knows no loss, model or data; a metric that is absent raises no alarm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from burnish.config.sections import RolloutSection

WINDOW = 20
AGAIN = 200

Means = Mapping[str, float]


def margins_collapsed(first: Means, last: Means) -> str | None:
    """The policy ranks the rejected answers above the chosen ones."""
    accuracy, margin = last.get("rewards/accuracies"), last.get("rewards/margins")
    if accuracy is None or margin is None or accuracy >= 0.5 or margin >= 0:
        return None
    return (
        f"margin collapse: over the last {WINDOW} steps rewards/margins is {margin:.3g} and rewards/accuracies {accuracy:.2f}, "
        "so rejected answers score higher than chosen ones. Check that the columns are not swapped; try a lower optimizer.lr."
    )


def chosen_falls(first: Means, last: Means) -> str | None:
    """Margins grow because both answers become unlikely, the rejected one faster."""
    before, after, margin = first.get("logps/chosen"), last.get("logps/chosen"), last.get("rewards/margins")
    if before is None or after is None or margin is None or margin <= 0 or after > before - max(0.2 * abs(before), 5.0):
        return None
    return (
        f"falling chosen log-probability: logps/chosen went from {before:.4g} to {after:.4g} nats while rewards/margins is "
        f"{margin:.3g}. The policy leaves both answers. Try `- sft: {{on: chosen}}` beside the loss, or a larger beta."
    )


def entropy_runs_away(first: Means, last: Means) -> str | None:
    """The next-token distribution becomes a spike, or noise."""
    before, after = first.get("entropy"), last.get("entropy")
    if before is None or after is None or before <= 0 or 0.2 * before <= after <= 3 * before:
        return None
    if after < before:
        return (
            f"entropy collapsed: from {before:.3g} to {after:.3g} nats a token. Try a lower optimizer.lr, or an entropy term."
        )
    return f"entropy exploded: from {before:.3g} to {after:.3g} nats a token. Try a lower optimizer.lr."


def kl_runs_away(first: Means, last: Means) -> str | None:
    """The policy is far from its reference."""
    kl = last.get("kl")
    if kl is None or kl < 10 or kl < 5 * abs(first.get("kl", 0.0)):
        return None
    return (
        f"KL runaway: kl to the reference is {kl:.3g} over the last {WINDOW} steps. Try a larger beta, or a lower optimizer.lr."
    )


def completions_cut(first: Means, last: Means) -> str | None:
    """Most completions hit the length limit."""
    share = last.get("completions/clipped_ratio")
    if share is None or share < 0.5:
        return None
    return (
        f"truncation: {share:.0%} of the last {WINDOW} steps' completions were cut off. Try a larger "
        "rollout.sampling.max_new_tokens, or a reward that punishes length (`soft_overlong`)."
    )


def groups_dead(first: Means, last: Means) -> str | None:
    """Most groups got one reward throughout, and so teach nothing."""
    share = last.get("frac_reward_zero_std")
    if share is None or share < 0.8:
        return None
    return (
        f"dead groups: in {share:.0%} of the last {WINDOW} steps' groups every completion got the same reward, so nothing is "
        "learnt from them. Try prompts of other difficulty, a reward with more steps, or `rollout.filter: true`."
    )


def episodes_fail(first: Means, last: Means) -> str | None:
    """Many episodes give nothing to learn from, because something around them breaks."""
    share = last.get("outcomes/failed")
    if share is None or share < 0.1:
        return None
    kinds = ("timeout", "environment_error", "infrastructure_error", "reward_error")
    seen = ", ".join(kind for kind in kinds if f"outcomes/{kind}" in last)
    return (
        f"failed episodes: {share:.0%} of the last {WINDOW} steps' episodes were left out ({seen}). `burnish rollouts show` "
        "has their errors; a longer time_limit or `rollout.retries` may help."
    )


def sampler_differs(level: float) -> Rule:
    """Trainer and sampler disagree about the tokens that were drawn. level: nats a token, from which it is said."""

    def sampler_differs(first: Means, last: Means) -> str | None:
        found = last.get("sampling/sampling_logp_difference/mean")
        if found is None or found < level:
            return None
        return (
            f"sampler and trainer differ: by {found:.3g} nats a token over the last {WINDOW} steps. Tokens drawn with top_p, "
            "top_k, min_p or a repetition penalty come from another distribution than the policy's: try without. Else try the "
            "same precision for both, `weights: [is_correction]` on the loss, or a smaller rollout.max_staleness."
        )

    return sampler_differs


Rule = Callable[[Means, Means], str | None]
RULES: tuple[Rule, ...] = (
    margins_collapsed,
    chosen_falls,
    entropy_runs_away,
    kl_runs_away,
    completions_cut,
    groups_dead,
    episodes_fail,
)


@dataclass
class Alarms:
    """Watches windows of metrics: the first `WINDOW` steps it saw against the last `WINDOW`."""

    first: list[Mapping[str, float]] = field(default_factory=list)
    last: deque[Mapping[str, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    raised: dict[str, int] = field(default_factory=dict)
    rules: tuple[Rule, ...] = RULES

    def observe(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """The alarms that this step raises; none before `WINDOW` steps were seen."""
        if len(self.first) < WINDOW:
            self.first.append(metrics)
        self.last.append(metrics)
        if len(self.last) < WINDOW:
            return []
        sentences = []
        first, last = _means(self.first), _means(self.last)
        for rule in self.rules:
            if step - self.raised.get(rule.__name__, -AGAIN) >= AGAIN and (sentence := rule(first, last)):
                self.raised[rule.__name__] = step
                sentences.append(f"step {step}: {sentence}")
        return sentences


def alarms_of(section: RolloutSection | None) -> Alarms:
    """Those of a run; online runs have one with a level of their own."""
    warn = None if section is None else section.mismatch.warn
    return Alarms() if warn is None else Alarms(rules=(*RULES, sampler_differs(warn)))


def _means(records: list[Mapping[str, float]] | deque[Mapping[str, float]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, []).append(value)
    return {name: sum(items) / len(items) for name, items in values.items()}
