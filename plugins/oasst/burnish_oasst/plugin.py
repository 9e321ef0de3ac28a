"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import FormatRecord


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """Two readings of a tree: lists of ranked replies, and the conversation of the best ones."""
    return [
        FormatRecord(
            name="oasst",
            target="burnish_oasst.format:OASST",
            examples="burnish_oasst.format:EXAMPLES",
            kind="ranked",
            summary="trees of messages in column prompt: every list of ranked replies of the assistant",
            api=1,
        ),
        FormatRecord(
            name="oasst_chat",
            target="burnish_oasst.format:OASSTChat",
            examples="burnish_oasst.format:CHAT_EXAMPLES",
            kind="chat",
            summary="trees of messages in column prompt: the conversation of the best-ranked replies",
            api=1,
        ),
    ]
