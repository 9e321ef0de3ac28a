"""What this package provides."""

from __future__ import annotations

from burnish import FormatRecord, hookimpl


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """One format."""
    return [
        FormatRecord(
            name="prm800k",
            target="burnish_prm800k.format:PRM800K",
            examples="burnish_prm800k.format:EXAMPLES",
            kind="stepwise",
            summary="columns question {problem}, label {steps: [{completions: [{text, rating}]}]}",
            api=1,
        )
    ]
