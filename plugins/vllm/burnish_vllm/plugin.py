"""What this package provides."""

from __future__ import annotations

from burnish import BackendRecord, hookimpl


@hookimpl
def burnish_backends() -> list[BackendRecord]:
    """Servers that somebody else has started, and an engine of the run's own."""
    return [
        BackendRecord(
            name="vllm",
            target="burnish_vllm.backend:VLLM",
            summary="vLLM servers, asked in turn over HTTP; weights go to them through a shared folder",
            api=1,
        ),
        BackendRecord(
            name="vllm_colocated",
            target="burnish_vllm.colocated:Colocated",
            summary="a vLLM engine of the run's own on the same devices, which sleeps while the model is trained",
            api=1,
        ),
    ]
