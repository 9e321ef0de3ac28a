"""The sampler against plain forwards: log-probabilities, independence from neighbours, ends, and what it leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.batch.attention import NAME, attention_of, set_attention
from burnish.config.sections import DrawnSection, SamplingSection
from burnish.errors import ModelError
from burnish.rollout.likeliest import reported
from burnish.rollout.sampler import Completion, HFSampler, generating
from burnish.testing.tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
EOS = TOKENIZER.eos_token_id
PROMPTS = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7], [1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7], [5]]
# float64 where the family runs in it: transformers' eager softmax and grouped experts do not.
FAMILIES = ["llama", "mistral", "gemma3", "gpt2", "gemma2", "qwen3_moe", "bloom", "mamba"]
SINGLE = {"gemma2", "qwen3_moe", "bloom", "mamba"}


def sampling(**given: Any) -> SamplingSection:
    return SamplingSection(**{"temperature": 1.0, "max_new_tokens": 12, **given})


def log_probabilities(model: Any, prompt: list[int], completion: Completion) -> Tensor:
    """What a plain forward over prompt and completion gives the sampled tokens."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion.ids])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(completion.ids)[:, None])[:, 0].double()


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_a_plain_forward(family: str) -> None:
    model = tiny_model(family, dtype=torch.float32 if family in SINGLE else torch.float64)
    for prompt, completion in zip(PROMPTS, HFSampler(model, TOKENIZER).generate(PROMPTS, sampling()), strict=True):
        expected = log_probabilities(model, prompt, completion)
        assert len(completion.ids) == len(completion.logps)
        torch.testing.assert_close(
            torch.tensor(completion.logps, dtype=torch.float64), expected, atol=1e-5 if family in SINGLE else 1e-12, rtol=0
        )


@given(
    order=st.permutations(range(6)), kept=st.integers(1, 6), max_rows=st.integers(1, 6), penalty=st.sampled_from([1.0, 1.7])
)
@settings(max_examples=20, deadline=None)
def test_a_request_gets_the_same_tokens_whatever_its_neighbours(
    order: list[int], kept: int, max_rows: int, penalty: float
) -> None:
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [11, 12], [13], [14, 15, 16, 17]]
    model = tiny_model(dtype=torch.float64)
    asked = sampling(repetition_penalty=penalty)
    alone = [HFSampler(model, TOKENIZER).generate([prompt], asked, seed=3)[0].ids for prompt in prompts]
    chosen = order[:kept]
    together = HFSampler(model, TOKENIZER, max_rows).generate([prompts[place] for place in chosen], asked, seed=3)
    assert [completion.ids for completion in together] == [alone[place] for place in chosen]


def test_the_likeliest_tokens_are_those_of_a_plain_forward() -> None:
    """Against the whole vocabulary of a plain forward; what is drawn is what is drawn without them."""
    model = tiny_model(dtype=torch.float64)
    asked = reported(DrawnSection(max_new_tokens=12, temperature=0.8), 5)
    plain = HFSampler(model, TOKENIZER).generate(PROMPTS, sampling(temperature=0.8))
    for prompt, other, one in zip(PROMPTS, plain, HFSampler(model, TOKENIZER, 3).generate(PROMPTS, asked), strict=True):
        assert one.ids == other.ids
        assert other.likeliest_ids == other.likeliest_logps == []
        with torch.no_grad():
            logits = model(torch.tensor([prompt + one.ids])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / 0.8, -1).sort(-1, descending=True)
        assert one.likeliest_ids == expected.indices[:, :5].tolist()
        found = torch.tensor(one.likeliest_logps, dtype=torch.float64)
        torch.testing.assert_close(found, expected.values[:, :5], atol=1e-12, rtol=0)


def test_log_probabilities_under_a_repetition_penalty() -> None:
    """Penalised by hand, token by token, for what the prompt and the completion so far have."""
    model = tiny_model(dtype=torch.float64)
    for prompt, one in zip(
        PROMPTS, HFSampler(model, TOKENIZER).generate(PROMPTS, sampling(repetition_penalty=2.0)), strict=True
    ):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + one.ids])).logits[0, len(prompt) - 1 : -1]
        for place, (row, token, logp) in enumerate(zip(logits, one.ids, one.logps, strict=True)):
            for seen in {*prompt, *one.ids[:place]}:
                row[seen] = row[seen] / 2 if row[seen] > 0 else row[seen] * 2
            assert logp == pytest.approx(float(torch.log_softmax(row, -1)[token]), abs=1e-12)


