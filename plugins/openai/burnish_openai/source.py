"""A teacher's answers as rows to train on. In: a file of prompts. Out: rows `prompt`, `completion`, the same ones ever after.

Every prompt is asked once: answers are written to a file as they come, and read from it from then on. A killed run has lost
nothing that was answered; a file that is complete needs no network.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.errors import DataError
from burnish.rollout.waiting import finish
from burnish_openai.endpoint import Client, Endpoint


@dataclass(frozen=True, kw_only=True)
class Teacher(Endpoint):
    """One row for each prompt, in the order of the file."""

    prompts: str
    """A JSONL file with a `prompt` in every row: text, or messages."""
    answers: str
    """The JSONL file in which answers are kept."""
    sampling: dict[str, Any] = field(default_factory=dict)
    """Further fields of every request, such as `temperature` and `max_tokens`."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        prompts = [_prompt(self.prompts, number, line) for number, line in enumerate(_lines(Path(self.prompts)), 1)]
        kept = self._kept()
        missing = {key: prompt for prompt in prompts if (key := _key(prompt)) not in kept}
        if missing:
            kept |= finish(self._ask(missing))
        for prompt in prompts:
            said = kept[_key(prompt)]
            completion = said if isinstance(prompt, str) else [{"role": "assistant", "content": said}]
            yield {"prompt": prompt, "completion": completion}

    def _kept(self) -> dict[str, str]:
        """Answers by prompt, of this model with this sampling. A last line that was cut short is left out."""
        path, kept = Path(self.answers), {}
        for line in _lines(path) if path.is_file() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if row["model"] == self.model and row["sampling"] == self.sampling:
                kept[_key(row["prompt"])] = row["completion"]
        return kept

    async def _ask(self, missing: dict[str, Any]) -> dict[str, str]:
        path, found = Path(self.answers), dict[str, str]()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as file:
            if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
                file.write("\n")  # after a line that was cut short
            async with Client(self) as client:

                async def one(key: str, prompt: Any) -> None:
                    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
                    found[key] = await client.ask(messages, **self.sampling)
                    row = {"model": self.model, "sampling": self.sampling, "prompt": prompt, "completion": found[key]}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    file.flush()

                asked = [one(key, prompt) for key, prompt in missing.items()]
                ended = await asyncio.gather(*asked, return_exceptions=True)  # what others answer is kept
        for error in ended:
            if error is not None:
                raise error
        return found


def _lines(path: Path) -> list[str]:
    try:
        # Not `splitlines`, which would break a line at characters that JSON leaves as they are (U+2028, U+0085).
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except OSError as error:
        raise DataError(f"openai: {path} cannot be read: {error.strerror}") from error


def _prompt(path: str, number: int, line: str) -> Any:
    try:
        prompt = json.loads(line)["prompt"]
    except (ValueError, LookupError, TypeError):
        prompt = None
    if not isinstance(prompt, str | list) or not prompt:
        raise DataError(f'openai: {path}, line {number}: expected {{"prompt": ...}} with a text or messages, got {line[:80]}')
    return prompt


def _key(prompt: Any) -> str:
    return json.dumps(prompt, sort_keys=True)
