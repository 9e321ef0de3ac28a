"""burnish: a plugin-based toolkit for post-training language models.

The public names, each imported when it is first used: `import burnish` imports neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "burnish.api": ("train",),
    "burnish.config": ("Config", "load_config"),
    "burnish.errors": ("BurnishError",),
    "burnish.model.signals": ("Signal", "entropy", "logp", "mean_logit", "score", "sum_p2", "top1", "value"),
    "burnish.objective": ("Lists", "Metric", "Pairs", "Ragged", "Sequences", "Terms"),
    "burnish.registry": (
        "AdvantageRecord",
        "BackendRecord",
        "EnvironmentRecord",
        "FormatRecord",
        "KernelRecord",
        "LossRecord",
        "ModelRecord",
        "RecipeRecord",
        "RewardRecord",
        "SourceRecord",
        "WeightRecord",
        "hookimpl",
    ),
}
_MODULES = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'burnish' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_MODULES, "__version__"])
