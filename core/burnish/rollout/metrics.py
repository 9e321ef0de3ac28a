"""What a rollout batch is told by: rewards, lengths, outcomes. In: its trajectories. Out: numbers by dashboards' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, stdev

from burnish.rollout.trajectory import TRAINABLE, Trajectory, by_group

CALLS, FAILURES = "tool_calls", "tool_failures"  # notes of environments with tools
SAME = 1e-9  # rewards that differ by less say nothing about which completion is better


def rollout_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """`reward`, `reward_std` (mean over groups), `rewards/NAME/mean|std`, `frac_reward_zero_std`, `completions/...` in tokens,
    `tools/...`, `environment/NOTE`, `sources/NAME/...`, `opponents/reward`, what rewards logged, and `outcomes/NAME`, shares of
    all episodes. All but outcomes are of episodes that came to their end."""
    beside = [one.reward for one in trajectories if one.is_opponent and one.rewards]
    trajectories = [one for one in trajectories if not one.is_opponent]
    ended = [one for one in trajectories if one.rewards]
    outcomes = Counter(one.outcome for one in trajectories)
    metrics = {f"outcomes/{name}": count / len(trajectories) for name, count in outcomes.items()} | _logged(trajectories)
    metrics["outcomes/failed"] = fmean(one.outcome not in (*TRAINABLE, "filtered") for one in trajectories)
    if not ended:
        return metrics
    metrics |= _earned(ended) | _by_source(ended) | ({"opponents/reward": fmean(beside)} if beside else {})
    for name in sorted({name for one in ended for name in one.rewards}):
        values = [value for one in ended if (value := one.rewards.get(name)) is not None]
        if values:
            metrics |= {f"rewards/{name}/mean": fmean(values), f"rewards/{name}/std": _spread(values)}
    lengths = [one.length for one in ended]
    finished = [one.length for one in ended if one.outcome != "truncated"] or [0]
    for prefix, numbers in (("", lengths), ("terminated_", finished)):
        for name, how in (("mean", fmean), ("min", min), ("max", max)):
            metrics[f"completions/{name}_{prefix}length"] = float(how(numbers))
    metrics["completions/clipped_ratio"] = fmean(one.outcome == "truncated" for one in ended)
    return metrics | _noted(ended)


def _earned(ended: Sequence[Trajectory]) -> dict[str, float]:
    """What completions were worth; `reward_std` is a mean over groups."""
    spreads = [_spread([one.reward for one in members]) for members in by_group(ended)]
    return {
        "reward": fmean(one.reward for one in ended),
        "reward_std": fmean(spreads),
        "frac_reward_zero_std": fmean(spread < SAME for spread in spreads),
    }


def _by_source(ended: Sequence[Trajectory]) -> dict[str, float]:
    """The same for each source apart, `sources/NAME/...`, and lengths; nothing where there is only one."""
    names = sorted({one.origin.source for one in ended})
    metrics: dict[str, float] = {}
    for name in names if len(names) > 1 else ():
        own = [one for one in ended if one.origin.source == name]
        numbers = {**_earned(own), "completions/mean_length": fmean(one.length for one in own)}
        metrics |= {f"sources/{name}/{key}": value for key, value in numbers.items()}
    return metrics


def _logged(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Means of what rewards logged."""
    names = sorted({name for one in trajectories for name in one.logged})
    return {name: fmean(one.logged[name] for one in trajectories if name in one.logged) for name in names}


def _noted(ended: Sequence[Trajectory]) -> dict[str, float]:
    """Means of what environments noted; of tools calls an episode, and the share of calls that failed."""
    names = sorted({name for one in ended for name in one.notes})
    means = {name: fmean(one.notes.get(name, 0.0) for one in ended) for name in names}
    metrics = {}
    if CALLS in means:
        calls, failures = means.pop(CALLS), means.pop(FAILURES, 0.0)
        metrics = {"tools/call_frequency": calls, "tools/failure_frequency": failures / calls if calls else 0.0}
    return metrics | {f"environment/{name}": value for name, value in means.items()}


def _spread(values: Sequence[float]) -> float:
    """Standard deviation, n - 1 in the denominator; 0 of a single value."""
    return stdev(values) if len(values) > 1 else 0.0
