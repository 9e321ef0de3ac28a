"""xpo and nash_md against the formulas of TRL 1.4.0, the last release that has them: its trainers' own functions, taken out of
their files, on the log-probabilities of the same models. Needs that release in a folder: BURNISH_OLDER_TRL."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from burnish.testing import Evaluation, evaluate, tiny_tokenizer

OLDER = os.environ.get("BURNISH_OLDER_TRL", "")
pytestmark = pytest.mark.skipif(not OLDER, reason="BURNISH_OLDER_TRL does not name a folder with TRL 1.4.0")
# Prompt, what the policy wrote, what its opponent wrote: here the policy wins
SAMPLED = [("The sky is ", "blue today.", "made of cheese, they say."), ("Two and two: ", "4", "five"), ("Say no", "no!", "ok")]
TOKENIZER = tiny_tokenizer(chat=False)


def theirs(name: str) -> Callable[..., Any]:
    """`_compute_losses` of the trainer NAME."""
    file = Path(OLDER) / "trl" / "experimental" / name / f"{name}_trainer.py"
    [found] = [
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "_compute_losses"
    ]
    names: dict[str, Any] = {"torch": torch, "F": F}
    exec(compile(ast.Module([found], []), str(file), "exec"), names)
    function: Callable[..., Any] = names["_compute_losses"]
    return function


def encoded(prompt: str, said: str) -> tuple[list[int], list[int]]:
    return TOKENIZER(prompt)["input_ids"], [*TOKENIZER(said)["input_ids"], TOKENIZER.eos_token_id]


def logps(model: nn.Module, column: int) -> Tensor:
    """Of the tokens of one column, 0 where it is padded: [rows, T]."""
    found = []
    for row in SAMPLED:
        prompt, said = encoded(row[0], row[column])
        logits = model(input_ids=torch.tensor([[*prompt, *said]])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0])
    return pad_sequence(found, batch_first=True)


def assert_same(ours: Evaluation, loss: Tensor, policy: nn.Module) -> None:
    policy.zero_grad()
    torch.autograd.backward(loss)
    grads = {name: parameter.grad.clone() for name, parameter in policy.named_parameters() if parameter.grad is not None}
    policy.zero_grad()
    assert ours.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    one, other = (torch.cat([found[name].flatten() for name in grads]) for found in (ours.grads, grads))
    assert float((one - other).norm() / other.norm()) < 1e-5


@pytest.mark.parametrize("form", ["sigmoid", "ipo"])
def test_xpo(form: str, models: tuple[nn.Module, nn.Module]) -> None:
    policy, reference = models
    its = SimpleNamespace(args=SimpleNamespace(loss_type=form), beta=0.3, alpha=0.02)
    with torch.no_grad():
        fixed = logps(reference, 2), logps(reference, 1)
    loss, _, _ = theirs("xpo")(its, logps(policy, 1), logps(policy, 2), *fixed, torch.ones(len(SAMPLED), dtype=torch.bool))
    rows = [{"prompt": prompt, "chosen": one, "rejected": other} for prompt, one, other in SAMPLED]
    objective = [{"xpo": {"beta": 0.3, "alpha": 0.02, "form": form}}]
    assert_same(evaluate(objective, rows, policy, TOKENIZER, reference=reference), loss, policy)


def test_nash_md(models: tuple[nn.Module, nn.Module]) -> None:
    policy, reference = models
    chances = torch.tensor([0.9, 0.2, 0.6])
    with torch.no_grad():
        fixed = logps(reference, 1)
    loss, _, _ = theirs("nash_md")(SimpleNamespace(beta=0.3), logps(policy, 1), fixed, chances)
    rows = []
    for row, chance in zip(SAMPLED, chances.tolist(), strict=True):
        prompt, said = encoded(row[0], row[1])
        rows.append({"prompt_ids": prompt, "completion_ids": said, "advantages": [chance - 0.5] * len(said)})
    ours = evaluate([{"nash_md": {"beta": 0.3}}], rows, policy, TOKENIZER, reference=reference)
    assert_same(ours, loss, policy)
