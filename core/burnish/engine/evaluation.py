"""Numbers on held-out rows: the objective's own losses without gradient, and rewards of what the model does with them.

In: a run. Out: metrics named `eval/...`. Changes neither weights nor the states of statistics.
"""

from __future__ import annotations

from accelerate.utils import DistributedType, gather_object

from burnish.data.render import Renderer
from burnish.engine.best import Best
from burnish.engine.finding import context_of
from burnish.engine.run import Run
from burnish.engine.sharding import unsharded
from burnish.rollout.asking import trainer_state
from burnish.rollout.evaluation import evaluation_metrics, examined, questions
from burnish.rollout.judge import Judge
from burnish.rollout.local import LocalBackend
from burnish.rollout.play import Player
from burnish.rollout.single_turn import SingleTurn, goes_on
from burnish.rollout.soundness import vocabulary_of
from burnish.rollout.trajectory import ENVIRONMENT, TURNS, Trajectory
from burnish.rollout.waiting import Gate


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
    names = [reward.name for reward in run.rewards] + ([ENVIRONMENT, TURNS] if _judged(run) else [])
    rewards = {*(f"eval/rewards/{name}/mean" for name in names), "eval/reward"} if names else set()
    losses = {"eval/loss", *(f"eval/loss/{entry.name}" for entry in run.objective.entries)}
    if run.config.evaluate.metric not in rewards | losses:
        run.model.eval()
        with run.config.located():
            Best.of({**score(run), **dict.fromkeys(rewards, 0.0)}, run.state.step, run.config.evaluate.metric)


def evaluate(run: Run) -> dict[str, float]:
    """Losses on all held-out units as one batch, and rewards; {} where there is nothing held out."""
    run.model.eval()
    metrics = score(run)
    if run.data.holdout and (run.rewards or _judged(run)):
        metrics |= evaluation_metrics(_answered(run))
    run.model.train()
    return metrics


def _judged(run: Run) -> bool:
    """Whether an environment itself says what an episode is worth."""
    return any(getattr(environment, "judges", True) for environment in run.environments.values())


def _answered(run: Run) -> list[Trajectory]:
    """Held-out rows played by the model as it is: in their source's environment where it is trained in one, else in a single
    turn. Every rank plays its share; where each forward pass needs all ranks, all play everything."""
    accelerator, section, limit = run.accelerator, run.config.rollout, run.config.evaluate.limit
    as_one = accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
    rank, num_ranks = (0, 1) if as_one else (accelerator.process_index, accelerator.num_processes)
    backend, renderer = LocalBackend(), Renderer(run.tokenizer, run.config.render)
    stepwise, shows = not as_one and goes_on(run.environments), run.progress.counting("evaluation: drawn")
    backend.draw_from(run.model, run.tokenizer, accelerator.autocast, stepwise, shows)
    on_error = "stop" if section is None else section.on_reward_error
    judge = Judge(
        run.rewards, run.tokenizer, on_error, lambda: trainer_state(run.state.step, run.num_steps), run.progress.say
    )
    found = []
    with unsharded(run.runner.roles.policy):
        for name, units in run.data.holdout.items():
            player = _player(run, backend, name)
            prompts = questions(units[:limit], run.data.holdout_rows[name][:limit], renderer)
            found += examined(player, judge, prompts[rank::num_ranks])
    if as_one and not accelerator.is_main_process:
        found = []
    return list(gather_object(found))


def _player(run: Run, backend: LocalBackend, source: str) -> Player:
    """Who plays a source's rows: in its environment with the run's limits, where it is trained in one."""
    sampling, section, context = run.config.evaluate.sampling, run.config.rollout, context_of(run.model)
    player = Player(
        {source: run.environments.get(source, SingleTurn())},
        backend,
        run.tokenizer,
        sampling,
        run.config.train.seed,
        tells=run.progress.say,
        room=None if context is None else context - sampling.max_new_tokens,
        vocabulary=vocabulary_of(run.model),
    )
    if section is not None and source in run.environments:
        player.time_limit = section.time_limit
        player.retries, player.gate = section.retries.model_dump(), Gate(section.episodes)
    return player
