"""What this package provides."""

from __future__ import annotations

from burnish import FormatRecord, hookimpl


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """One format."""
    return [
        FormatRecord(
            name="math-shepherd",
            target="burnish_math_shepherd.format:MathShepherd",
            examples="burnish_math_shepherd.format:EXAMPLES",
            kind="stepwise",
            summary="columns input, steps ending in the mark ки, and label, the same text with + or - for the mark",
            api=1,
        )
    ]
