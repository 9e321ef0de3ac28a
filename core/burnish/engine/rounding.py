"""Updates of bfloat16 weights that are not lost to rounding, and optimiser states that wait in the host's memory.

In: an optimiser of torch's kind. Out: one whose every step runs in float32, a weight at a time. A bfloat16 number has 8 bits:
an update below 1/512 of a weight rounds to nothing. Either what was rounded off is kept beside the weight and added before the
next step (`kahan`: another bfloat16 number a weight), or a weight is rounded up or down with the probability that makes its
mean right (`stochastic`: nothing is kept). Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Rounding = Literal["nearest", "kahan", "stochastic"]
REST, TURN, OFFLOAD = "burnish_rest", "burnish_turn", "burnish_offload"
OWN = (REST, TURN)


class Rounded(Optimizer):
    """An optimiser over `groups` that rounds as told.

    make: the optimiser itself, from parameters; it must treat them one by one. offload: states lie in pinned memory of the host
    between steps. Source of `kahan`: Kahan 1965, doi:10.1145/363707.363723; of both for training: Zamirai et al. 2020,
    arXiv:2010.06192.
    """

    def __init__(
        self, make: Callable[[Iterable[Any]], Optimizer], groups: list[dict[str, Any]], rounding: Rounding, offload: bool
    ) -> None:
        self._rounding, self._offload = rounding, offload
        self._inner = make([nn.Parameter(torch.zeros(1))])
        [settings] = self._inner.param_groups
        super().__init__(groups, {**{key: value for key, value in settings.items() if key != "params"}, OFFLOAD: offload})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "the loop has made the gradients already"
        index = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                index += 1
                if parameter.grad is not None:
                    self._update(parameter, group, index)

    def _update(self, parameter: Tensor, group: dict[str, Any], index: int) -> None:
        state: dict[str, Any] = self.state[parameter]
        wide = parameter.detach().float() if parameter.dtype == torch.bfloat16 else parameter.detach().clone()
        if REST in state:
            wide += state[REST]
        weight = nn.Parameter(wide)
        weight.grad = parameter.grad.to(wide.dtype)  # type: ignore[union-attr]
        self._inner.param_groups[0].update({**group, "params": [weight]})
        known = {key: _at(value, parameter.device) for key, value in state.items() if key not in OWN}
        self._inner.state.clear()
        if known:
            self._inner.state[weight] = known
        self._inner.step()
        new = self._inner.state.pop(weight, {})
        state.update({key: _at_host(value) for key, value in new.items()} if self._offload else new)
        if parameter.dtype != torch.bfloat16 or self._rounding == "nearest":
            parameter.copy_(weight)
        elif self._rounding == "kahan":
            parameter.copy_(weight)
            state[REST] = (weight - parameter.float()).to(parameter.dtype)
        else:
            state[TURN] = state.get(TURN, 0) + 1
            parameter.copy_(stochastically(weight.detach(), seed=(state[TURN] << 20) + index))


def stochastically(wide: Tensor, seed: int) -> Tensor:
    """float32 to bfloat16, up or down with the probability that makes the mean right; a function of the seed."""
    generator = torch.Generator(wide.device).manual_seed(seed)
    noise = torch.randint(0, 1 << 16, wide.shape, dtype=torch.int32, device=wide.device, generator=generator)
    bits = (wide.contiguous().view(torch.int32) + noise) & -(1 << 16)  # cut off the 16 bits that bfloat16 has not
    return torch.where(wide.isfinite(), bits.view(torch.float32), wide).to(torch.bfloat16)


def _at(value: Any, device: torch.device) -> Any:
    """A state where the step needs it; counters stay where they are."""
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) and value.ndim else value


def _at_host(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.ndim == 0 or value.device.type == "cpu":
        return value
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    return host.copy_(value, non_blocking=False)