def test_a_finished_row_makes_room_for_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five prompts in two rows: every request has the tokens that it has alone, in fewer forwards than batch after batch."""
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [11, 12], [13]]
    model = tiny_model(dtype=torch.float64)
    free = HFSampler(model, TOKENIZER).generate(prompts, sampling(), seed=3)
    model.generation_config.eos_token_id = sorted({one.ids[2 * place] for place, one in enumerate(free)})
    alone = [HFSampler(model, TOKENIZER).generate([prompt], sampling(), seed=3)[0] for prompt in prompts]
    rows: list[int] = []
    forward = model.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        rows.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    sampler = HFSampler(model, TOKENIZER, max_rows=2)
    monkeypatch.setattr(model, "forward", counting)
    together = sampler.generate(prompts, sampling(), seed=3)
    assert [one.ids for one in together] == [one.ids for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logps == pytest.approx(other.logps, abs=1e-12)
    assert len({len(one.ids) for one in alone}) > 2
    assert max(rows) == 2
    prompted = sorted(prompts, key=len)
    lengths = {tuple(prompt): len(one.ids) for prompt, one in zip(prompts, alone, strict=True)}
    batches = [prompted[place : place + 2] for place in range(0, 5, 2)]
    assert len(rows) < sum(max(lengths[tuple(prompt)] for prompt in batch) for batch in batches)


def test_windows_wait_for_the_batch_to_end() -> None:
    """What a window keeps of a row cannot be lined up with another: such models decode batch after batch, as ever."""
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10]]
    model = tiny_model("mistral", dtype=torch.float64)
    alone = [HFSampler(model, TOKENIZER).generate([prompt], sampling(), seed=3)[0].ids for prompt in prompts]
    assert [one.ids for one in HFSampler(model, TOKENIZER, max_rows=2).generate(prompts, sampling(), seed=3)] == alone


def test_requests_that_arrive_join_those_that_are_decoded() -> None:
    model = tiny_model(dtype=torch.float64)
    [first, second] = [HFSampler(model, TOKENIZER).generate([ids], sampling(), [7])[0] for ids in ([1, 2], [3, 4, 5])]
    arrivals = [[], [([3, 4, 5], 7)]]
    stream = HFSampler(model, TOKENIZER).stream(
        [[1, 2]], sampling(), [7], lambda _: False, lambda: arrivals.pop(0) if arrivals else []
    )
    steps = [dict(step) for step in stream]
    [(one, late)] = [(step.get(0), place) for place, step in enumerate(steps) if 0 in step]
    [(other, later)] = [(step.get(1), place) for place, step in enumerate(steps) if 1 in step]
    assert one is not None
    assert other is not None
    assert (one.ids, other.ids) == (first.ids, second.ids)
    assert (late, later) == (len(first.ids) - 1, len(second.ids) + 1)  # it came in after two tokens


def test_requests_of_one_prompt_differ_and_seeds_differ() -> None:
    sampler = HFSampler(tiny_model(), TOKENIZER)
    group = sampler.generate([[1, 2, 3]] * 4, sampling(temperature=2.0))
    assert len({tuple(completion.ids) for completion in group}) == 4
    assert sampler.generate([[1, 2, 3]], sampling())[0] != sampler.generate([[1, 2, 3]], sampling(), seed=1)[0]


def test_equal_prompts_are_prefilled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    shapes: list[tuple[int, ...]] = []
    forward = model.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    sampler = HFSampler(model, TOKENIZER)
    monkeypatch.setattr(model, "forward", counting)
    sampler.generate([[1, 2, 3, 4]] * 5 + [[7, 8]] * 3, sampling(max_new_tokens=3, temperature=2.0))
    assert shapes[0] == (2, 4)
    assert shapes[1:] == [(8, 1), (8, 1)]


def peaked(model: Any, token: int) -> Any:
    """`model` made to choose `token` at every step after the first, which it leaves as it is."""
    head = model.get_output_embeddings()
    steps = iter(range(10**6))

    def raise_token(_: Any, __: Any, logits: Tensor) -> Tensor:
        if next(steps) > 0:
            logits[..., token] += 1e4
        return logits

    head.register_forward_hook(raise_token)
    return model


def test_end_of_sequence_ends_a_completion_and_is_part_of_it() -> None:
    (completion,) = HFSampler(peaked(tiny_model(), EOS), TOKENIZER).generate([[1, 2]], sampling())
    assert len(completion.ids) == 2
    assert completion.ids[-1] == EOS
    assert completion.finished
    assert completion.logps[-1] == pytest.approx(0)


def test_generation_config_can_name_more_ends() -> None:
    model = peaked(tiny_model(), 42)
    model.generation_config.eos_token_id = [42, 43]
    (completion,) = HFSampler(model, TOKENIZER).generate([[1, 2]], sampling())
    assert completion.ids[-1] == 42
    assert completion.finished


def test_finished_rows_leave_the_batch() -> None:
    """Rows end at different steps; each must equal what it gets alone."""
    model = tiny_model(dtype=torch.float64)
    free = HFSampler(model, TOKENIZER).generate(PROMPTS, sampling())
    ends = {completion.ids[place] for place, completion in enumerate(free)}  # one row ends at each of the first steps
    model.generation_config.eos_token_id = sorted(ends)
    cut = HFSampler(model, TOKENIZER).generate(PROMPTS, sampling())
    for whole, completion in zip(free, cut, strict=True):
        end = next((place for place, token in enumerate(whole.ids) if token in ends), None)
        assert completion.ids == whole.ids[: None if end is None else end + 1]
        assert completion.finished == (end is not None)
    assert len({len(completion.ids) for completion in cut}) > 2


def test_stop_strings_end_a_completion_across_tokens() -> None:
    sampler = HFSampler(tiny_model(), TOKENIZER)
    (whole,) = sampler.generate([[1, 2]], sampling(max_new_tokens=8))
    stop = TOKENIZER.decode(whole.ids[2:4])  # two bytes, so a string of two tokens, or one replacement character
    (cut,) = sampler.generate([[1, 2]], sampling(max_new_tokens=8, stop=("never said", stop)))
    assert len(cut.ids) <= 4
    assert cut.ids == whole.ids[: len(cut.ids)]
    assert cut.finished
    assert stop in TOKENIZER.decode(cut.ids)


def test_a_completion_cut_at_the_limit_is_not_finished() -> None:
    model = tiny_model()
    model.generation_config.eos_token_id = None
    completions = HFSampler(model, TOKENIZER).generate([[1]], sampling(max_new_tokens=3, temperature=0.0))
    assert [len(completion.ids) for completion in completions] == [3]
    assert not completions[0].finished


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_equals_transformers_generate(penalty: float) -> None:
    model = tiny_model("qwen3")
    (completion,) = HFSampler(model, TOKENIZER).generate([PROMPTS[0]], sampling(temperature=0.0, repetition_penalty=penalty))
    how = {"max_new_tokens": 12, "repetition_penalty": penalty, "eos_token_id": EOS, "pad_token_id": 0}
    expected = model.generate(torch.tensor([PROMPTS[0]]), do_sample=False, **how)
    assert completion.ids == expected[0, len(PROMPTS[0]) :].tolist()


def test_training_mode_and_attention_come_back() -> None:
    model = tiny_model().train()
    model.model.layers[0].eval()  # a frozen part stays in evaluation mode
    set_attention(model, NAME)
    assert len(HFSampler(model, TOKENIZER).generate([[1, 2]], sampling())) == 1
    assert attention_of(model) == NAME
    assert model.training
    assert not model.model.layers[0].training
    with generating(model):
        assert attention_of(model) != NAME
        assert not model.model.training
        assert not torch.is_grad_enabled()
    assert attention_of(model) == NAME
    assert model.training


def test_nothing_to_do_gives_nothing() -> None:
    assert HFSampler(tiny_model(), TOKENIZER).generate([], sampling()) == []


def test_an_empty_prompt_is_refused_by_its_place() -> None:
    with pytest.raises(ModelError, match="prompt 1 has no tokens"):
        HFSampler(tiny_model(), TOKENIZER).generate([[1], []], sampling())


def test_broken_weights_are_told() -> None:
    model = tiny_model()
    model.model.norm.weight.data.fill_(torch.nan)
    for temperature in (0.0, 1.0):
        with pytest.raises(ModelError, match="logits are not numbers"):
            HFSampler(model, TOKENIZER).generate([[1]], sampling(temperature=temperature))


def test_a_classifier_cannot_generate() -> None:
    with pytest.raises(ModelError, match="cannot generate"):
        HFSampler(tiny_model("llama_classifier"), TOKENIZER)
