"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import SourceRecord


@hookimpl
def burnish_sources() -> list[SourceRecord]:
    """One source, made of another."""
    return [
        SourceRecord(
            name="udm",
            target="burnish_udm.source:UDM",
            summary="marked answers, the bad ones weighed by how much their prompts are those of good answers",
            api=1,
        )
    ]
