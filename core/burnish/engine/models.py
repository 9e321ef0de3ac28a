"""The models of a run: the one that is trained, and those it is compared with or learns from.

In: sections of the config, the objective, a live model or none. Out: the model and its `Roles`, on their device, not
yet wrapped for several processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from burnish.config import Config
from burnish.data.cache import cache_folder
from burnish.errors import ConfigError, ModelError
from burnish.model.cache import LogpCache
from burnish.model.check import LayoutReport, check_layout, foreseen_layout
from burnish.model.checkpointing import checkpoint_layers
from burnish.model.following import BiasCorrected, Following, Mix
from burnish.model.kernels import apply_kernels
from burnish.model.lean import make_lean
from burnish.model.loading import check_model, load_frozen, load_policy, load_shapes
from burnish.model.roles import Roles, frozen_model, frozen_policy
from burnish.model.scorer import Scorer, base_of
from burnish.model.tasks import task_for
from burnish.model.values import add_value_head, critic_like
from burnish.objective.compose import Objective
from burnish.objective.roles import roles_read
from burnish.registry import Registry


def with_head(config: Config, objective: Objective) -> Config:
    """The config with the head that the objective reads, where it is `auto`; ConfigError when they disagree."""
    task = task_for(objective.signals("policy"))
    if config.model.head not in ("auto", task):
        raise ConfigError(f"model.head: the objective reads a {task} head, not a {config.model.head} one; drop `head`")
    if task != "language" and config.evaluate.rewards:
        raise ConfigError("evaluate.rewards: a model with a classifier's head writes nothing that a reward could judge")
    return config.with_values({"model.head": task}, "decided at the start")


def load_models(
    config: Config,
    registry: Registry,
    objective: Objective,
    tokenizer: Any,
    accelerator: Accelerator,
    model: nn.Module | None = None,
) -> tuple[nn.Module, Roles, str | None]:
    """The model to train, its roles, and why its layout is not the one asked for. model: a live one, used as it is."""
    if model is None:
        model = load_policy(config.model, registry, tokenizer)
    foreseen = give_values(
        model, config, objective, lambda name: load_frozen(name, config.model, registry, tokenizer).requires_grad_(True)
    )
    if config.train.precision == "pure_bf16" and config.model.quantize is None:
        model.to(torch.bfloat16)
    checkpoint_layers(model, config.train.gradient_checkpointing)
    if accelerator.distributed_type != DistributedType.FSDP and config.model.quantize is None:
        model.to(accelerator.device)  # sharded models go there piece by piece

    apply_kernels(model, config.model.kernels, registry)
    make_lean(model)
    reference_name, teacher_name = config.reference.model, config.teacher.model
    others = {
        role: load_frozen(name, config.model, registry, tokenizer).to(accelerator.device)
        for role, name in (("reference", reference_name), ("teacher", teacher_name))
        if role in roles_read(config, objective) and name not in (None, "auto")
    }
    for other in others.values():
        apply_kernels(other, config.model.kernels, registry)
    with accelerator.autocast():
        layout = _layout([model, *others.values()], config, foreseen)
    cache_key = f"{config.train.precision}-{config.model.dtype}" if config.reference.cache else None
    frozen = {role: frozen_model(other, layout.kind, cache_key) for role, other in others.items()}
    if "reference" in roles_read(config, objective) and reference_name == "auto":
        moves = config.reference.sync is not None
        frozen["reference"] = frozen_policy(model, layout.kind, None if moves else cache_key, apart=moves)
        if frozen["reference"].scorer is not None:  # a copy; compiled blocks are not copied with their model
            apply_kernels(frozen["reference"].scorer.get_submodule("model"), config.model.kernels, registry)
    for one in frozen.values():
        if one.scorer is not None:
            one.scorer = accelerator.prepare_model(one.scorer, evaluation_mode=True)
    cache = LogpCache(cache_folder().parent) if frozen and config.reference.cache else None
    companions = frozen.get("reference"), frozen.get("teacher"), cache
    roles = Roles(Scorer(model, layout.kind), layout.kind, *companions, offload=config.train.offload_activations)
    return model, roles, layout.reason


def give_values(
    model: nn.Module, config: Config, objective: Objective, load: Callable[[str], nn.Module]
) -> list[LayoutReport]:
    """Give the model what `value.model` says, where the objective reads values; the layout of a critic of another name.

    load: reads that one.
    """
    base, name = base_of(model), config.value.model
    if not any(signal.name == "value" for signal in objective.signals("policy")) or not base.get_output_embeddings():
        return []
    if name in ("shared", "copy"):
        add_value_head(base, None if name == "shared" else critic_like(base))
        return []
    critic = load(name)
    # Before its head gives way, by which it is checked; shapes alone are believed.
    is_shape = next(critic.parameters()).is_meta
    report = foreseen_layout(critic, config.model.layout) if is_shape else check_layout(critic, config.model.layout)
    add_value_head(base, critic)
    return [report]


def following(config: Config, model: nn.Module, roles: Roles) -> Following | None:
    """What moves the reference after the policy; None where it stays."""
    sync, reference = config.reference.sync, roles.reference
    if sync is None or reference is None or reference.scorer is None:
        return None
    copy = reference.scorer.get_submodule("model")
    if sync.bema is not None:
        return Following(BiasCorrected(**sync.bema.model_dump()), model, copy)
    if sync.ema is not None:
        return Following(Mix(share=1 - sync.ema.decay, every=sync.ema.every), model, copy)
    assert sync.mix is not None
    return Following(Mix(share=sync.mix.alpha, every=sync.mix.every), model, copy)


def check_models(config: Config, registry: Registry, objective: Objective, tokenizer: Any) -> None:
    """ModelError when a model or adapter is not there, or the two do not fit; reads no weights."""
    for role, name in (("reference", config.reference.model), ("teacher", config.teacher.model)):
        if role in roles_read(config, objective) and name not in (None, "auto"):
            check_model(config.model, registry, name)
    if (name := config.value.model) not in ("shared", "copy"):
        configs = (check_model(config.model, registry, of) for of in (None, name))
        ours, theirs = (one.get_text_config().vocab_size for one in configs)
        if theirs < ours:
            raise ModelError(f"value.model: '{name}' knows {theirs} ids, the policy {ours}: they have different tokenizers")
    if config.model.adapter:
        load_shapes(config.model, registry, tokenizer)
    else:
        check_model(config.model, registry)


def _layout(models: list[nn.Module], config: Config, foreseen: list[LayoutReport]) -> LayoutReport:
    """The layout that all models can do, and those of the reports: they score the same batches."""
    reports = [*(check_layout(model, config.model.layout) for model in models), *foreseen]
    return next((report for report in reports if report.kind == "padded"), reports[0])
