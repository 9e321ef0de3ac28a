"""Token ids and target masks. One token is one byte or one special token, so places are counted by hand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.config.sections import RenderSection
from burnish.data import examples as kinds
from burnish.data.examples import Example, RowError, Side
from burnish.data.formats import builtin, rows
from burnish.data.masks import mask_names
from burnish.data.render import Dropped, Rendered, Renderer
from burnish.data.units import Sequence, Unit
from burnish.testing.tiny import tiny_tokenizer

ASK = {"role": "user", "content": "2+2?"}
FOUR = {"role": "assistant", "content": "4"}
FIVE = {"role": "assistant", "content": "five"}
EOS = 257


def unit_of(renderer: Renderer, example: Example) -> Unit:
    unit = renderer.render(example)
    assert isinstance(unit, Unit), unit
    return unit


def targets(renderer: Renderer, sequence: Sequence, mask: str = "completion") -> str:
    text: str = renderer.tokenizer.decode(sequence.ids[sequence.masks[mask]])
    return text


def notes(renderer: Renderer, example: Example) -> tuple[str, ...]:
    return renderer.render_many([example], "main", [0])[0].notes


def test_standard_rows_are_split_after_the_prompt_and_ended(renderer: Renderer) -> None:
    (sequence,) = unit_of(renderer, kinds.PromptCompletion("ab", "cd")).sequences
    # a b | c d <|im_end|>
    assert sequence.ids.tolist()[-1] == EOS
    assert sequence.masks["completion"].tolist() == [False, False, True, True, True]
    assert sequence.masks["all"].tolist() == [False, True, True, True, True]


def test_an_end_that_is_there_is_not_added_again(renderer: Renderer) -> None:
    (sequence,) = unit_of(renderer, kinds.PromptCompletion("a", "b<|im_end|>")).sequences
    assert sequence.ids.tolist().count(EOS) == 1


def test_text_is_all_target_but_its_first_token(renderer: Renderer) -> None:
    (sequence,) = unit_of(renderer, kinds.Text("abc")).sequences
    assert sequence.masks["completion"].tolist() == [False, True, True, True]
    assert notes(renderer, kinds.Text("abc")) == ("first_target_lost",)


def test_an_empty_prompt_loses_its_first_target_without_bos_only(renderer: Renderer) -> None:
    example = kinds.PromptCompletion("", "ab")
    (sequence,) = unit_of(renderer, example).sequences
    assert sequence.masks["completion"].tolist() == [False, True, True]
    assert notes(renderer, example) == ("first_target_lost",)
    with_bos = Renderer(tiny_tokenizer(bos=True), RenderSection())
    (sequence,) = unit_of(with_bos, example).sequences
    assert sequence.masks["completion"].tolist() == [False, True, True, True]
    assert notes(with_bos, example) == notes(with_bos, kinds.Text("ab")) == ()


def merging_tokenizer() -> Any:
    """A tokenizer that makes one token of 'b' and a following 'c'."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"a": 0, "b": 1, "c": 2, "d": 3, "bc": 4, "<eos>": 5}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("b", "c")]))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def test_a_token_that_merges_across_the_border_is_a_target() -> None:
    renderer = Renderer(merging_tokenizer(), RenderSection())
    example = kinds.PromptCompletion("ab", "cd")
    (sequence,) = unit_of(renderer, example).sequences
    # The prompt alone is [a, b]; with the completion [a, bc, d, eos]: both begin with a, so bc is scored.
    assert sequence.ids.tolist() == [0, 4, 3, 5]
    assert sequence.masks["completion"].tolist() == [False, True, True, True]
    assert notes(renderer, example) == ("prompt_not_prefix",)


def test_a_pair_is_split_at_the_shorter_of_both_common_prefixes() -> None:
    renderer = Renderer(merging_tokenizer(), RenderSection())
    chosen, rejected = unit_of(renderer, kinds.Preference("ab", "cd", "dd")).sequences
    # chosen [a, bc, d, eos] shares one token with the prompt [a, b]; rejected [a, b, d, d, eos] shares two, and gives b up.
    assert chosen.masks["completion"].tolist() == [False, True, True, True]
    assert rejected.masks["completion"].tolist() == [False, True, True, True, True]


