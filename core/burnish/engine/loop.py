"""The training loop: batch, update, observe, evaluate, save; the same for every objective, on every number of processes.

In: a run that is set up. Out: the same run, trained, its ledger written. Every rank runs every line; the first writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from accelerate.utils import DistributedType, gather_object
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grad_norm_

from burnish.batch.spans import span, spanned
from burnish.data.units import Unit
from burnish.engine.best import Best
from burnish.engine.checkpoint import load_weights, save_checkpoint
from burnish.engine.evaluation import check_metric, evaluate
from burnish.engine.guard import blame, breakage, named
from burnish.engine.interrupts import Interrupted, Interrupts
from burnish.engine.randomness import random_state
from burnish.engine.retention import shorten_journal
from burnish.engine.run import Run
from burnish.engine.step import StepResult
from burnish.errors import RunError
from burnish.objective.unread import unread
from burnish.registry.hookspecs import Request
from burnish.rollout import mismatch


@dataclass(frozen=True)
class Step:
    """A finished step, as observers see it. metrics: its line of metrics.jsonl."""

    step: int
    metrics: Mapping[str, Any]


def train_loop(run: Run) -> None:
    """Train until the last step, early stopping, or a request to stop; raises `Interrupted` after saving when a signal came."""
    config, state = run.config, run.state
    check_metric(run)
    run.model.train()
    alone, first = run.accelerator.num_processes == 1, run.accelerator.is_main_process
    with Interrupts(launched=not alone, tells=first) as interrupts, run.progress.steps(run.num_steps, state.step):
        asked = run.observers.tell("run_started", run=run)
        if state.step == 0 and config.evaluate.at_start and evaluate_now(run):
            save(run)
        remaining = 0 if run.is_stale else run.num_steps - state.step
        for place, batch in enumerate(spanned(islice(run.batches.batches(state.cursor), remaining), "data")):
            if place == 0:
                run.progress.say(*unread(run.objective, batch.units))
            run.random = random_state()
            metrics = {**update(run, batch.units), **batch.metrics}
            if run.following is not None:
                run.torn = True
                run.following.step(state.step + 1)
            state.step, state.cursor, run.random, run.torn = state.step + 1, batch.cursor, None, False
            asked |= record(run, metrics)
            asked, signal = agree(run, asked, interrupts.received)
            improved = due(config.evaluate.every, state.step) or "evaluate" in asked
            improved = improved and evaluate_now(run)
            if improved or signal or "save" in asked or due(config.checkpoint.every, state.step):
                save(run)
            if signal:
                run.progress.say(f"stopped after step {state.step}: `burnish resume {run.path}` goes on from there")
                raise Interrupted(signal)
            if "stop" in asked or run.is_stale:
                stale = f"{config.evaluate.metric} was no better in the last {state.stale} evaluations"
                why = stale if run.is_stale else "an observer asked to stop"
                run.progress.say(f"ended after step {state.step} of {run.num_steps}: {why}")
                break
            asked = set()
        finish(run)


def update(run: Run, units: Sequence[Unit]) -> dict[str, float]:
    """One optimiser step on a global batch, or a skipped one; returns its metrics."""
    state, optimizer, began = run.state, run.trained.optimizer, time.monotonic()
    rate = run.schedule.apply(optimizer, state.step)
    result = run.runner.run(units, state.objective)
    with span("optimiser"):
        grad_norm = clip(run)
    broken = breakage(result.parts, result.loss, grad_norm)
    if broken is None:
        mismatch.check(run.config.rollout, result.metrics, state.step + 1)
        run.torn = True
        with span("optimiser"):
            optimizer.step()
        state.objective = result.state
        run.guard.passed()
    else:
        skip(run, units, broken, result)
    optimizer.zero_grad()
    state.num_tokens += result.num_tokens
    return {
        "loss": result.loss,
        **{f"loss/{name}": value for name, value in result.parts.items()},
        "grad_norm": grad_norm,
        "learning_rate": rate,
        "num_tokens": state.num_tokens,
        "tokens_per_s": result.num_tokens / (time.monotonic() - began),
        **({} if broken is None else {"skipped": 1}),
        **result.metrics,
    }


def clip(run: Run) -> float:
    """Scale the gradient down to the norm `train.clip`; returns the norm it had."""
    parameters, largest = list(run.trained.parameters.values()), run.config.train.clip or math.inf
    if run.accelerator.distributed_type == DistributedType.DEEPSPEED:
        return float(run.accelerator.clip_grad_norm_(parameters, largest))  # it has clipped, and tells the norm
    run.accelerator.unscale_gradients()
    # Not Accelerate's own, which under FSDP2 compares these parameters with those of every model that it has seen.
    norm = clip_grad_norm_(parameters, largest)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def skip(run: Run, units: Sequence[Unit], broken: str, result: StepResult) -> None:
    """Let this update pass: it would make the weights non-finite. Says who is to blame; ends the run when it goes on."""
    if run.accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise RunError(f"step {run.state.step + 1}: {broken} is not finite, and DeepSpeed has already made the update")
    scaler = run.accelerator.scaler
    if scaler is not None:
        overflow = math.isfinite(result.loss) and scaler.get_scale() > 1
        scaler.update()  # lowers the scale of the loss, which is all that an overflow needs
        if overflow:
            return
    run.trained.optimizer.zero_grad()
    rows = [row for fault in result.faults for row in fault.rows]
    who = named(rows) if rows else blame(units, lambda unit: is_finite_alone(run, unit))
    run.progress.say(run.guard.skip(run.state.step + 1, broken, who))


def is_finite_alone(run: Run, unit: Unit) -> bool:
    """Whether a batch of this unit alone gives a finite loss and gradient."""
    result = run.runner.run([unit], run.state.objective)
    gradients = [parameter.grad for parameter in run.trained.parameters.values() if parameter.grad is not None]
    shards = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
    finite = math.isfinite(result.loss) and all(bool(torch.isfinite(shard).all()) for shard in shards)
    run.trained.optimizer.zero_grad()
    return all(gather_object([finite]))


def record(run: Run, metrics: Mapping[str, float]) -> set[Request]:
    """Write the step down, show it, sound alarms; returns what observers ask for."""
    state = run.state
    line: dict[str, Any] = {"step": state.step, "epoch": run.epoch, **metrics}
    run.progress.step(state.step, line)
    run.accelerator.log(line, step=state.step)
    if alarms := run.alarms.observe(state.step, metrics):
        line["alarms"] = alarms
        run.progress.say(*alarms)
    if run.accelerator.is_main_process:
        run.metrics.append(line)
    run.last = line
    return run.observers.tell("step_finished", run=run, step=Step(state.step, line))


def agree(run: Run, asked: set[Request], signal: int | None) -> tuple[set[Request], int | None]:
    """What any process was asked for, so that all do the same."""
    if run.accelerator.num_processes == 1:
        return asked, signal
    everyone: list[tuple[set[Request], int | None]] = gather_object([(asked, signal)])
    return set().union(*(wish for wish, _ in everyone)), next((number for _, number in everyone if number), None)


def due(every: int | None, step: int) -> bool:
    """Whether something done every so many steps is due."""
    return every is not None and step % every == 0


def evaluate_now(run: Run) -> bool:
    """Evaluate and write it down; whether it is the best so far and should be kept (`checkpoint.best`)."""
    state, section = run.state, run.config.evaluate
    metrics = evaluate(run)
    if not metrics:
        return False
    state.evaluation, state.evaluated_at = metrics, state.step
    run.progress.evaluation(state.step, metrics)
    run.accelerator.log(metrics, step=state.step)
    if run.accelerator.is_main_process:
        run.metrics.append({"step": state.step, "epoch": run.epoch, **metrics})
    if state.step == 0:
        state.first = metrics
    if not run.is_judged:
        return False
    if section.metric not in metrics:
        state.stale += 1
        run.progress.say(f"the evaluation of step {state.step} gives no '{section.metric}', so it counts as no better")
        return False
    best = Best.of(metrics, state.step, section.metric)
    better = state.best is None or best.beats(state.best, section.greater_is_better)
    state.stale = 0 if better else state.stale + 1
    state.best = best if better else state.best
    return better and run.config.checkpoint.best


def save(run: Run) -> None:
    """Write a checkpoint of this step, and drop those that are no longer kept."""
    state, scaler = run.state, run.accelerator.scaler
    if state.saved_at == state.step:
        return
    if run.accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise RunError(f"step {state.step} is not saved: DeepSpeed would pickle its state; FSDP2 shards as well, and is saved")
    state.saved_at = state.step
    trainer = {**state.to_tree(), "skipped": run.guard.skipped, "scaler": scaler and scaler.state_dict()}
    trainer["reference"] = run.following and run.following.state()
    save_checkpoint(run.checkpoints.path(state.step), run.trained, trainer, run.origin, run.accelerator)
    if run.accelerator.is_main_process:
        run.checkpoints.prune(state.best.step if state.best and run.config.checkpoint.best else None)
        shorten_journal(run)


def finish(run: Run) -> None:
    """The last evaluation and checkpoint. The model then holds the last weights, or with `checkpoint.best` the best."""
    state, config = run.state, run.config
    improved = config.evaluate.at_end and state.evaluated_at != state.step and evaluate_now(run)
    if improved or state.step >= (config.checkpoint.every or math.inf):
        save(run)
    if config.checkpoint.best and state.best and state.best.step != state.step:
        load_weights(run.checkpoints.path(state.best.step), run.trained.parameters)
        state.evaluation = state.best.metrics
        run.progress.say(
            f"the model keeps the weights of step {state.best.step}: {config.evaluate.metric} {state.best.value:.4f}"
        )
