"""What a worker of vLLM does with new weights: reads a file, loads it, leaves a receipt. Imported by vLLM alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from burnish_vllm.exchange import read_weights, write_receipt


@dataclass
class FileInit(WeightTransferInitInfo):
    """Nothing to agree on."""


@dataclass
class FileUpdate(WeightTransferUpdateInfo):
    """path: of the weights; receipts: the folder for what was loaded."""

    path: str
    receipts: str


class FileEngine(WeightTransferEngine[FileInit, FileUpdate]):
    """Loads checkpoints layer by layer into the running model."""

    init_info_cls = FileInit
    update_info_cls = FileUpdate
    supports_draft_weight_update = False

    def init_transfer_engine(self, init_info: FileInit) -> None:
        """There is no connection to make."""

    def start_weight_update(self) -> None:
        """Layers get ready to be loaded anew."""
        self._expected = {name for name, _ in self.model.named_parameters()}
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: FileUpdate) -> None:
        """Load the file, and write down what came out of it."""
        seen: dict[str, object] = {}
        loaded = self.model.load_weights(read_weights(Path(update_info.path), seen))
        missing = sorted(self._expected - set(loaded)) if loaded is not None else []
        dtype = str(self.model_config.dtype).removeprefix("torch.")
        write_receipt(Path(update_info.receipts), seen, dtype, missing)

    def finish_weight_update(self) -> None:
        """Layers are as the kernels want them again."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing is held."""