def test_a_tokenizer_that_ends_every_text_leaves_the_prompt_a_prefix() -> None:
    from tokenizers import processors

    tokenizer = merging_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 5)])
    renderer = Renderer(tokenizer, RenderSection())
    (sequence,) = unit_of(renderer, kinds.PromptCompletion("a", "d")).sequences
    assert (sequence.ids.tolist(), sequence.masks["completion"].tolist()) == ([0, 3, 5], [False, True, True])
    assert notes(renderer, kinds.PromptCompletion("a", "d")) == ()
    assert renderer.prompt_ids(kinds.PromptCompletion("a", "d")).tolist() == [0]


def test_conversations_are_scored_from_the_beginning_of_the_answer_through_its_end(renderer: Renderer) -> None:
    (sequence,) = unit_of(renderer, kinds.PromptCompletion((ASK,), (FOUR,))).sequences
    expected = renderer.tokenizer.apply_chat_template([ASK, FOUR], tokenize=True, return_dict=False)
    prompt = renderer.tokenizer.apply_chat_template([ASK], add_generation_prompt=True, tokenize=True, return_dict=False)
    assert sequence.ids.tolist() == expected
    assert np.flatnonzero(sequence.masks["completion"]).tolist() == list(range(len(prompt), len(expected)))
    assert targets(renderer, sequence) == "4<|im_end|>\n"


def test_masks_of_a_chat(renderer: Renderer) -> None:
    (sequence,) = unit_of(renderer, kinds.Chat((ASK, FOUR, ASK, FIVE))).sequences
    assert targets(renderer, sequence) == targets(renderer, sequence, "assistant") == "4<|im_end|>\nfive<|im_end|>\n"
    assert targets(renderer, sequence, "last") == "five<|im_end|>\n"
    assert sequence.masks["all"].sum() == len(sequence) - 1


def test_masks_of_a_prompt_with_history_and_of_a_completion_with_several_turns(renderer: Renderer) -> None:
    tool = {"role": "tool", "content": "sum"}
    (sequence,) = unit_of(renderer, kinds.PromptCompletion((ASK, FIVE, ASK), (FOUR, tool, FIVE))).sequences
    assert targets(renderer, sequence) == "4<|im_end|>\nfive<|im_end|>\n", "what the tool says is not the model's"
    assert targets(renderer, sequence, "assistant") == "five<|im_end|>\n4<|im_end|>\nfive<|im_end|>\n"
    assert targets(renderer, sequence, "last") == "five<|im_end|>\n"
    with pytest.raises(RowError, match="expected an assistant turn in the completion, found \\['user'\\]"):
        renderer.render(kinds.PromptCompletion((ASK,), (ASK,)))


def test_padding_with_the_end_of_turn_changes_no_mask(renderer: Renderer) -> None:
    other = Renderer(tiny_tokenizer(pad_is_eos=True), RenderSection())
    assert other.tokenizer.pad_token_id == other.tokenizer.eos_token_id == EOS
    for example in (kinds.Chat((ASK, FOUR, ASK, FIVE)), kinds.PromptCompletion("a<|im_end|>b", "c"), kinds.Text("x")):
        assert unit_of(other, example).id == unit_of(renderer, example).id
    (sequence,) = unit_of(other, kinds.Chat((ASK, FOUR, ASK, FIVE))).sequences
    assert sequence.masks["completion"][sequence.ids == EOS].tolist() == [False, True, False, True]


def test_roles_and_numbers(renderer: Renderer) -> None:
    side = Side(weight=0.5, margin=2.0)
    triple = unit_of(renderer, kinds.Triple("a", "b", "c", "d", side=side))
    assert [sequence.role for sequence in triple.sequences] == ["chosen", "rejected", "gold"]
    assert triple.scalars == {"weight": 0.5, "margin": 2.0}
    ranked = unit_of(renderer, kinds.Ranked("a", ("b", "c")))
    assert [sequence.role for sequence in ranked.sequences] == ["item0", "item1"]
    assert unit_of(renderer, kinds.Rated("a", "b", 4.5)).sequences[0].scalars == {"rating": 4.5}
    assert unit_of(renderer, kinds.Unpaired("a", "b", True)).sequences[0].scalars == {"label": 1.0}
    assert unit_of(renderer, kinds.PromptCompletion("a", "b")).scalars == {}


