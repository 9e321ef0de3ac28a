"""Kernels: parts of a loaded model replaced by faster ones that compute the same numbers.

In: a model on its device, and the config's list of kernels. Out: the same model. Knows no kernel; `check_layout` looks at the
model with its kernels on, so one that breaks a layout is found before the first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from burnish.errors import BurnishError, ModelError, raised
from burnish.registry import KernelRecord, Registry


def apply_kernels(model: nn.Module, kernels: Iterable[Mapping[str, Mapping[str, Any]]], registry: Registry) -> None:
    """Put them on `model`, in order. ModelError where one cannot work here."""
    for name, options in ((name, options) for item in kernels for name, options in item.items()):
        put_on = registry.find(KernelRecord, name)
        try:
            put_on(**options)(model)
        except BurnishError:
            raise
        except Exception as error:
            raise ModelError(f"model.kernels: the kernel '{name}' failed on {type(model).__name__}: {raised(error)}") from error
