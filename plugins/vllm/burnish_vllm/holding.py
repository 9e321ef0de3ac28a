"""What a worker of vLLM says of the adapter that it holds. Imported by vLLM alone, as the extension of its workers.

In: the folder that an adapter was loaded from. Out: a receipt. vLLM loads adapters by itself; this looks at what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, equal
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.utils import parse_fine_tuned_lora_name

from burnish_vllm.exchange import ADAPTER, held, receipt_of, write_receipt


class Holding:
    """Mixed into the workers. model_runner: a worker's own."""

    model_runner: Any

    def burnish_adapter(self, folder: str, receipts: str) -> None:
        """Leave a receipt for the adapter that was loaded last.

        vLLM folds the scale into the second factor. A tensor that is what its file says, so scaled, stands in the receipt as in
        the file; any other as it is held.
        """
        manager = self.model_runner.lora_manager._adapter_manager
        lora = manager.get_adapter(max(manager.list_adapters()))
        config = PEFTHelper.from_local_dir(folder, None)
        renames = getattr(manager.model, "hf_to_vllm_mapper", None)
        parts = dict(_parts(lora, manager.packed_modules))
        seen: dict[str, Any] = {}
        for name, tensor in load_file(Path(folder) / ADAPTER).items():
            module, is_first = parse_fine_tuned_lora_name(name, renames and renames.get_rename_mapper())
            there = parts.pop((module, is_first), None)
            if there is not None:
                _, scale = config.get_rank_and_scaling(parse_fine_tuned_lora_name(name)[0])
                expected = tensor.to(there.dtype, copy=True).mul_(1 if is_first else scale)
                seen[name] = held(tensor if equal(expected, there.cpu()) else there.cpu())
        dtype = str(self.model_runner.lora_manager.lora_config.lora_dtype).removeprefix("torch.")
        more = sorted(f"{name}.lora_{'BA'[first]}" for name, first in parts)
        write_receipt(Path(receipts), receipt_of(seen, dtype, more))


def _parts(lora: Any, packed: dict[str, list[str]]) -> Iterator[tuple[tuple[str, bool], Tensor]]:
    """Both factors of every module, by its name and whether they are the first; what vLLM has packed is unpacked."""
    for name, layer in lora.loras.items():
        names = packed[name] if layer.is_packed else [name]
        for is_first, factor in ((True, layer.lora_a), (False, layer.lora_b)):
            for one, tensor in zip(names, factor if layer.is_packed else [factor], strict=True):
                if tensor is not None:
                    yield (one, is_first), tensor
