"""What this package provides."""

from __future__ import annotations

from burnish import FormatRecord, hookimpl


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """One format."""
    return [
        FormatRecord(
            name="big-bench-mistake",
            target="burnish_big_bench_mistake.format:BigBenchMistake",
            examples="burnish_big_bench_mistake.format:EXAMPLES",
            kind="stepwise",
            summary="columns input, steps, mistake_index",
            api=1,
        )
    ]
