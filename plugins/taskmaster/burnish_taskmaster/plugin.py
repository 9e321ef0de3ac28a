"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import FormatRecord


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """Whole dialogues, and single turns of the agent that people marked."""
    return [
        FormatRecord(
            name="taskmaster",
            target="burnish_taskmaster.format:Taskmaster",
            examples="burnish_taskmaster.format:EXAMPLES",
            kind="chat",
            summary="column utterances, whose annotations hold the API calls made before the answer",
            api=1,
        ),
        FormatRecord(
            name="taskmaster_reward",
            target="burnish_taskmaster.format:TaskmasterReward",
            examples="burnish_taskmaster.format:REWARD_EXAMPLES",
            kind="unpaired",
            summary="columns context, generation and reward: a turn of the agent, text or a call, marked 1 or 0",
            api=1,
        ),
    ]
