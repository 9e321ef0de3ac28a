"""vLLM's own plugin: every process of a server calls it at its start. Imports vLLM when called, never before."""

from __future__ import annotations

from burnish_vllm.exchange import TRANSFER


def register() -> None:
    """Make the file transfer known to vLLM, once."""
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    if TRANSFER not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(TRANSFER, "burnish_vllm.engine", "FileEngine")
