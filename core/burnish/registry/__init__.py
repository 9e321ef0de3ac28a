"""Registry: which plugins are installed and what they provide.

In: installed distributions with an entry point in the group `burnish`. Out: records by name, objects on first use, a
fingerprint of the set. Knows no tensor, no config, and imports no plugin beyond its `plugin.py` until something of it is asked
for.
"""

from burnish.registry.custom import custom_hash, is_custom
from burnish.registry.discovery import PluginInfo
from burnish.registry.hookspecs import RECORD_HOOKS, hookimpl
from burnish.registry.kinds import DATA_KINDS, PAIRINGS, kind_after, serves
from burnish.registry.lookup import Registry, differences, load
from burnish.registry.records import (
    REDUCTIONS,
    AdvantageRecord,
    BackendRecord,
    CurriculumRecord,
    EnvironmentRecord,
    FormatRecord,
    KernelRecord,
    LossRecord,
    ModelRecord,
    ParserRecord,
    RecipeRecord,
    Record,
    RewardRecord,
    SourceRecord,
    WeightRecord,
)

__all__ = [
    "DATA_KINDS",
    "PAIRINGS",
    "RECORD_HOOKS",
    "REDUCTIONS",
    "AdvantageRecord",
    "BackendRecord",
    "CurriculumRecord",
    "EnvironmentRecord",
    "FormatRecord",
    "KernelRecord",
    "LossRecord",
    "ModelRecord",
    "ParserRecord",
    "PluginInfo",
    "RecipeRecord",
    "Record",
    "Registry",
    "RewardRecord",
    "SourceRecord",
    "WeightRecord",
    "custom_hash",
    "differences",
    "hookimpl",
    "is_custom",
    "kind_after",
    "load",
    "serves",
]
