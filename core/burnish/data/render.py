"""Examples become token sequences with target masks. In: canonical examples, a tokenizer. Out: units, or why there is none.

Masks are made from spans of text and places of ids, never by looking for an id: padding may share the id of the end of a turn.
Each kind's rendering is a generator that asks for texts to be tokenised and is resumed with the ids, so that one call of the
tokenizer serves many rows. May not know: sources, files, batches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from burnish.data import examples as kinds
from burnish.data.chat import ChatRenderer, ChatText, Span
from burnish.data.encode import Ask, Encoded, Encoder
from burnish.data.examples import Example, RowError, Said, Side, prompt_of
from burnish.data.masks import LOST_TURN, completion_masks, cut, from_place, marked, with_end
from burnish.data.prefix import common_prefix
from burnish.data.units import Ids, Unit
from burnish.data.units import Sequence as TokenSequence

if TYPE_CHECKING:
    from burnish.config.sections import RenderSection

T = TypeVar("T")
Asking: TypeAlias = Generator[list[Ask], list[Encoded], T]


@dataclass(frozen=True)
class Dropped:
    """Why a row gives no unit. reason: `over_length` or `no_targets`; detail: a sentence."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Rendered:
    """What became of a row: a unit, a reason why not, or what is wrong with the row.

    notes: what is worth counting: the keys of `burnish.data.report.NOTES`.
    """

    result: Unit | Dropped | RowError
    notes: tuple[str, ...] = ()


