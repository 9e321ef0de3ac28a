"""Conversations become text with the character spans of the assistant's turns. Knows templates only as functions of messages.

A turn's span comes from `{% generation %}` where the template has it, else from rendering the conversation up to the turn and
through it. A template that rewrites earlier turns when later ones follow (drops their reasoning, say) is not
prefix-preserving: then a placeholder takes the place of the turn's content, and the text around it shows where the turn is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from burnish.data.examples import Message, RowError, Side
from burnish.data.prefix import common_prefix
from burnish.errors import DataError

Span = tuple[int, int]
PLACEHOLDER = "\ue000"
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class ChatText:
    """A rendered conversation. spans: [start, end) characters of each assistant turn with its end of turn, or None where the
    turn cannot be found in the text. tools_unseen: the text is the same without the tools or the tool calls."""

    text: str
    spans: tuple[Span | None, ...] = ()
    tools_unseen: bool = False


class ChatRenderer:
    """Renders conversations with the chat template of a tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def text(self, messages: Sequence[Message], side: Side, *, prompt: bool = False) -> str:
        """The conversation as text; with `prompt` it ends where the assistant's answer begins."""
        return self._render(messages, side, prompt, marks=False)[0]

    def turns(self, messages: Sequence[Message], side: Side) -> ChatText:
        """The conversation as text, and where the assistant's turns are in it."""
        spans: list[Span | None]
        if _GENERATION.search(self._template(side)):
            text, marked = self._render(messages, side, False, marks=True)
            spans = [*marked]
        else:
            text = self.text(messages, side)
            places = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
            spans = [self._span(text, messages, index, side) for index in places]
        return ChatText(text, tuple(spans), self._leaves_out_tools(text, messages, side))

    def _leaves_out_tools(self, text: str, messages: Sequence[Message], side: Side) -> bool:
        silent = [{key: value for key, value in message.items() if key != "tool_calls"} for message in messages]
        try:
            if silent != list(messages) and self.text(silent, side) == text:
                return True
            return bool(side.tools) and self.text(messages, replace(side, tools=())) == text
        except RowError:  # it asks for what it would leave out
            return False

    def _span(self, text: str, messages: Sequence[Message], index: int, side: Side) -> Span | None:
        """Where turn `index` is in `text`, the whole conversation."""
        if index:  # no template renders the beginning of an answer to nothing
            before = self.text(messages[:index], side, prompt=True)
            through = text if index + 1 == len(messages) else self.text(messages[: index + 1], side)
            if text.startswith(through) and through.startswith(before) and len(before) < len(through):
                return len(before), len(through)
        return self._span_by_placeholder(text, messages, index, side)

    def _span_by_placeholder(self, text: str, messages: Sequence[Message], index: int, side: Side) -> Span | None:
        """Where turn `index` is: what two renderings share that have another content there. The second also lacks the turn's
        calls and reasoning, around which templates put space that depends on the content."""
        turn = {**messages[index], "content": PLACEHOLDER}
        bare = {"role": turn["role"], "content": PLACEHOLDER}
        for probe in (turn, bare) if turn.keys() != bare.keys() else (turn,):
            try:
                head, found, tail = self.text([*messages[:index], probe, *messages[index + 1 :]], side).partition(PLACEHOLDER)
            except RowError:  # results of tools need the calls that the bare turn lacks
                continue
            if found and text.startswith(head) and text.endswith(tail) and len(head) + len(tail) <= len(text):
                return len(head), len(text) - len(tail) + self._end_of_turn(tail, [*messages[:index], probe], side)
        return None

    def _end_of_turn(self, tail: str, messages: Sequence[Message], side: Side) -> int:
        """How much of `tail` still belongs to the last turn of `messages`: what also ends it when nothing follows, or, for
        templates that then end it otherwise, when an answer is to follow."""
        _, _, last = self.text(messages, side).partition(PLACEHOLDER)
        same = common_prefix(tail, last)
        if len(messages) > 1:
            closed, opened = (self.text(messages[:-1], side, prompt=prompt) for prompt in (False, True))
            if opened.startswith(closed):
                _, _, followed = self.text(messages, side, prompt=True).partition(PLACEHOLDER)
                same = max(same, common_prefix(tail, followed.removesuffix(opened.removeprefix(closed))))
        return same

    def _template(self, side: Side) -> str:
        try:
            return str(self._tokenizer.get_chat_template(tools=list(side.tools) or None))
        except ValueError as error:
            raise DataError(
                "the rows are conversations, but the tokenizer has no chat template. Name one with `model.chat_template`: "
                f"{', '.join(_named())}, or a path to a .jinja file"
            ) from error

    def _render(self, messages: Sequence[Message], side: Side, prompt: bool, *, marks: bool) -> tuple[str, list[Span]]:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        arguments: Mapping[str, Any] = {**self._tokenizer.special_tokens_map, **side.chat_template_kwargs}
        template = self._template(side)
        try:
            texts, spans = render_jinja_template(
                [list(messages)],
                tools=list(side.tools) or None,
                chat_template=template,
                return_assistant_tokens_mask=marks,
                add_generation_prompt=prompt,
                **arguments,
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:  # a template is a program
            roles = ", ".join(str(message["role"]) for message in messages)
            raise RowError(f"the chat template refuses a conversation of {roles}: {error}") from error
        return texts[0], [tuple(span) for span in spans[0]] if marks else []


def _named() -> list[str]:
    from burnish.data.templates import NAMES

    return sorted(NAMES)
