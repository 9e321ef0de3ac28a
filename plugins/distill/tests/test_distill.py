"""Distillation: the loss on numbers by hand, and on two tiny models against dense float64 arithmetic over the vocabulary."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from burnish_distill.loss import Divergence
from burnish_distill.recipe import distill
from torch import Tensor

import burnish
from burnish.errors import BurnishError, ConfigError
from burnish.model.signals import divergence
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import evaluate, tiny_model, tiny_tokenizer, values_of
from burnish.testing.batches import sequences

ROWS = [
    {"prompt": "one and ", "completion": "two"},
    {"prompt": "one and ", "completion": "twelve, or so"},
    {"prompt": "the end ", "completion": "."},
]
F64 = torch.float64


def test_the_term_is_the_divergence_of_each_token() -> None:
    batch = sequences([[-1.0, -2.0], [-0.5]], signals={divergence(0.5): [[0.25, 0.5], [0.125]]})
    terms = Divergence(beta=0.5)(batch)
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == [0.25, 0.5, 0.125]
    assert terms.metrics["divergence"].values.values.tolist() == [0.25, 0.5, 0.125]


def dense(student: Any, teacher: Any, tokenizer: Any, loss: Divergence) -> tuple[float, dict[str, Tensor]]:
    """Mean over the targets of all rows, one row at a time, whole distributions."""
    student.zero_grad()
    total, count = torch.zeros((), dtype=F64), 0
    for row in ROWS:
        prompt, whole = tokenizer(row["prompt"]).input_ids, tokenizer(row["prompt"] + row["completion"]).input_ids
        ids = torch.tensor([[*whole, tokenizer.eos_token_id]])
        scored = slice(len(prompt) - 1, -1)
        p, q = (
            (model(input_ids=ids).logits[0, scored, : student.config.vocab_size] / loss.temperature).softmax(-1)
            for model in (student, teacher)
        )
        q = q.detach()
        if loss.top_k:
            likely = q.argsort(-1, descending=True)[:, : loss.top_k]
            p, q = (torch.cat([x.gather(-1, likely), 1 - x.gather(-1, likely).sum(-1, keepdim=True)], -1) for x in (p, q))
        m = loss.beta * q + (1 - loss.beta) * p
        forward = (q * (q / (p if loss.beta == 0 else m)).log()).sum()
        reverse = (p * (p / (q if loss.beta == 1 else m)).log()).sum()
        total = total + {0.0: forward, 1.0: reverse}.get(loss.beta, loss.beta * forward + (1 - loss.beta) * reverse)
        count += len(ids[0]) - len(prompt)
    (total / count).backward()
    return (total / count).item(), {name: one.grad.clone() for name, one in student.named_parameters() if one.grad is not None}


@pytest.mark.parametrize(
    "options",
    [{}, {"beta": 1.0}, {"beta": 0.5, "temperature": 2.0}, {"beta": 0.3, "top_k": 5}, {"top_k": 4, "temperature": 0.5}],
    ids=str,
)
def test_equals_dense_arithmetic_in_every_layout_and_split(options: dict[str, Any]) -> None:
    # The teacher is wider and its vocabulary padded by three; both models' norms stay in float64.
    student = tiny_model("gpt2", F64, seed=1, tie_word_embeddings=False)
    teacher = tiny_model("gpt2", F64, seed=2, hidden_size=24, vocab_size=student.config.vocab_size + 3)
    teacher.lm_head.weight.data[-3:] = 0
    tokenizer = tiny_tokenizer(chat=False)
    cut = tiny_model("gpt2", F64, seed=2, hidden_size=24, vocab_size=student.config.vocab_size)
    size = student.config.vocab_size
    state = teacher.state_dict()
    cut.load_state_dict(state | {name: tensor[:size] for name, tensor in state.items() if "wte" in name or "lm_head" in name})
    value, grads = dense(student, cut, tokenizer, Divergence(**options))
    for layout, micro_batches in (("tree", 1), ("tree", 3), ("packed", 2), ("padded", 1)):
        found = evaluate(
            [{"divergence": options}], ROWS, student, tokenizer, teacher=teacher, layout=layout, micro_batches=micro_batches
        )
        assert found.layout == layout
        assert found.loss == pytest.approx(value, rel=1e-10)
        for name, gradient in grads.items():
            assert (found.grads[name] - gradient).norm() <= 1e-9 * gradient.norm(), (layout, name)


def test_the_teacher_forwards_each_token_once_and_is_left_alone() -> None:
    student, teacher = tiny_model(seed=1), tiny_model(seed=2)
    found = evaluate([{"divergence": {}}], ROWS, student, tiny_tokenizer(chat=False), teacher=teacher)
    assert found.forwarded_tokens["teacher"] == found.forwarded_tokens["policy"]
    assert found.forwards == {"policy": 1, "teacher": 1}
    assert all(one.grad is None for one in teacher.parameters())


def test_composes_with_other_losses_and_shares_their_forward() -> None:
    student, teacher, tokenizer = tiny_model(seed=1), tiny_model(seed=2), tiny_tokenizer(chat=False)
    parts = [evaluate([part], ROWS, student, tokenizer, teacher=teacher) for part in ({"divergence": {}}, {"sft": {}})]
    both = evaluate([{"divergence": {"weight": 0.25}}, {"sft": {"weight": 0.75}}], ROWS, student, tokenizer, teacher=teacher)
    assert both.forwards == {"policy": 1, "teacher": 1}
    assert both.loss == pytest.approx(0.25 * parts[0].loss + 0.75 * parts[1].loss, rel=1e-5)
    for name, gradient in both.grads.items():
        expected = 0.25 * parts[0].grads[name] + 0.75 * parts[1].grads[name]
        assert (gradient - expected).norm() <= 1e-5 * expected.norm()


def test_a_run_draws_the_student_to_its_teacher(tmp_path: Any) -> None:
    student, teacher, tokenizer = tiny_model(seed=1), tiny_model(seed=2), tiny_tokenizer(chat=False)
    for name, model in (("student", student), ("teacher", teacher)):
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    result = burnish.train(
        {
            "recipe": {"distill": {"beta": 0.5}},
            "model": {"name": str(tmp_path / "student")},
            "teacher": {"model": str(tmp_path / "teacher")},
            "train": {"batch_size": 8, "steps": 60},
            "data": {"main": {"source": "given", "holdout": 0.25}},
            "optimizer": {"lr": 1e-2},
            "evaluate": {"at_start": True},
            "output": str(tmp_path / "run"),
        },
        data=[{"prompt": f"{n} and ", "completion": f"{n + 1}"} for n in range(40)],
    )
    assert result.evaluation["eval/divergence"] < 0.6 * result.before["eval/divergence"]


def test_what_cannot_work_is_refused(tmp_path: Any) -> None:
    for options, word in (({"beta": 1.5}, "beta"), ({"top_k": -1}, "top_k"), ({"temperature": 0}, "temperature")):
        with pytest.raises(ConfigError, match=word):
            Objective.parse([{"divergence": options}], load())
    with pytest.raises(BurnishError, match="teacher"):
        evaluate([{"divergence": {}}], ROWS, tiny_model(), tiny_tokenizer(chat=False))
    config = {"objective": [{"divergence": {}}], "model": {"name": "none"}, "data": {"main": {"source": "given"}}}
    with pytest.raises(ConfigError, match=r"teacher\.model"):
        burnish.train({**config, "output": str(tmp_path / "run")}, data=ROWS)


def test_the_recipe_is_an_objective() -> None:
    [part] = Objective.parse(distill(beta=0.5)["objective"], load()).entries
    assert part.loss == Divergence(beta=0.5)