class Renderer:
    """Renders examples for one tokenizer.

    Masks: `all` every token but the first; `completion` what follows the prompt, the assistant's turns of a chat; `assistant`
    and `last` all and the last of the assistant's turns; `steps` and `last_step` the last token of each and of the last step;
    `end` the last token of all. Text has no turns and a prompt has no targets. A unit has `weight` and `margin`, a sequence
    `label` or `rating`, where the row has them.
    """

    def __init__(self, tokenizer: Any, section: RenderSection) -> None:
        self.tokenizer, self.section = tokenizer, section
        self._encoder = Encoder(tokenizer)
        self._chat = ChatRenderer(tokenizer)

    def render(self, example: Example, source: str = "main", row: int = 0) -> Unit | Dropped:
        """The unit of one example; raises RowError for a row that cannot be rendered."""
        (rendered,) = self.render_many([example], source, [row])
        if isinstance(rendered.result, RowError):
            raise rendered.result
        return rendered.result

    def render_many(self, examples: Sequence[Example], source: str, rows: Sequence[int]) -> list[Rendered]:
        """What became of each example; the tokenizer is called once for all rows, however many there are."""
        jobs = [self._render(example, source, row) for example, row in zip(examples, rows, strict=True)]
        return [Rendered(done) if isinstance(done, RowError) else done for done in _run_together(jobs, self._encoder)]

    def prompt_ids(self, example: Example) -> Ids:
        """The ids that a model answers: the prompt of any example that has one, a chat before its last assistant turn."""
        (ids,) = _run_together([self._prompt_ids(example)], self._encoder)
        if isinstance(ids, RowError):
            raise ids
        return ids

    def _render(self, example: Example, source: str, row: int) -> Asking[Rendered]:
        _refuse_images(example)
        draft = yield from _RENDERERS[type(example)](self, example)
        notes = list(dict.fromkeys(draft.notes))
        sequences, limit = draft.sequences, self.section.max_length
        longest = max(len(sequence) for sequence in sequences)
        if limit is not None and longest > limit:
            if self.section.overlength != "truncate":
                return Rendered(Dropped("over_length", f"{longest} tokens, render.max_length is {limit}"), tuple(notes))
            sequences = [cut(sequence, limit) for sequence in sequences]
            notes.append("truncated")
        sequences = [with_end(sequence) for sequence in sequences]
        empty = [sequence.role for sequence in sequences if not _has_targets(sequence)]
        if empty and not isinstance(example, kinds.Prompt):
            return Rendered(Dropped("no_targets", _without_targets(example, empty, "truncated" in notes)), tuple(notes))
        scalars = {
            name: value
            for name, value in (("weight", example.side.weight), ("margin", example.side.margin))
            if value is not None
        }
        return Rendered(Unit(example.kind, tuple(sequences), source, scalars, row), tuple(notes))

    def _prompt_ids(self, example: Example) -> Asking[Ids]:
        if isinstance(example, kinds.Trajectory):
            return np.asarray(example.ids[: example.spans[0][0]], dtype=np.int64)
        said = prompt_of(example)
        (prompt,) = yield [self._prompt_ask(said, example.side)]
        return self._without_eos(prompt.ids) if isinstance(said, str) else prompt.ids

    def _text(self, example: kinds.Text) -> Asking[_Draft]:
        (encoded,) = yield [Ask(example.text, special=True)]
        ids = self._ended(encoded.ids)
        masks = {"completion": from_place(ids, 1), "all": from_place(ids, 1)}
        notes = ([] if self._keeps_first(ids) else ["first_target_lost"]) + self._end_notes(ids)
        return _Draft([TokenSequence(ids, masks)], notes)

    def _conversation(self, example: kinds.Chat) -> Asking[_Draft]:
        chat = self._chat.turns(example.messages, example.side)
        (encoded,) = yield [Ask(chat.text, special=False, ends=True)]
        places = yield from _places(chat, encoded)
        turns = [turn for turn in places if turn is not None]
        if len(turns) < len(places):
            raise RowError(LOST_TURN)
        ids = encoded.ids
        answers = marked(ids, turns)
        notes = self._end_notes(ids[turns[-1][0] : turns[-1][1]]) if turns else []
        notes += ["tools_unseen"] if chat.tools_unseen else []
        return _Draft(
            [
                TokenSequence(
                    ids,
                    {"completion": answers, "assistant": answers, "last": marked(ids, turns[-1:]), "all": from_place(ids, 1)},
                )
            ],
            notes,
        )

    def _prompt(self, example: kinds.Prompt) -> Asking[_Draft]:
        ids = yield from self._prompt_ids(example)
        return _Draft([TokenSequence(ids, {"completion": np.zeros(len(ids), dtype=np.bool_), "all": from_place(ids, 1)})], [])

    def _completion(self, example: kinds.PromptCompletion) -> Asking[_Draft]:
        return self._completions(example.prompt, {"main": example.completion}, example.side)

    def _rated(self, example: kinds.Rated) -> Asking[_Draft]:
        return self._completions(example.prompt, {"main": example.completion}, example.side, {"rating": example.rating})

    def _unpaired(self, example: kinds.Unpaired) -> Asking[_Draft]:
        return self._completions(example.prompt, {"main": example.completion}, example.side, {"label": float(example.label)})

    def _preference(self, example: kinds.Preference) -> Asking[_Draft]:
        sides = {"chosen": example.chosen, "rejected": example.rejected}
        draft = yield from self._completions(example.prompt, sides, example.side)
        if example.chosen == example.rejected:
            draft.notes.append("chosen_is_rejected")
        return draft

    def _triple(self, example: kinds.Triple) -> Asking[_Draft]:
        sides = {"chosen": example.chosen, "rejected": example.rejected, "gold": example.gold}
        draft = yield from self._completions(example.prompt, sides, example.side)
        if example.chosen == example.rejected:
            draft.notes.append("chosen_is_rejected")
        return draft

    def _ranked(self, example: kinds.Ranked) -> Asking[_Draft]:
        items = {f"item{place}": completion for place, completion in enumerate(example.completions)}
        return self._completions(example.prompt, items, example.side)

    def _completions(
        self, prompt: Said, completions: dict[str, Said], side: Side, scalars: dict[str, float] | None = None
    ) -> Asking[_Draft]:
        """One sequence per completion, all split where the first of them parts from the prompt's ids."""
        chats = [self._whole(prompt, completion, side) for completion in completions.values()]
        said = isinstance(prompt, str)
        alone, *encoded = yield [self._prompt_ask(prompt, side), *(Ask(chat.text, said, ends=not said) for chat in chats)]
        head = self._without_eos(alone.ids) if said else alone.ids
        split = common_prefix(head, *(one.ids for one in encoded))
        notes = [] if split == len(head) else ["prompt_not_prefix"]
        sequences = []
        for (role, completion), chat, one in zip(completions.items(), chats, encoded, strict=True):
            ids = self._ended(one.ids) if said else one.ids
            turns = yield from _places(chat, one)
            masks = completion_masks(ids, split, turns, completion)
            sequences.append(TokenSequence(ids, masks, role, scalars=scalars or {}))
            notes += [] if split else ["first_target_lost"]
            notes += ["tools_unseen"] if chat.tools_unseen else []
            notes += self._end_notes(ids[split:])
        return _Draft(sequences, notes)

    def _stepwise(self, example: kinds.Stepwise) -> Asking[_Draft]:
        """Prompt and steps are tokenised apart, so that every step ends at a token: the separator after it, which is scored."""
        said = isinstance(example.prompt, str)
        prompt, end, *steps = yield [
            self._prompt_ask(example.prompt, example.side),
            Ask(self.section.step_separator, special=False),
            *(Ask(step, special=False) for step in example.steps),
        ]
        head = self._without_eos(prompt.ids) if said else prompt.ids
        ids = np.concatenate([head, *(np.concatenate([step.ids, end.ids]) for step in steps)])
        stops = len(head) + np.cumsum([len(step.ids) + len(end.ids) for step in steps]) - 1
        marks, labels = np.zeros(len(ids), dtype=np.bool_), np.zeros(len(ids), dtype=np.float32)
        marks[stops] = True
        labels[stops] = example.labels
        last = marks & from_place(ids, int(stops[-1]))
        answer = from_place(ids, max(len(head), 1))
        masks = {"completion": answer, "all": from_place(ids, 1), "steps": marks, "last_step": last}
        return _Draft([TokenSequence(ids, masks, tokens={"label": labels})], [] if len(head) else ["first_target_lost"])

    def _trajectory(self, example: kinds.Trajectory) -> Asking[_Draft]:
        yield from ()
        ids = np.asarray(example.ids, dtype=np.int64)
        own = marked(ids, example.spans)
        tokens = {name: np.asarray(numbers, dtype=np.float32) for name, numbers in example.tokens.items()}
        masks = {"completion": own, "assistant": own, "last": marked(ids, example.spans[-1:]), "all": from_place(ids, 1)}
        return _Draft([TokenSequence(ids, masks, tokens=tokens, scalars=example.scalars)], [])

    def _whole(self, prompt: Said, completion: Said, side: Side) -> ChatText:
        """The text of prompt and completion; with the assistant's turns when they are messages."""
        if isinstance(prompt, str) or isinstance(completion, str):
            return ChatText(f"{prompt}{completion}")
        if all(message["role"] != "assistant" for message in completion):
            raise RowError(f"expected an assistant turn in the completion, found {[message['role'] for message in completion]}")
        return self._chat.turns((*prompt, *completion), side)

    def _prompt_ask(self, prompt: Said, side: Side) -> Ask:
        if isinstance(prompt, str):
            return Ask(prompt, special=True)
        return Ask(self._chat.text(prompt, side, prompt=True), special=False)

    def _ended(self, ids: Ids) -> Ids:
        """ids with EOS at the end, where the tokenizer has one."""
        if self._encoder.eos is None or (len(ids) and ids[-1] == self._encoder.eos):
            return ids
        return np.append(ids, self._encoder.eos)

    def _without_eos(self, ids: Ids) -> Ids:
        """ids without the EOS that some tokenizers add to every text."""
        return ids[:-1] if len(ids) > 1 and ids[-1] == self._encoder.eos else ids

    def _keeps_first(self, ids: Ids) -> bool:
        return len(ids) > 0 and ids[0] == self.tokenizer.bos_token_id

    def _end_notes(self, targets: Ids) -> list[str]:
        return [] if np.isin(targets, self._encoder.specials).any() else ["no_end_of_turn"]


