"""What a worker of vLLM does with new weights: takes them from a file or off the wire, loads them, gives a receipt. Imported by
vLLM alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from burnish_vllm.exchange import noted, read_weights, receipt_of, write_receipt
from burnish_vllm.wire import Meeting, Wire

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
"""How the names of input embeddings end, in the families that tie them."""


@dataclass
class FileInit(WeightTransferInitInfo):
    """meeting: where the trainer waits with a wire; nothing where weights come in files."""

    meeting: dict[str, Any] | None = None


@dataclass
class FileUpdate(WeightTransferUpdateInfo):
    """path: of the weights; receipts: the folder for what was loaded. Over a wire tensors, as announced, instead of a path, and
    receipts as the word under which they are reported."""

    receipts: str
    path: str = ""
    tensors: list[list[Any]] = field(default_factory=list)


class FileEngine(WeightTransferEngine[FileInit, FileUpdate]):
    """Loads checkpoints layer by layer into the running model."""

    init_info_cls = FileInit
    update_info_cls = FileUpdate
    supports_draft_weight_update = False
    _wire: Wire | None = None

    def init_transfer_engine(self, init_info: FileInit) -> None:
        """Join the trainer at its wire, if it has one."""
        self._wire = None
        if init_info.meeting is not None:
            self._wire = Wire.join(Meeting(**init_info.meeting), self._rank)

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

    def receive_weights(self, update_info: FileUpdate) -> None:
        """Load the weights, and tell what came out of it."""
        wire = self._wire
        weights = read_weights(Path(update_info.path)) if wire is None else wire.receive(update_info.tensors)
        try:
            receipt = self._load(weights)
        except BaseException:
            self.finish_weight_update()  # else what came of these weights would count for the next ones'
            raise
        if wire is None:
            write_receipt(Path(update_info.receipts), receipt)
        else:
            wire.report(update_info.receipts, self._rank, receipt)

    def _load(self, weights: Generator[tuple[str, Tensor], None, None]) -> dict[str, Any]:
        """The receipt for what was loaded."""
        seen: dict[str, Any] = {}
        embeddings: list[Tensor] = []
        with closing(weights):
            loaded = self.model.load_weights(self._noting(noted(weights, seen), embeddings))
        tied = self._load_tied(embeddings)
        missing = sorted(self._expected - set(loaded) - tied) if loaded is not None else []
        return receipt_of(seen, str(self.model_config.dtype).removeprefix("torch."), missing)

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
        """Layers are as the kernels want them again."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """The wire is let go of."""
        self._wire = None
