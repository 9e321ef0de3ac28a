"""What a worker of vLLM does with new weights: takes them from a file, off the wire or out of memory that the trainer lends,
loads them, gives a receipt. Imported by vLLM alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferUpdateInfo
from vllm.distributed.weight_transfer.packed_tensor import PackedBufferImporter, packed_ipc_consumer
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.mtp_validation import disable_mtp_completeness_check
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.utils.nccl import unpinned_nccl_env

from burnish_vllm.exchange import noted, read_weights, receipt_of, write_receipt
from burnish_vllm.ipc import arguments_of, gpu_of
from burnish_vllm.wire import Meeting, Wire

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
"""How the names of input embeddings end, in the families that tie them."""


@dataclass
class FileInit(WeightTransferInitInfo):
    """meeting: where the trainer waits with a wire; gpus: a folder for the ids of the workers' GPUs, whose memory will be lent.
    Neither where weights come in files."""

    meeting: dict[str, Any] | None = None
    gpus: str = ""


@dataclass
class FileUpdate(WeightTransferUpdateInfo):
    """path: of the weights; receipts: the folder for what was loaded. Over a wire tensors, as announced, instead of a path, and
    receipts as the word under which they are reported. In lent memory a chunk at a time, as vLLM's own `ipc` has one but for
    handles that are not pickled; more: whether another one follows."""

    receipts: str
    path: str = ""
    tensors: list[list[Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    dtype_names: list[str] = field(default_factory=list)
    shapes: list[list[int]] = field(default_factory=list)
    tensor_sizes: list[int] = field(default_factory=list)
    ipc_handles: dict[str, list[Any]] = field(default_factory=dict)
    more: bool = False


@dataclass
class Taken:
    """Of one update. seen: what was handed over, as receipts have it; loaded: the parameters that came of it, None where the
    model does not say; embeddings: the input embeddings among it."""

    seen: dict[str, Any] = field(default_factory=dict)
    loaded: set[str] | None = field(default_factory=set)
    embeddings: list[Tensor] = field(default_factory=list)


class FileEngine(WeightTransferEngine[FileInit, FileUpdate]):
    """Loads checkpoints layer by layer into the running model."""

    init_info_cls = FileInit
    update_info_cls = FileUpdate
    supports_draft_weight_update = False
    _wire: Wire | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._lent = PackedBufferImporter()
        self._taken = Taken()

    def init_transfer_engine(self, init_info: FileInit) -> None:
        """Join the trainer at its wire, if it has one; tell it where this is, if it asks."""
        self._wire = None
        if init_info.gpus:
            write_receipt(Path(init_info.gpus), {"gpu": gpu_of(self.device)})
        if init_info.meeting is not None:
            # vLLM sets NCCL up for its own processes, and the trainer, being none of them, would be waited for in vain.
            with unpinned_nccl_env() if init_info.meeting["kind"] == "nccl" else nullcontext():
                self._wire = Wire.join(Meeting(**init_info.meeting), self._rank, self.device)

    @property
    def _rank(self) -> int:
        """Among all workers, after the trainer."""
        parallel = self.parallel_config
        return int(parallel.data_parallel_index * parallel.world_size + parallel.rank) + 1

    def start_weight_update(self) -> None:
        """Layers get ready to be loaded anew."""
        initialize_layerwise_reload(self.model)
        # Only now: kernels may have packed parameters away, and getting ready brings them back.
        self._expected = {name for name, _ in self.model.named_parameters()}
        self._taken = Taken()

    def receive_weights(self, update_info: FileUpdate) -> None:
        """Load the weights; when they are all there, tell what came out of it."""
        wire = self._wire
        try:
            self._load(self._weights(update_info))
            if update_info.more:
                return
            receipt = self._receipt()
        except BaseException:
            self.finish_weight_update()  # else what came of these weights would count for the next ones'
            raise
        if wire is None:
            write_receipt(Path(update_info.receipts), receipt)
        else:
            wire.report(update_info.receipts, self._rank, receipt)

    def _weights(self, info: FileUpdate) -> Generator[tuple[str, Tensor], None, None]:
        if info.ipc_handles:
            return (one for one in self._copied(info))
        return read_weights(Path(info.path)) if self._wire is None else self._wire.receive(info.tensors)

    def _copied(self, info: FileUpdate) -> list[tuple[str, Tensor]]:
        """Copies of what lies in lent memory: vLLM replays the loading of a layer when it is whole, maybe chunks later."""
        handles = {gpu: arguments_of(handle) for gpu, handle in info.ipc_handles.items()}
        known = IPCWeightTransferUpdateInfo(info.names, info.dtype_names, info.shapes, handles, tensor_sizes=info.tensor_sizes)
        copies: list[tuple[str, Tensor]] = packed_ipc_consumer(
            known.ipc_handles,
            known.names,
            known.shapes,
            known.dtype_names,
            known.tensor_sizes,
            self.device.index,
            self._lent,
        )
        return copies

    def _load(self, weights: Generator[tuple[str, Tensor], None, None]) -> None:
        taken = self._taken
        with closing(weights), disable_mtp_completeness_check():
            loaded = self.model.load_weights(self._noting(noted(weights, taken.seen), taken.embeddings))
        taken.loaded = None if loaded is None or taken.loaded is None else taken.loaded | set(loaded)

    def _receipt(self) -> dict[str, Any]:
        """For all that was loaded since the update began."""
        taken = self._taken
        tied = self._load_tied(taken.embeddings)
        missing = sorted(self._expected - taken.loaded - tied) if taken.loaded is not None else []
        return receipt_of(taken.seen, str(self.model_config.dtype).removeprefix("torch."), missing)

    def _noting(self, weights: Iterator[tuple[str, Tensor]], embeddings: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The same weights; the input embeddings among them are kept."""
        for name, tensor in weights:
            if name.endswith(EMBEDDINGS):
                embeddings.append(tensor)
            yield name, tensor

    def _load_tied(self, embeddings: list[Tensor]) -> set[str]:
        """Load a head whose weights are the input embeddings'; the names of its parameters.

        Layer by layer, vLLM leaves such a head as it was, trusting that both share one storage. Where a kernel packs the head,
        as on CPUs, they do not: logits would go on coming from the old weights.
        """
        config = self.model_config.hf_config.get_text_config()
        if not getattr(config, "tie_word_embeddings", False) or len(embeddings) != 1:
            return set()
        loaded = set()
        for path, module in self.model.named_modules():
            if isinstance(module, ParallelLMHead):
                for name, parameter in [*module.named_parameters()]:  # a kernel may pack the last one away
                    if parameter.shape[1:] == embeddings[0].shape[1:]:
                        parameter.weight_loader(parameter, embeddings[0])
                        loaded.add(f"{path}.{name}")
        return loaded

    def finish_weight_update(self) -> None:
        """Layers are as the kernels want them again; nothing is held of what they were made of."""
        finalize_layerwise_reload(self.model, self.model_config)
        self._lent.close()
        self._taken = Taken()

    def shutdown(self) -> None:
        """The wire is let go of, and what was lent."""
        self._wire = None
        self._lent.close()