@dataclass
class _Draft:
    """Sequences at full length, and what was noticed."""

    sequences: list[TokenSequence]
    notes: list[str]


def _run_together(jobs: Sequence[Asking[T]], encoder: Encoder) -> list[T | RowError]:
    """Drives all jobs in step: what they ask for at the same time is tokenised together. A RowError becomes the result."""
    results: dict[int, T | RowError] = {}
    answers: dict[int, list[Encoded] | None] = dict.fromkeys(range(len(jobs)))
    while answers:
        asked: dict[int, list[Ask]] = {}
        for index, answer in answers.items():
            try:
                asked[index] = next(jobs[index]) if answer is None else jobs[index].send(answer)
            except StopIteration as stop:
                results[index] = stop.value
            except RowError as error:
                results[index] = error
        encoded: Iterator[Encoded] = iter(encoder.encode([ask for asks in asked.values() for ask in asks]))
        answers = {index: [next(encoded) for _ in asks] for index, asks in asked.items()}
    return [results[index] for index in range(len(jobs))]


def _places(chat: ChatText, encoded: Encoded) -> Asking[list[Span | None]]:
    """Token ranges of the turns: from where tokens end, or, when the tokenizer cannot tell, from tokenising what precedes."""
    spans = [span for span in chat.spans if span is not None]
    if encoded.ends is not None:
        found = [(int(first), int(last)) for first, last in np.searchsorted(encoded.ends, spans, side="right")] if spans else []
    else:
        heads = (yield [Ask(chat.text[:place], special=False) for span in spans for place in span]) if spans else []
        cuts = [common_prefix(head.ids, encoded.ids) for head in heads]
        found = list(zip(cuts[::2], cuts[1::2], strict=True))
    places = iter(found)
    return [None if span is None else next(places) for span in chat.spans]


