"""Numbers on held-out rows: the objective's own losses without gradient, and rewards of what the model writes.

In: a run. Out: metrics named `eval/...`. Changes neither weights nor the states of statistics.
"""

from __future__ import annotations

from burnish.engine.best import Best
from burnish.engine.run import Run
from burnish.engine.sharding import unsharded
from burnish.rollout.evaluation import evaluate_rewards


def score(run: Run) -> dict[str, float]:
    """Losses, and the losses' own metrics, on all held-out units; prompts that are to be answered have none."""
    played = () if run.config.rollout is None else run.config.rollout.sources
    held = (units for name, units in run.data.holdout.items() if name not in played)
    units = [unit for source in held for unit in source[: run.config.evaluate.limit]]
    if not units:
        return {}
    result = run.runner.run(units, run.state.objective, train=False)
    parts = {f"loss/{name}": value for name, value in result.parts.items()}
    return {f"eval/{name}": value for name, value in {"loss": result.loss, **parts, **result.metrics}.items()}


def check_metric(run: Run) -> None:
    """ConfigError, before the first step, when no evaluation will give the metric that tells the best one.

    Names of the losses' own metrics are known only once held-out rows are scored; that is done here where it decides.
    """
    rewards = {f"eval/rewards/{reward.name}/mean" for reward in run.rewards} | {"eval/reward"} if run.rewards else set()
    losses = {"eval/loss", *(f"eval/loss/{entry.name}" for entry in run.objective.entries)}
    if run.config.evaluate.metric not in rewards | losses:
        run.model.eval()
        with run.config.located():
            Best.of({**score(run), **dict.fromkeys(rewards, 0.0)}, run.state.step, run.config.evaluate.metric)


def evaluate(run: Run) -> dict[str, float]:
    """Losses on all held-out units as one batch, and rewards; {} where there is nothing held out."""
    section = run.config.evaluate
    run.model.eval()
    metrics = score(run)
    examples = [example for source in run.data.holdout_rows.values() for example in source[: section.limit]]
    if run.rewards and examples:
        with run.accelerator.autocast(), unsharded(run.runner.roles.policy):
            metrics |= evaluate_rewards(
                run.model, run.tokenizer, examples, run.rewards, section.sampling, run.config.train.seed
            )
    run.model.train()
    return metrics
