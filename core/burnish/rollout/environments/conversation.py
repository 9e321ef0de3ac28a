"""A conversation as the ids that a policy has read and written: nothing that was sampled is ever encoded again.

In: a task, completions, messages of others. Out: ids to go on from, and the spans of the episode. What others say is rendered
by the chat template after a placeholder for the policy's turn, and only what follows it is encoded: templates that rewrite
earlier turns cannot touch what was sampled. Knows no tool and no environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from burnish.config.sections import RenderSection
from burnish.data.chat import PLACEHOLDER, ChatRenderer
from burnish.data.examples import Message, Prompt, RowError, Side
from burnish.data.render import Renderer
from burnish.errors import DataError
from burnish.rollout.contract import Span, Task
from burnish.rollout.sampler import Completion


@dataclass
class Conversation:
    """One episode's. spans: so far. said: what came after the prompt, as messages; empty where the prompt is plain text."""

    task: Task
    messages: tuple[Message, ...]
    side: Side
    spans: list[Span]
    said: list[Message] = field(default_factory=list)

    @classmethod
    def begin(
        cls, task: Task, tools: Sequence[Mapping[str, Any]] = (), instructions: str | None = None, opening: str = ""
    ) -> Conversation:
        """The prompt, with tools and with what an environment says first.

        tools: schemas, which the chat template renders; where it does not, `instructions` go to the system's message. opening:
        is put after the prompt's last message.
        """
        if isinstance(task.prompt, str):
            if tools:
                raise DataError("tools are for conversations: the rows need a `prompt` that is a list of messages, not a text")
            ids = task.ids if not opening else _encoded(task, Prompt(f"{task.prompt}{opening}", side=task.side))
            return cls(task, (), task.side, [Span(ids=ids)])
        messages, side = task.prompt, replace(task.side, tools=(*task.side.tools, *tools))
        if opening:
            last = messages[-1]
            messages = (*messages[:-1], {**last, "content": f"{last['content']}\n\n{opening}"})
        chat = ChatRenderer(task.tokenizer)
        if tools and instructions and chat.text(messages, side, prompt=True) == chat.text(messages, task.side, prompt=True):
            messages = _with_instructions(chat, messages, side, instructions)
        changed = messages is not task.prompt or bool(tools)
        ids = _encoded(task, Prompt(messages, side=side)) if changed else task.ids
        return cls(task, tuple(messages), side, [Span(ids=ids)])

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids so far: what the policy goes on from."""
        return tuple(token for span in self.spans for token in span.ids)

    @property
    def has_room(self) -> bool:
        """Whether one more turn surely fits in the model's positions."""
        return self.task.room is None or len(self.ids) <= self.task.room

    @property
    def last(self) -> tuple[str, str]:
        """The text of the last span, with special tokens and without."""
        ids, decode = self.spans[-1].ids, self.task.tokenizer.decode
        return decode(ids, skip_special_tokens=False), decode(ids, skip_special_tokens=True)

    def hear(self, completion: Completion) -> None:
        """Take in a turn of the policy's."""
        self.spans.append(Span(ids=tuple(completion.ids), sampled=completion))
        if self.messages:
            self.said.append({"role": "assistant", "content": self.last[1]})

    def earn(self, reward: float) -> None:
        """The policy's last turn earned this."""
        place = max(place for place, span in enumerate(self.spans) if span.sampled is not None)
        self.spans[place] = replace(self.spans[place], reward=(self.spans[place].reward or 0.0) + reward)

    def note_calls(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """What the policy's last turn called, for those who read the conversation as messages."""
        self.said[-1] = {**self.said[-1], "tool_calls": list(calls)}

    def tell(self, messages: Sequence[Message]) -> None:
        """What others say now; then it is the policy's turn."""
        text = self._suffix(messages) if self.messages else "".join(f"\n{one['content']}\n" for one in messages)
        self.spans.append(Span(ids=tuple(self.task.tokenizer(text, add_special_tokens=False)["input_ids"])))
        if self.messages:
            self.said.extend(messages)

    def _suffix(self, messages: Sequence[Message]) -> str:
        """The text between the end of the policy's turn, as sampled, and the beginning of its next."""
        sampled = self.spans[-1].sampled
        assert sampled is not None, "others speak after the policy"
        chat, bare = ChatRenderer(self.task.tokenizer), {"role": "assistant", "content": PLACEHOLDER}
        calls = self.said[-1].get("tool_calls")
        turns = [bare, {**bare, "tool_calls": calls}] if calls else [bare]
        as_user = [{"role": "user", "content": _as_user(one)} for one in messages]
        refusals, end = [], self._end(chat, sampled)
        for turn, told in [(turn, told) for told in (messages, as_user) for turn in turns]:
            try:
                text = chat.text([*self.messages, turn, *told], self.side, prompt=True)
                head = chat.text([*self.messages, turn], self.side) if "tool_calls" in turn else ""
            except RowError as refusal:
                refusals.append(str(refusal))
                continue
            if all(_is_in(str(one["content"]).strip(), text) for one in told):
                after = _after_turn(text, head, end)
                if after is not None:
                    return after
            refusals.append("what was said is not where the template should put it")
        raise DataError(
            "the chat template cannot go on after the policy's turn, so what it sampled cannot be kept as it is: "
            f"{refusals[0]}. Name another with `model.chat_template`"
        )

    def _end(self, chat: ChatRenderer, sampled: Completion) -> _End:
        tokenizer = self.task.tokenizer
        special = {str(token) for token in tokenizer.all_special_tokens} | {str(token) for token in tokenizer.get_added_vocab()}
        own = tokenizer.decode([sampled.ids[-1]], skip_special_tokens=False)
        closed = chat.text([*self.messages, {"role": "assistant", "content": PLACEHOLDER}], self.side)
        after = closed.rpartition(PLACEHOLDER)[2].lstrip()
        templates = max((token for token in special if after.startswith(token)), key=len, default="")
        return _End(own if own in special else "", templates)


@dataclass(frozen=True)
class _End:
    """How a turn ends. own: the special token that the policy wrote last, '' for none. templates: the one that the chat
    template puts there, '' for none."""

    own: str
    templates: str

    def rest(self, text: str) -> str:
        """What the template puts after a turn, without the end that the policy wrote itself. A policy that ended with another
        token than the template's own has ended all the same."""
        bare = text.lstrip()
        for token in (self.own, self.templates) if self.own else ():
            if token and bare.startswith(token):
                return bare.removeprefix(token)
        return text


def _after_turn(text: str, head: str, end: _End) -> str | None:
    """What follows the policy's turn in a rendering. head: the rendering that ends with it, for turns with calls, whose text
    comes after the placeholder."""
    if not head:
        _, found, tail = text.rpartition(PLACEHOLDER)
        return end.rest(tail) if found else None
    if not text.startswith(head):
        return None
    cut = head.rfind(end.own) if end.own else -1
    return (head[cut + len(end.own) :] if cut >= 0 else "") + text[len(head) :]


def _is_in(said: str, text: str) -> bool:
    """Whether a rendering holds what was said, as it is or, as some templates have it, as JSON."""
    return said in text or json.dumps(said, ensure_ascii=False)[1:-1] in text


def _encoded(task: Task, row: Prompt) -> tuple[int, ...]:
    return tuple(Renderer(task.tokenizer, RenderSection()).prompt_ids(row).tolist())


def _with_instructions(chat: ChatRenderer, messages: Sequence[Message], side: Side, instructions: str) -> tuple[Message, ...]:
    """The messages with instructions in the system's, or, where the template has none, before the first one's text."""
    first, *rest = messages
    if first["role"] == "system":
        return ({**first, "content": f"{first['content']}\n\n{instructions}"}, *rest)
    try:
        chat.text([{"role": "system", "content": instructions}, *messages], side, prompt=True)
    except RowError:
        return ({**first, "content": f"{instructions}\n\n{first['content']}"}, *rest)
    return ({"role": "system", "content": instructions}, *messages)


def _as_user(message: Message) -> str:
    """What a user says in place of a tool, for templates that know no tools."""
    return message["content"] if message["role"] == "user" else f"<tool_response>\n{message['content']}\n</tool_response>"
