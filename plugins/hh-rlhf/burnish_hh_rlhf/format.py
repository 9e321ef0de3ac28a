"""The form of Anthropic's HH-RLHF: `chosen` and `rejected` are whole transcripts, "\\n\\nHuman: ...\\n\\nAssistant: ...".

They become conversations whose common turns are the prompt. Two turns of one speaker in a row are joined, since chat templates
want speakers to alternate. Transcripts that part before the last answer, or at a human turn, keep what follows the last answer
that both give after the same words: its assistant turns are the targets.
"""

from __future__ import annotations

import re
from typing import Any

from burnish.data.examples import Message, Preference, Row, RowError
from burnish.data.formats.columns import brief, shared_prompt, side

ROLES = {"Human": "user", "Assistant": "assistant"}
OPENING = "\n\nHuman:"
EXAMPLES: list[dict[str, Any]] = [
    {
        "chosen": "\n\nHuman: Hello.\n\nAssistant: Good day.\n\nHuman: Are you well?\n\nAssistant: Yes, thank you.",
        "rejected": "\n\nHuman: Hello.\n\nAssistant: Good day.\n\nHuman: Are you well?\n\nAssistant: Go away.",
    },
]
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


class HHRLHF:
    """Two transcripts, the first preferred."""

    name = "hh_rlhf"
    kind = "preference"

    def sniff(self, row: Row) -> float:
        """Two columns and the way they begin."""
        return 3.0 * all(_is_transcript(row.get(column)) for column in ("chosen", "rejected"))

    def convert(self, row: Row) -> Preference:
        """The turns that both share, and how each goes on."""
        prompt, (chosen, rejected) = shared_prompt([_turns(row, "chosen"), _turns(row, "rejected")])
        return Preference(prompt, chosen, rejected, side=side(row, ("chosen", "rejected")))


def _is_transcript(value: object) -> bool:
    return isinstance(value, str) and value.startswith(OPENING)


def _turns(row: Row, column: str) -> tuple[Message, ...]:
    text: Any = row.get(column)
    if not _is_transcript(text):
        raise RowError(f"expected a transcript that begins with {OPENING!r} in '{column}', found {brief(text)}")
    parts = _SPEAKER.split(text)[1:]
    messages: list[Message] = []
    for speaker, words in zip(parts[::2], parts[1::2], strict=True):
        role = ROLES[speaker]
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n\n" + words.strip()
        else:
            messages.append({"role": role, "content": words.strip()})
    if messages[-1]["role"] != "assistant":
        raise RowError(f"expected a transcript that ends with the assistant in '{column}', it ends with the human")
    return tuple(messages)
