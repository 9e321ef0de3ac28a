"""Conversations over ids: what was sampled stays as it is, what others say is the template's own text after it."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.data.examples import Side
from burnish.errors import DataError
from burnish.rollout.contract import Task
from burnish.rollout.environments.conversation import Conversation
from burnish.rollout.environments.offer import Tool
from burnish.rollout.sampler import Completion
from burnish.testing import tiny_tokenizer

USER = ({"role": "user", "content": "2 + 2?"},)
TOLD = [{"role": "tool", "name": "add", "tool_call_id": "call00000", "content": "4 <&> \"four\""}]
HEAD = "{% for m in messages %}"
TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
OPEN = "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def tokenizer_of(template: str | None = None) -> Any:
    tokenizer = tiny_tokenizer()
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def task_of(tokenizer: Any, prompt: Any = USER, room: int | None = None) -> Task:
    text = prompt
    if not isinstance(prompt, str):
        text = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, tokenize=False)
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    return Task(ids=ids, tokenizer=tokenizer, prompt=prompt, room=room)


def said(tokenizer: Any, text: str) -> Completion:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Completion(ids, [-1.0] * len(ids), finished=True)


def after(tokenizer: Any, text: str, told: list[dict[str, Any]] = TOLD, calls: Any = None) -> str:
    """What stands in the ids after the policy said `text` and then was told something."""
    talk = Conversation.begin(task_of(tokenizer))
    talk.hear(said(tokenizer, text))
    if calls:
        talk.note_calls(calls)
    talk.tell(told)
    assert talk.spans[1].ids == tuple(said(tokenizer, text).ids)
    return str(tokenizer.decode(talk.spans[2].ids))


def test_a_conversation_is_the_templates_own() -> None:
    """With a policy that ends its turn as the template does, the ids are those of the whole conversation rendered at once."""
    tokenizer = tokenizer_of()
    talk = Conversation.begin(task_of(tokenizer))
    assert talk.ids == talk.task.ids
    messages = [*USER]
    for _ in range(2):
        talk.hear(said(tokenizer, "let me see<|im_end|>"))
        talk.tell(TOLD)
        messages += [{"role": "assistant", "content": "let me see"}, *TOLD]
    whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert talk.ids == tuple(tokenizer(whole, add_special_tokens=False)["input_ids"])
    assert talk.said == messages[1:]


def test_what_was_sampled_is_never_encoded_again() -> None:
    """Ids that no encoding of their text would give: spaces that the template trims, a turn in bytes of its own."""
    tokenizer = tokenizer_of(HEAD + TURN.replace("m['content']", "m['content'] | trim") + OPEN)
    talk = Conversation.begin(task_of(tokenizer))
    odd = Completion([*said(tokenizer, "  4 ").ids, 200, tokenizer.eos_token_id], [-1.0] * 6, finished=True)
    talk.hear(odd)
    talk.tell(TOLD)
    assert talk.spans[1].ids == tuple(odd.ids)
    assert talk.spans[1].sampled is odd
    assert tokenizer.decode(talk.spans[2].ids).startswith("\n<|im_start|>tool\n4 <&>")


def test_a_template_that_rewrites_earlier_turns_cannot_touch_them() -> None:
    """It drops what stands before </think> in all but the last turn, as those of reasoning models do."""
    drops = "{% set c = m['content'] %}{% if not loop.last %}{% set c = c.split('</think>')[-1] %}{% endif %}"
    tokenizer = tokenizer_of(HEAD + drops + TURN.replace("m['content']", "c") + OPEN)
    text = "<think>hm</think>4<|im_end|>"
    talk = Conversation.begin(task_of(tokenizer))
    talk.hear(said(tokenizer, text))
    talk.tell(TOLD)
    talk.hear(said(tokenizer, text))
    assert tokenizer.decode(talk.ids).count("<think>hm</think>4<|im_end|>") == 2


@pytest.mark.parametrize(
    ("text", "between"),
    [
        ("4<|im_end|>", "\n"),  # as the template ends a turn
        ("4<|eos|>", "\n"),  # with another end than its own
        ("4 STOP", "<|im_end|>\n"),  # at a stop string: the template's own end is told
    ],
)
def test_turns_that_end_in_other_ways(text: str, between: str) -> None:
    assert after(tokenizer_of(), text).startswith(f"{between}<|im_start|>tool\n4 <&>")


def test_a_template_without_ends_of_turns_loses_nothing() -> None:
    tokenizer = tokenizer_of(HEAD + "{{ '<|bos|>' + m['role'] + ': ' + m['content'] }}" + OPEN)
    assert after(tokenizer, "4<|im_end|>").startswith("<|bos|>tool: 4 <&>")


def test_templates_that_write_results_as_json() -> None:
    tokenizer = tokenizer_of(HEAD + TURN.replace("m['content']", "(m['content'] | tojson)") + OPEN)
    assert '"4 <&> \\"four\\""' in after(tokenizer, "let me see<|im_end|>")


def test_templates_that_know_no_tools_hear_them_from_the_user() -> None:
    refuses = "{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    told = after(tokenizer_of(HEAD + refuses + TURN + OPEN), "4<|im_end|>")
    assert told == '\n<|im_start|>user\n<tool_response>\n4 <&> "four"\n</tool_response><|im_end|>\n<|im_start|>assistant\n'
    silent = "{% if m['role'] != 'tool' %}" + TURN + "{% endif %}"
    assert after(tokenizer_of(HEAD + silent + OPEN), "4<|im_end|>") == told


def test_templates_that_want_the_calls_that_results_answer() -> None:
    calls = [{"type": "function", "id": "call00000", "function": {"name": "add", "arguments": {"a": 2}}}]
    wants = (
        "{% if m['role'] == 'tool' and not messages[loop.index0 - 1].get('tool_calls') %}"
        "{{ raise_exception('no call') }}{% endif %}{% if m.get('tool_calls') %}"
        "{{ '<|im_start|>assistant\n' }}{{ m['tool_calls'] | tojson }}{{ '<|im_end|>\n' }}{% else %}"
    )
    told = after(tokenizer_of(HEAD + wants + TURN + "{% endif %}" + OPEN), "{call}<|im_end|>", calls=calls)
    assert told == '\n<|im_start|>tool\n4 <&> "four"<|im_end|>\n<|im_start|>assistant\n'


def test_a_template_that_cannot_go_on_is_refused() -> None:
    refuses = "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}"
    tokenizer = tokenizer_of(refuses + "{{ messages[0]['content'] }}")
    talk = Conversation.begin(task_of(tokenizer))
    talk.hear(said(tokenizer, "4<|im_end|>"))
    with pytest.raises(DataError, match="one turn only"):
        talk.tell(TOLD)


def add(a: int) -> int:
    """Add."""
    return a


def test_tools_are_in_the_prompt() -> None:
    tokenizer = tokenizer_of()
    text = tokenizer.decode(Conversation.begin(task_of(tokenizer), [Tool.of(add).schema], "unused").ids)
    assert text.startswith('<|im_start|>system\ntools: [{"type": "function"')
    assert "unused" not in text
    assert text.endswith("<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("refuses_system", [False, True])
def test_instructions_stand_where_the_template_is_silent(refuses_system: bool) -> None:
    check = "{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" if refuses_system else ""
    tokenizer = tokenizer_of(HEAD + check + TURN + OPEN)
    text = tokenizer.decode(Conversation.begin(task_of(tokenizer), [Tool.of(add).schema], "Use add.").ids)
    in_system = "<|im_start|>system\nUse add.<|im_end|>\n<|im_start|>user\n2 + 2?<|im_end|>\n"
    in_user = "<|im_start|>user\nUse add.\n\n2 + 2?<|im_end|>\n"
    assert text == (in_user if refuses_system else in_system) + "<|im_start|>assistant\n"
    assert "Use add." not in tokenizer.decode(Conversation.begin(task_of(tokenizer), [Tool.of(add).schema], "").ids)


def test_an_opening_follows_the_prompt() -> None:
    tokenizer = tokenizer_of()
    text = tokenizer.decode(Conversation.begin(task_of(tokenizer), opening="Guess.").ids)
    assert text == "<|im_start|>user\n2 + 2?\n\nGuess.<|im_end|>\n<|im_start|>assistant\n"


def test_plain_text_goes_on_as_text() -> None:
    tokenizer = tiny_tokenizer(chat=False)
    talk = Conversation.begin(task_of(tokenizer, "A number: "), opening="Guess. ")
    talk.hear(said(tokenizer, "7"))
    talk.tell([{"role": "user", "content": "no"}])
    assert tokenizer.decode(talk.ids) == "A number: Guess. 7\nno\n"
    assert talk.said == []
    with pytest.raises(DataError, match="a `prompt` that is a list of messages"):
        Conversation.begin(task_of(tokenizer, "A number: "), [Tool.of(add).schema])


def test_room() -> None:
    tokenizer = tokenizer_of()
    length = len(task_of(tokenizer).ids)
    assert Conversation.begin(task_of(tokenizer, room=length)).has_room
    assert not Conversation.begin(task_of(tokenizer, room=length - 1)).has_room


def test_a_side_column_of_tools_stays() -> None:
    tokenizer = tokenizer_of()
    own = Task(ids=(1,), tokenizer=tokenizer, prompt=USER, side=Side(tools=({"name": "own"},)))
    text = tokenizer.decode(Conversation.begin(own, [Tool.of(add).schema]).ids)
    assert text.startswith('<|im_start|>system\ntools: [{"name": "own"}, {"type": "function"')
