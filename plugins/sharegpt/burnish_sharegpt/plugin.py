"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import FormatRecord


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """Two formats: whole conversations, and a preference about how one goes on."""
    return [
        FormatRecord(
            name="sharegpt",
            target="burnish_sharegpt.format:ShareGPT",
            examples="burnish_sharegpt.format:EXAMPLES",
            kind="chat",
            summary="column conversations, a list of {from, value}; also system and tools",
            api=1,
        ),
        FormatRecord(
            name="sharegpt_preference",
            target="burnish_sharegpt.format:ShareGPTPreference",
            examples="burnish_sharegpt.format:PREFERENCE_EXAMPLES",
            kind="preference",
            summary="columns conversations, chosen and rejected, of {from, value}; also system and tools",
            api=1,
        ),
    ]