def _has_targets(sequence: TokenSequence) -> bool:
    return bool(sequence.masks.get("steps", sequence.masks["completion"]).any())


def _without_targets(example: Example, roles: list[str], truncated: bool) -> str:
    if isinstance(example, kinds.Chat) and all(message["role"] != "assistant" for message in example.messages):
        return "the chat has no assistant turn"
    which = "" if roles == ["main"] else f" in {' and '.join(roles)}"
    return f"the prompt alone fills render.max_length{which}" if truncated else f"no target token{which}"


def _refuse_images(example: Example) -> None:
    """Text models cannot see: a row with pictures is an error, not a row without them."""
    parts = [part for part in vars(example).values() if isinstance(part, tuple)]
    contents = [message.get("content", "") for part in parts for message in part if isinstance(message, dict)]
    if example.side.images or not all(isinstance(content, str) for content in contents):
        raise RowError("it has images, but the model reads text only; use a vision-language model or rows without images")


_RENDERERS: dict[type[Example], Callable[[Renderer, Any], Asking[_Draft]]] = {
    kinds.Text: Renderer._text,
    kinds.Chat: Renderer._conversation,
    kinds.Prompt: Renderer._prompt,
    kinds.PromptCompletion: Renderer._completion,
    kinds.Rated: Renderer._rated,
    kinds.Unpaired: Renderer._unpaired,
    kinds.Preference: Renderer._preference,
    kinds.Triple: Renderer._triple,
    kinds.Ranked: Renderer._ranked,
    kinds.Stepwise: Renderer._stepwise,
    kinds.Trajectory: Renderer._trajectory,
}
