"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import FormatRecord


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """Worked answers, and answers of models with marks."""
    return [
        FormatRecord(
            name="gsm8k",
            target="burnish_gsm8k.format:GSM8K",
            examples="burnish_gsm8k.format:EXAMPLES",
            kind="prompt_completion",
            summary="columns question and answer, a worked answer that ends with #### and a number",
            api=1,
        ),
        FormatRecord(
            name="gsm8k_solutions",
            target="burnish_gsm8k.format:GSM8KSolutions",
            examples="burnish_gsm8k.format:SOLUTION_EXAMPLES",
            kind="unpaired",
            summary="column question, and columns of {solution, is_correct}, one for each model",
            api=1,
        ),
    ]
