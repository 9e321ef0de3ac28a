"""What this package provides."""

from __future__ import annotations

from burnish import BackendRecord, hookimpl


@hookimpl
def burnish_backends() -> list[BackendRecord]:
    """One backend."""
    return [
        BackendRecord(
            name="vllm",
            target="burnish_vllm.backend:VLLM",
            summary="vLLM servers, asked in turn over HTTP; weights go to them through a shared folder",
            api=1,
        )
    ]
