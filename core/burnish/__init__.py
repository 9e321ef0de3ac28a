"""burnish: a plugin-based toolkit for post-training language models.

The public names, each imported when it is first used: `import burnish` imports neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from burnish.api import train as train
    from burnish.config import Config as Config
    from burnish.config import load_config as load_config
    from burnish.errors import BurnishError as BurnishError
    from burnish.model.signals import Signal as Signal
    from burnish.model.signals import entropy as entropy
    from burnish.model.signals import logp as logp
    from burnish.model.signals import mean_logit as mean_logit
    from burnish.model.signals import score as score
    from burnish.model.signals import sum_p2 as sum_p2
    from burnish.model.signals import top1 as top1
    from burnish.model.signals import value as value
    from burnish.objective import ImplicitReward as ImplicitReward
    from burnish.objective import Lists as Lists
    from burnish.objective import Metric as Metric
    from burnish.objective import Pairs as Pairs
    from burnish.objective import Ragged as Ragged
    from burnish.objective import Sequences as Sequences
    from burnish.objective import Terms as Terms
    from burnish.objective import Triples as Triples
    from burnish.registry import AdvantageRecord as AdvantageRecord
    from burnish.registry import BackendRecord as BackendRecord
    from burnish.registry import CurriculumRecord as CurriculumRecord
    from burnish.registry import EnvironmentRecord as EnvironmentRecord
    from burnish.registry import FormatRecord as FormatRecord
    from burnish.registry import KernelRecord as KernelRecord
    from burnish.registry import LossRecord as LossRecord
    from burnish.registry import ModelRecord as ModelRecord
    from burnish.registry import ParserRecord as ParserRecord
    from burnish.registry import RecipeRecord as RecipeRecord
    from burnish.registry import RewardRecord as RewardRecord
    from burnish.registry import SourceRecord as SourceRecord
    from burnish.registry import WeightRecord as WeightRecord
    from burnish.registry import hookimpl as hookimpl
    from burnish.rollout.contract import Groups as Groups

__version__ = "0.1.0"

_HOME = {
    "burnish.api": ("train",),
    "burnish.config": ("Config", "load_config"),
    "burnish.errors": ("BurnishError",),
    "burnish.model.signals": ("Signal", "entropy", "logp", "mean_logit", "score", "sum_p2", "top1", "value"),
    "burnish.objective": ("ImplicitReward", "Lists", "Metric", "Pairs", "Ragged", "Sequences", "Terms", "Triples"),
    "burnish.registry": (
        "AdvantageRecord",
        "BackendRecord",
        "CurriculumRecord",
        "EnvironmentRecord",
        "FormatRecord",
        "KernelRecord",
        "LossRecord",
        "ModelRecord",
        "ParserRecord",
        "RecipeRecord",
        "RewardRecord",
        "SourceRecord",
        "WeightRecord",
        "hookimpl",
    ),
    "burnish.rollout.contract": ("Groups",),
}
_MODULES = {name: module for module, names in _HOME.items() for name in names}
__all__ = [*_MODULES]


if not TYPE_CHECKING:  # type checkers would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'burnish' has no attribute '{name}'")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
