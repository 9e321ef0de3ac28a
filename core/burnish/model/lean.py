"""Norms and gated layers that keep what their gradient needs and no more: about half of what a transformer's layer keeps.

In: a model. Out: the same model; where gradients are wanted, modules that are recognised run as one operation each, which keeps
its input and gives its output a recipe. Bit for bit the numbers of the module's own code; gradients to rounding. A module is
recognised by what it holds, and believed only after its own code has given the same as ours on drawn numbers. What is not
recognised, has been given another forward, is compiled or runs without gradients stays as it is.
Shapes: x [..., H].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from burnish.model.linear_head import HOOKS
from burnish.model.recipes import give_recipe

Forward = Callable[..., Any]
EPSILONS = ("variance_epsilon", "eps")
GATED = {"gate_proj", "up_proj", "down_proj", "act_fn"}
# Of a probe: rows by hidden size. Odd sizes, so that no vector width divides them.
PROBE = (5, 19)


def make_lean(model: nn.Module) -> list[nn.Module]:
    """Give another `forward` to what is recognised of `model`, in place, and return it; weights may lie anywhere."""
    changed: list[nn.Module] = []
    for module in model.modules():
        if "forward" in vars(module):
            continue
        if (style := _norm_style(module)) is not None:
            module.forward = MethodType(_norm_forward(style), module)
        elif (activation := gated_activation(module)) is not None:
            module.forward = MethodType(_gated_forward(activation), module)
        else:
            continue
        changed.append(module)
    return changed


def runs_own_code(module: nn.Module) -> bool:
    """Whether nobody but `make_lean` has given a module another forward or compiled it."""
    changed = vars(module).get("forward")
    return (changed is None or changed.__module__ == __name__) and module._compiled_call_impl is None


def _inner(normed: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Llama's: rounded, then weighted."""
    normed = normed.to(dtype)
    return normed.mul_(weight) if normed.dtype == weight.dtype else weight * normed


