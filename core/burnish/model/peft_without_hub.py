"""What burnish takes from peft, imported so that nothing is fetched.

peft imports bitsandbytes, and that, where the processor has bfloat16 instructions, loads a compiled kernel from a model hub
while it is imported: with the package `kernels` over the network, without it with a complaint on stderr. Neither was asked
for. Everything else in burnish takes these names from here.
"""

import logging
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Any


def _import_bitsandbytes() -> None:
    """With its own kernels only. One that cannot be imported is peft's to deal with: it goes on without."""
    if "bitsandbytes" in sys.modules or find_spec("bitsandbytes") is None:
        return
    modules: dict[str, Any] = sys.modules
    complaints = logging.getLogger("bitsandbytes.backends.cpu.ops")
    had = {"kernels": modules["kernels"]} if "kernels" in modules else {}
    modules["kernels"], complaints.disabled = None, True
    try:
        with suppress(ImportError):
            import bitsandbytes  # noqa: F401
    finally:
        del modules["kernels"]
        modules.update(had)
        complaints.disabled = False


_import_bitsandbytes()

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model  # noqa: E402
from peft.tuners.lora import LoraLayer  # noqa: E402
from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: E402
from peft.utils.other import AuxiliaryTrainingWrapper  # noqa: E402

__all__ = [
    "AuxiliaryTrainingWrapper",
    "BaseTunerLayer",
    "LoraConfig",
    "LoraLayer",
    "PeftConfig",
    "PeftModel",
    "get_peft_model",
]
