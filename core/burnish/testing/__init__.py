"""What authors of plugins test with: the conformance kit, `evaluate`, tiny models and a tokenizer, batches with given numbers.

In: an objective and rows, or numbers written by hand. Out: values, gradients, and an account of what really ran. A public
interface; the core itself never imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "burnish.testing.batches": ("groups", "lists", "pairs", "sequences", "triples", "values_of"),
    "burnish.testing.conformance.formats": ("check_format",),
    "burnish.testing.conformance.losses": ("check_loss",),
    "burnish.testing.conformance.online": ("check_advantage", "check_backend", "check_environment", "check_reward"),
    "burnish.testing.conformance.report": ("Report", "Result"),
    "burnish.testing.conformance.weights": ("check_weight",),
    "burnish.testing.evaluation": ("Evaluation", "evaluate"),
    "burnish.testing.killing": ("EVENTS", "assert_survives", "assert_whole", "live"),
    "burnish.testing.tiny": ("FAMILIES", "tiny_model", "tiny_tokenizer"),
}
_MODULES = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'burnish.testing' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