def _outer(normed: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """OLMo's: weighted, then rounded."""
    return (weight * normed).to(dtype)


def _offset(normed: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Gemma's: its weight is how far it is from 1."""
    return (normed * (1.0 + weight.float())).to(dtype)


Style = Callable[[Tensor, Tensor, torch.dtype], Tensor]
STYLES: tuple[Style, ...] = (_inner, _outer, _offset)


def _normed(x: Tensor, scale: Tensor, weight: Tensor, style: Style) -> Tensor:
    return style(x.to(torch.float32) * scale, weight, x.dtype)


class _Norm(torch.autograd.Function):
    """x times `scale`, 1 over the root of its mean square, float32 as in transformers, times a weight. Keeps x and scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, style: Style) -> tuple[Tensor, Tensor]:
        scale = torch.rsqrt(x.to(torch.float32).pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, scale, weight)
        ctx.style = style
        ctx.mark_non_differentiable(scale)
        return _normed(x, scale, weight, style), scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        # y = w n, n = s x, s = (mean x^2 + e)^(-1/2): dx = s (w g - n mean(w g n)), dw = sum over rows of g n
        x, scale, weight = ctx.saved_tensors
        normed = x.to(torch.float32) * scale
        product = grad * normed
        factor = weight.to(product.dtype) + (1.0 if ctx.style is _offset else 0.0)
        d_weight = product.flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, d_weight, None, None
        mean = product.mul_(factor).mean(-1, keepdim=True)
        d_x = torch.mul(grad, factor, out=product).addcmul_(normed, mean, value=-1).mul_(scale)
        return d_x.to(x.dtype), d_weight, None, None


def _norm_forward(style: Style) -> Forward:
    def forward(module: Any, *arguments: Any, **keywords: Any) -> Any:
        if len(arguments) != 1 or keywords or not _trains(*arguments, module.weight):
            return type(module).forward(module, *arguments, **keywords)
        [x], weight = arguments, module.weight
        output, scale = _Norm.apply(x, weight, _epsilon(module), style)  # type: ignore[no-untyped-call]
        return give_recipe(output, partial(_normed, x.detach(), scale, weight.detach(), style))

    return forward


def _norm_style(module: nn.Module) -> Style | None:
    """How a norm by the root of the mean square applies its weight; None for any other module."""
    weight = module._parameters.get("weight")
    alone = len(module._parameters) == 1 and not module._modules and not module._buffers
    if weight is None or not alone or weight.ndim != 1 or _epsilon(module) is None:
        return None
    drawn = torch.Generator().manual_seed(0)
    # From rows in which epsilon is all that counts to rows in which it is nothing.
    x = torch.randn(PROBE, generator=drawn) * torch.logspace(-5, 3, PROBE[0])[:, None]
    pairs = list(_dtypes(x, torch.randn(PROBE[1], generator=drawn)))
    return next((style for style in STYLES if all(_gives(module, style, *pair) for pair in pairs)), None)


def norm_epsilon(module: nn.Module) -> float | None:
    """What is added to the mean square of a norm that multiplies by its weight; None for any other module."""
    return _epsilon(module) if _norm_style(module) in (_inner, _outer) else None


def _gives(module: nn.Module, style: Style, x: Tensor, weight: Tensor) -> bool:
    """Whether the module's own code gives bit for bit what `style` does."""
    scale = torch.rsqrt(x.to(torch.float32).pow(2).mean(-1, keepdim=True) + _epsilon(module))
    return _same(_own(module, {"_parameters": {"weight": weight}}, x), _normed(x, scale, weight, style))


class _Gated(torch.autograd.Function):
    """activation(gate) * up. Keeps gate and up."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return gated(activation, gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gate, up = ctx.saved_tensors
        run, slope = ctx.activation
        d_gate = slope(grad * up, gate) if ctx.needs_input_grad[0] else None
        return d_gate, run(gate).mul_(grad) if ctx.needs_input_grad[1] else None, None


Activation = tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]
# By formula: what it gives, and its gradient by its input, given that by its output.
ACTIVATIONS: tuple[Activation, ...] = (
    (F.silu, torch.ops.aten.silu_backward),
    (partial(F.gelu, approximate="tanh"), partial(torch.ops.aten.gelu_backward, approximate="tanh")),
    (F.gelu, torch.ops.aten.gelu_backward),
)


def gated(activation: Activation, gate: Tensor, up: Tensor) -> Tensor:
    """activation(gate) * up."""
    run, _ = activation
    return run(gate).mul_(up)


def _gated_forward(activation: Activation) -> Forward:
    def forward(module: Any, *arguments: Any, **keywords: Any) -> Any:
        if len(arguments) != 1 or keywords or not _trains() or any(getattr(module.act_fn, hooks) for hooks in HOOKS):
            return type(module).forward(module, *arguments, **keywords)
        gate, up = module.gate_proj(arguments[0]), module.up_proj(arguments[0])
        if gate.dtype != up.dtype or not (gate.requires_grad and up.requires_grad):
            return module.down_proj(module.act_fn(gate) * up)
        product = _Gated.apply(gate, up, activation)  # type: ignore[no-untyped-call]
        return module.down_proj(give_recipe(product, partial(gated, activation, gate.detach(), up.detach())))

    return forward


def gated_activation(module: nn.Module) -> Activation | None:
    """The activation function of a gated feed-forward layer; None for any other module."""
    if set(module._modules) != GATED or module._parameters or module._buffers:
        return None
    drawn = torch.Generator().manual_seed(0)
    x, *weights = (torch.randn(shape, generator=drawn) for shape in (PROBE, *((PROBE[1], PROBE[1]),) * 3))
    for activation in ACTIVATIONS:
        believed = True
        for dtype in (torch.float32, torch.bfloat16):
            gate, up, down = (partial(F.linear, weight=weight.to(dtype)) for weight in weights)
            stand_in = {"gate_proj": gate, "up_proj": up, "down_proj": down, "_modules": {"act_fn": module._modules["act_fn"]}}
            one = x.to(dtype)
            believed &= _same(_own(module, stand_in, one), down(gated(activation, gate(one), up(one))))
        if believed:
            return activation
    return None


def _own(module: nn.Module, stand_in: dict[str, Any], x: Tensor) -> object:
    """What the module's own code makes of x with `stand_in` in place of its weights and layers; None if it fails."""
    shadow = object.__new__(type(module))
    shadow.__dict__ = {**vars(module), **stand_in}
    try:
        with torch.no_grad():
            return type(module).forward(shadow, x)
    except Exception:  # code that was never seen may do anything; it then stays as it is
        return None


def _same(own: object, ours: Tensor) -> bool:
    return isinstance(own, Tensor) and own.dtype == ours.dtype and torch.equal(own, ours)


def _dtypes(x: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """In the precisions in which models train: all of one, and weights wider than what they weight."""
    yield from ((x.to(dtype), weight.to(dtype)) for dtype in (torch.float64, torch.float32, torch.bfloat16))
    yield x.to(torch.bfloat16), weight


def _epsilon(module: nn.Module) -> Any:
    return next((value for name in EPSILONS if isinstance(value := vars(module).get(name), float)), None)


def _trains(*tensors: Tensor) -> bool:
    """Whether a gradient will be asked for, of any of these where some are given, by code that is run as it is written."""
    wanted = not tensors or any(tensor.requires_grad for tensor in tensors)
    return torch.is_grad_enabled() and wanted and not torch.compiler.is_compiling()
