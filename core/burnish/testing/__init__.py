"""What authors of plugins test with: `evaluate`, tiny models and a tokenizer in memory, batches with given numbers.

In: an objective and rows, or numbers written by hand. Out: values, gradients, and an account of what really ran. A public
interface; the core itself never imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "burnish.testing.batches": ("lists", "pairs", "sequences", "triples"),
    "burnish.testing.evaluation": ("Evaluation", "evaluate"),
    "burnish.testing.tiny": ("FAMILIES", "tiny_model", "tiny_tokenizer"),
}
_MODULES = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'burnish.testing' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