def test_steps_are_scored_at_their_last_token(renderer: Renderer) -> None:
    (sequence,) = unit_of(renderer, kinds.Stepwise("p", ("ab", "c"), (1.0, 0.0))).sequences
    # p a b \n c \n : the separators after the steps stand at 3 and 5.
    assert np.flatnonzero(sequence.masks["steps"]).tolist() == [3, 5]
    assert sequence.tokens["label"][[3, 5]].tolist() == [1.0, 0.0]
    assert sequence.masks["completion"].tolist() == [False, True, True, True, True, True]
    assert np.flatnonzero(sequence.masks["last_step"]).tolist() == [5]


def test_a_separator_of_several_tokens_is_scored_at_its_last(renderer: Renderer) -> None:
    other = Renderer(renderer.tokenizer, RenderSection(step_separator="##"))
    (sequence,) = unit_of(other, kinds.Stepwise("p", ("ab", "c"), (0.25, 0.0))).sequences
    assert renderer.tokenizer.decode(sequence.ids) == "pab##c##"
    assert np.flatnonzero(sequence.masks["steps"]).tolist() == [4, 7]
    assert sequence.tokens["label"][4] == 0.25


def test_the_end_is_the_last_token_of_what_is_left(renderer: Renderer) -> None:
    example = kinds.PromptCompletion((ASK,), (FOUR,))
    (whole,) = unit_of(renderer, example).sequences
    assert np.flatnonzero(whole.masks["end"]).tolist() == [len(whole) - 1]
    short = Renderer(renderer.tokenizer, RenderSection(max_length=len(whole) - 2, overlength="truncate"))
    (cut,) = unit_of(short, example).sequences
    assert np.flatnonzero(cut.masks["end"]).tolist() == [len(whole) - 3]
    (alone,) = unit_of(renderer, kinds.Prompt("a")).sequences
    assert alone.masks["end"].tolist() == [False]  # token 0 is never a target


def test_trajectories_keep_their_ids(renderer: Renderer) -> None:
    example = kinds.Trajectory((5, 6, 7, 8), ((1, 2), (3, 4)), {"old": (0.0, -1.0, 0.0, -2.0)})
    (sequence,) = unit_of(renderer, example).sequences
    assert sequence.ids.tolist() == [5, 6, 7, 8]
    assert sequence.masks["completion"].tolist() == [False, True, False, True]
    assert sequence.masks["last"].tolist() == [False, False, False, True]
    assert sequence.tokens["old"].tolist() == [0.0, -1.0, 0.0, -2.0]
    assert renderer.prompt_ids(example).tolist() == [5]


def test_token_0_is_never_a_target(renderer: Renderer) -> None:
    (sequence,) = unit_of(renderer, kinds.Trajectory((5, 6), ((0, 2),))).sequences
    assert sequence.masks["completion"].tolist() == [False, True]


def test_equal_texts_are_tokenised_once() -> None:
    given: list[str] = []

    class Counting:
        def __init__(self) -> None:
            self._tokenizer = tiny_tokenizer()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tokenizer, name)

        def __call__(self, texts: list[str], **settings: Any) -> Any:
            given.extend(texts)
            return self._tokenizer(texts, **settings)

    examples: list[Example] = [kinds.Preference("ab", "c", "d"), kinds.PromptCompletion("ab", "c")]
    Renderer(Counting(), RenderSection()).render_many(examples, "main", [0, 1])
    assert sorted(given) == ["ab", "abc", "abd"]


def test_prompts_have_no_targets_and_are_kept(renderer: Renderer) -> None:
    (sequence,) = unit_of(renderer, kinds.Prompt((ASK,))).sequences
    assert not sequence.masks["completion"].any()
    assert renderer.tokenizer.decode(sequence.ids).endswith("<|im_start|>assistant\n")


def test_prompts_of_other_kinds(renderer: Renderer) -> None:
    decode = renderer.tokenizer.decode
    assert decode(renderer.prompt_ids(kinds.Preference("ab", "c", "d"))) == "ab"
    assert decode(renderer.prompt_ids(kinds.Chat((ASK, FOUR)))) == "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(RowError, match="no prompt"):
        renderer.prompt_ids(kinds.Text("x"))


