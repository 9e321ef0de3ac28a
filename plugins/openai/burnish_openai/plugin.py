"""What this package provides."""

from __future__ import annotations

from burnish import SourceRecord, hookimpl


@hookimpl
def burnish_sources() -> list[SourceRecord]:
    """Answers of a teacher."""
    return [
        SourceRecord(
            name="openai",
            target="burnish_openai.source:Teacher",
            summary="prompts of a file, answered by a model behind an endpoint, each once; the answers are kept in a file",
            api=1,
        )
    ]
