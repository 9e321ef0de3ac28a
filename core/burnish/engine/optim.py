"""Optimisers by name over the trainable parameters, and their state as plain trees.

In: the optimizer section, named parameters. Out: a torch optimiser; its state keyed by parameter name. Knows no schedule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as List
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.optim import Optimizer

from burnish.engine.rounding import OFFLOAD, OWN, Rounded
from burnish.engine.sharding import placed_like, whole
from burnish.errors import ConfigError, ModelError, did_you_mean

if TYPE_CHECKING:
    from accelerate import Accelerator

    from burnish.config import Config
    from burnish.config.sections import OptimizerSection

# These do their step inside the backward pass, swap weights for evaluation, or need a closure: another loop than ours.
OTHER_LOOP = ("lomo", "layerwise", "schedule_free", "lbfgs", "sparseadam")
FUSED = ("adam", "adamw")
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)
# Their states are quantised or paged by themselves.
ALREADY = ("bit", "paged", "bnb", "galore", "apollo")


def build_optimizer(section: OptimizerSection, parameters: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
    """The optimiser named `section.name`; weight decay spares vectors (norms, biases).

    A name is looked up among transformers' own classes (`adafactor`), then in `torch.optim` (`adamw`, `muon`), then among
    the names that transformers' Trainer knows (`adamw_8bit`, `lion_32bit`).
    """
    trainable = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise ModelError("nothing to train: no parameter of the model requires a gradient")
    decayed = [parameter for _, parameter in trainable if parameter.ndim >= 2]
    spared = [parameter for _, parameter in trainable if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": section.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    make, defaults = _lookup(section)
    devices = {parameter.device.type for _, parameter in trainable}
    if section.name.lower() in FUSED and devices <= {"cuda", "cpu"} and not {"fused", "foreach"} & section.options.keys():
        defaults["fused"] = True
    build = partial(make, **{**defaults, "lr": section.lr, **section.options})
    groups = [group for group in groups if group["params"]]
    try:
        if section.rounding == "nearest" and not section.offload:
            return build(groups)
        _check_rounding(section, [parameter for _, parameter in trainable])
        return Rounded(build, groups, section.rounding, section.offload)
    except (TypeError, ValueError, LookupError, ImportError) as error:
        raise ConfigError(f"optimizer '{section.name}' with options {section.options}: {error}") from error


def check_optimizer(config: Config, accelerator: Accelerator) -> None:
    """Refuse, before any weights are read, what the model's own optimiser would be refused for."""
    section = config.optimizer
    if (section.rounding != "nearest" or section.offload) and accelerator.distributed_type in SHARDED:
        kind = accelerator.distributed_type.value
        raise ConfigError(
            f"optimizer.rounding, optimizer.offload: weights are sharded ({kind}), and states have a form of their own; train "
            "with DDP, or drop them"
        )
    narrow = config.train.precision == "pure_bf16" or config.model.dtype == "bfloat16"
    probe = torch.zeros(1, 1, dtype=torch.bfloat16 if narrow else torch.float32)
    build_optimizer(section, [("", nn.Parameter(probe))])


def _check_rounding(section: OptimizerSection, trained: List[nn.Parameter]) -> None:
    """ConfigError where there is nothing to round, nowhere to go, or an optimiser that looks at several weights together."""
    name, dtypes = section.name.lower(), {parameter.dtype for parameter in trained}
    if section.rounding != "nearest" and torch.bfloat16 not in dtypes:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise ConfigError(
            f"optimizer.rounding: {section.rounding} is for bfloat16 weights, and those that are trained are {found}; set "
            "train.precision to pure_bf16, or drop `rounding`"
        )
    if section.offload and all(parameter.device.type == "cpu" for parameter in trained) and not torch.cuda.is_available():
        raise ConfigError("optimizer.offload: without a GPU the optimiser's state lies in the host's memory already; drop it")
    if any(word in name for word in ALREADY):
        raise ConfigError(f"optimizer.rounding, optimizer.offload: '{name}' keeps its state in a form of its own; drop them")


def _lookup(section: OptimizerSection) -> tuple[Callable[..., Optimizer], dict[str, Any]]:
    """What makes the optimiser, and the arguments that its name implies."""
    from transformers.training_args import OptimizerNames

    name = section.name.lower()
    classes = [kind for kind in vars(torch.optim).values() if isinstance(kind, type) and issubclass(kind, Optimizer)]
    in_torch = {kind.__name__.lower(): kind for kind in classes}
    in_trainer = {member.value for member in OptimizerNames}
    known = sorted({"adafactor", *in_torch, *in_trainer} - {"optimizer"})
    if name not in known:
        raise ConfigError(f"no optimizer named '{section.name}'. {did_you_mean(name, known)}")
    if any(word in name for word in OTHER_LOOP):
        raise ConfigError(
            f"optimizer '{name}' needs another training loop than burnish's; choose for example adamw, sgd, adafactor"
        )
    if name == "adafactor":
        from transformers.optimization import Adafactor

        # With an lr of our own schedule, Adafactor's own schedule and its scaling by the parameters' size are off.
        return Adafactor, {"relative_step": False, "scale_parameter": False}
    if name in in_torch:
        return in_torch[name], {}
    return _from_trainer(name, section)


def _from_trainer(name: str, section: OptimizerSection) -> tuple[Callable[..., Optimizer], dict[str, Any]]:
    from transformers import Trainer, TrainingArguments

    # The defaults of TrainingArguments without its constructor, which would set up devices and processes.
    arguments = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    arguments |= {"optim": name, "learning_rate": section.lr, "weight_decay": section.weight_decay}
    try:
        return Trainer.get_optimizer_cls_and_kwargs(SimpleNamespace(**arguments))  # type: ignore[no-any-return]
    except (ImportError, RuntimeError, ValueError) as error:
        raise ConfigError(f"optimizer '{name}' cannot be used here: {error}") from error


def optimizer_state(optimizer: Optimizer, names: Mapping[nn.Parameter, str], keep: bool = True) -> dict[str, Any]:
    """Moments and counters by parameter name, gathered whole where `keep`; every rank must call this.

    Hyper-parameters are left out: they come from the config.
    """
    parameters = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameters[names[parameter]] = whole(optimizer.state.get(parameter, {}), keep)
    own = [{key: item for key, item in group.items() if _is_own(key, optimizer)} for group in optimizer.param_groups]
    return {"parameters": parameters, "groups": own}


def load_optimizer_state(optimizer: Optimizer, names: Mapping[nn.Parameter, str], saved: Mapping[str, Any]) -> None:
    """Put back what `optimizer_state` gave, in the dtypes it had (torch's `load_state_dict` would cast to the parameter's)."""
    for group, own in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update(own)
        # Counters follow the parameter's device only where the kernel reads them there.
        counters_on_device, waits = bool(group.get("fused") or group.get("capturable")), bool(group.get(OFFLOAD))
        for parameter in group["params"]:
            state: dict[str, Any] = saved["parameters"].get(names[parameter], {})
            for key, item in state.items():
                on_host = waits and key not in OWN
                if isinstance(item, Tensor) and (not on_host if item.ndim else counters_on_device):
                    item = placed_like(item, parameter)
                optimizer.state[parameter][key] = item


def _is_own(key: str, optimizer: Optimizer) -> bool:
    return key not in optimizer.defaults and key not in ("params", "lr", "initial_lr", "weight_decay")