def limited(overlength: str, max_length: int = 4) -> Renderer:
    return Renderer(tiny_tokenizer(), RenderSection.model_validate({"max_length": max_length, "overlength": overlength}))


def test_long_rows_are_dropped_or_cut() -> None:
    example = kinds.PromptCompletion("ab", "cdef")
    assert limited("drop").render(example) == Dropped("over_length", "7 tokens, render.max_length is 4")
    cut = limited("truncate")
    (sequence,) = unit_of(cut, example).sequences
    assert targets(cut, sequence) == "cd"
    assert notes(cut, example) == ("truncated",)
    pair = kinds.Preference("ab", "c", "defghi")
    assert isinstance(limited("drop").render(pair), Dropped)
    assert [len(side) for side in unit_of(cut, pair).sequences] == [4, 4]


def test_rows_without_targets_are_dropped_in_words(renderer: Renderer) -> None:
    assert renderer.render(kinds.Chat((ASK,))) == Dropped("no_targets", "the chat has no assistant turn")
    long_prompt = kinds.PromptCompletion("abcdef", "g")
    assert limited("truncate").render(long_prompt) == Dropped("no_targets", "the prompt alone fills render.max_length")
    both = limited("truncate").render(kinds.Preference("abcd", "", "efgh"))
    assert both == Dropped("no_targets", "the prompt alone fills render.max_length in chosen and rejected")


def test_images_are_refused(renderer: Renderer) -> None:
    part = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}
    for example in (kinds.Chat((part, FOUR)), kinds.PromptCompletion("a", "b", side=Side(images=(object(),)))):
        with pytest.raises(RowError, match="images, but the model reads text only"):
            renderer.render(example)


def test_ties_and_missing_ends_are_noticed(renderer: Renderer) -> None:
    assert notes(renderer, kinds.Preference("a", "b", "b")) == ("chosen_is_rejected",)
    endless = tiny_tokenizer()
    endless.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert notes(Renderer(endless, RenderSection()), kinds.Chat((ASK, FOUR))) == ("no_end_of_turn",)


ALL_EXAMPLES = [known.convert(row) for known in builtin.FORMATS for row in getattr(rows, known.name.upper())]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(len(ALL_EXAMPLES))), st.integers(1, len(ALL_EXAMPLES)))
def test_rows_are_rendered_alike_alone_and_together(order: list[int], size: int) -> None:
    renderer = Renderer(tiny_tokenizer(), RenderSection())
    alone = [unit_of(renderer, example).id for example in ALL_EXAMPLES]
    some = order[:size]
    together = renderer.render_many([ALL_EXAMPLES[place] for place in some], "main", some)
    assert [one.result.id for one in together if isinstance(one.result, Unit)] == [alone[place] for place in some]


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_targets_of_any_chat_are_the_answers(answers: list[str], question: str) -> None:
    """Whatever the characters (several bytes each, spaces, line ends), the targets decode to the answers and their ends."""
    renderer = Renderer(tiny_tokenizer(), RenderSection(max_length=10_000))
    asked = {"role": "user", "content": question}
    messages = [turn for answer in answers for turn in (asked, {"role": "assistant", "content": answer})]
    (sequence,) = unit_of(renderer, kinds.Chat(tuple(messages))).sequences
    assert targets(renderer, sequence) == "".join(f"{answer}<|im_end|>\n" for answer in answers)


def test_a_bad_row_among_good_ones_spoils_none(renderer: Renderer) -> None:
    examples: list[Example] = [kinds.Text("ab"), kinds.PromptCompletion((ASK,), (ASK,)), kinds.Text("cd")]
    results = [one.result for one in renderer.render_many(examples, "main", [0, 1, 2])]
    assert [type(result) for result in results] == [Unit, RowError, Unit]


@pytest.mark.parametrize("known", builtin.FORMATS, ids=lambda known: known.name)
def test_masks_are_those_that_an_objective_may_name(known: builtin.Columns, renderer: Renderer) -> None:
    for row in getattr(rows, known.name.upper()):
        for sequence in unit_of(renderer, known.convert(row)).sequences:
            assert set(sequence.masks) == set(mask_names(known.kind))


def test_no_tensor_is_needed() -> None:
    assert "torch" not in vars(import_module("burnish.data.render"))
    assert Rendered(Dropped("no_targets", "")).notes == ()
