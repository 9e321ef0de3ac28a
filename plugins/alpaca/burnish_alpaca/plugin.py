"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import FormatRecord


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """With an answer, with a preference, and with several instances of one instruction."""
    return [
        FormatRecord(
            name="alpaca",
            target="burnish_alpaca.format:Alpaca",
            examples="burnish_alpaca.format:EXAMPLES",
            kind="prompt_completion",
            summary="columns instruction, input, output; also system and history",
            api=1,
        ),
        FormatRecord(
            name="alpaca_preference",
            target="burnish_alpaca.format:AlpacaPreference",
            examples="burnish_alpaca.format:PREFERENCE_EXAMPLES",
            kind="preference",
            summary="columns instruction, input, chosen, rejected; also system and history",
            api=1,
        ),
        FormatRecord(
            name="self_instruct",
            target="burnish_alpaca.format:SelfInstruct",
            examples="burnish_alpaca.format:SELF_INSTRUCT_EXAMPLES",
            kind="prompt_completion",
            summary="columns instruction and instances, a list of {input, output}; several examples a row",
            api=1,
        ),
    ]
