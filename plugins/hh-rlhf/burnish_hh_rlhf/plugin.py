"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import FormatRecord


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """One format."""
    return [
        FormatRecord(
            name="hh_rlhf",
            target="burnish_hh_rlhf.format:HHRLHF",
            examples="burnish_hh_rlhf.format:EXAMPLES",
            kind="preference",
            summary="columns chosen and rejected, transcripts that begin with '\\n\\nHuman:'",
            api=1,
        )
    ]
