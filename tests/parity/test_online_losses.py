"""Policy losses and their weights against TRL: its trainers' own formulas on the same trajectories, loss and gradients to 1e-5.

Policy, policy at the rollout, sampler and reference all differ; advantages have both signs; lengths differ. One trainer serves
all cases, its settings changed from case to case. What the current TRL has no more is asked of TRL 1.4.0, in a process of its
own, which needs that release in a folder: BURNISH_OLDER_TRL.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from trl.experimental.a2po import A2POTrainer
from trl.experimental.gmpo import GMPOTrainer

from burnish.registry import LossRecord, load
from burnish.testing import evaluate, tiny_tokenizer

Rows = list[dict[str, Any]]
Batch = dict[str, Tensor]
OLDER = os.environ.get("BURNISH_OLDER_TRL", "")
LONGEST = 7
CAP = 1.15  # of sampler corrections; some ratios lie above it
FORKS = {"top_entropy": {"keep": 0.57}}
SETTINGS: dict[str, Any] = {
    "loss_type": "dapo",
    "beta": 0.0,
    "epsilon_low": 0.2,
    "epsilon_high": 0.2,
    "importance_sampling_level": "token",
    "off_policy_mask_threshold": None,
    "top_entropy_quantile": 1.0,
    "use_vllm": False,
    "vllm_importance_sampling_correction": True,
    "max_completion_length": LONGEST,
    "entropy_coef": 0.0,
    "use_adaptive_entropy": False,
    "_entropy_bonus_enabled": False,
}
ARGUMENTS: dict[str, Any] = {
    "delta": None,
    "use_bias_correction_kl": False,
    "sapo_temperature_pos": 1.0,
    "sapo_temperature_neg": 1.05,
    "vespo_k_pos": 2.0,
    "vespo_lambda_pos": 3.0,
    "vespo_k_neg": 3.0,
    "vespo_lambda_neg": 2.0,
}


@dataclass(frozen=True)
class Case:
    """One setting. ours: the objective. theirs: what TRL's trainer is set to. formula: whose `_compute_loss` it is. correction:
    TRL's mode of `importance_sampling_ratio`. without: columns that the rows lack. dropped: a row that was cut off. per_token:
    advantages differ from token to token. likeliest: tokens that the sampler reported. metrics: names that must agree too."""

    ours: list[Any]
    theirs: dict[str, Any] = field(default_factory=dict)
    formula: Any = trl.GRPOTrainer
    correction: str | None = None
    without: tuple[str, ...] = ()
    dropped: int | None = None
    per_token: bool = False
    likeliest: int = 0
    metrics: tuple[str, ...] = ()


def grpo(**options: Any) -> dict[str, Any]:
    return {"grpo": options}


def kl(weight: float = 0.3, **options: Any) -> dict[str, Any]:
    return {"kl": {"weight": weight, **options}}


def corrected(mode: str, level: str) -> dict[str, Any]:
    return {"is_correction": {"mode": mode, "level": level, "cap": CAP}}


EACH = "sequence_token_mean"
CLIPS = tuple(f"clip_ratio/{name}" for name in ("low_mean", "low_min", "high_mean", "high_max", "region_mean"))
TENTH = {"epsilon_low": 0.1, "epsilon_high": 0.1}
BOTH = {"epsilon": 0.1, "epsilon_high": 0.1}
BY_SEQUENCE = {"loss_type": "grpo", "importance_sampling_level": "sequence"}
CASES: dict[str, Case] = {
    "grpo": Case([grpo(reduction=EACH)], {"loss_type": "grpo"}, metrics=(*CLIPS, "entropy")),
    "bnpo": Case([grpo()], {"loss_type": "bnpo"}),
    "dapo": Case([grpo(epsilon_high=0.28)], {"epsilon_high": 0.28}, metrics=CLIPS),
    "dr_grpo": Case([grpo(reduction=f"constant({LONGEST})")], {"loss_type": "dr_grpo"}),
    "delta": Case([grpo(delta=1.25)], {"delta": 1.25}),
    "advantages per token": Case([grpo(epsilon=0.1)], TENTH, per_token=True),
    "nothing recorded": Case([grpo()], without=("old_logps",)),
    "sequence level": Case([grpo(level="sequence_mean", epsilon=0.1)], BY_SEQUENCE | TENTH, metrics=CLIPS),
    "sequence level, per token": Case([grpo(level="sequence_mean")], BY_SEQUENCE, per_token=True),
    "gspo": Case([{"gspo": {}}], BY_SEQUENCE | {"epsilon_low": 3e-4, "epsilon_high": 4e-4}, metrics=CLIPS),
    "gspo_token": Case([{"gspo_token": BOTH}], BY_SEQUENCE | TENTH),
    "luspo": Case([{"luspo": BOTH}], BY_SEQUENCE | TENTH | {"loss_type": "luspo"}),
    "luspo over tokens": Case([{"luspo": {**BOTH, "reduction": "token_mean"}}], BY_SEQUENCE | TENTH | {"loss_type": "dapo"}),
    "rloo": Case([grpo(level="sequence_sum")], formula=trl.RLOOTrainer),
    "cispo": Case([{"cispo": {"cap": 1.1}}], {"loss_type": "cispo", "epsilon_high": 1.1}, metrics=("cispo_clip_ratio",)),
    "reinforce": Case([{"reinforce": {}}], {"loss_type": "cispo", "epsilon_high": 5.0}, without=("old_logps",)),
    "sapo": Case([{"sapo": {}}], {"loss_type": "sapo"}),
    "vespo": Case([{"vespo": {"correction": "none"}}], {"loss_type": "vespo"}),
    "gmpo": Case([{"gmpo": {"epsilon": 0.1}}], TENTH, GMPOTrainer, metrics=CLIPS),
    "kl": Case([grpo(), kl()], {"beta": 0.3}, metrics=("kl",)),
    "kl, grpo": Case([grpo(reduction=EACH), kl(reduction=EACH)], {"beta": 0.3, "loss_type": "grpo"}),
    "kl, sequence level": Case([grpo(level="sequence_mean"), kl(reduction=EACH)], BY_SEQUENCE | {"beta": 0.3}),
    "kl, gmpo": Case([{"gmpo": {}}, kl(reduction=EACH)], {"beta": 0.3, "epsilon_low": 0.4, "epsilon_high": 0.4}, GMPOTrainer),
    "kl corrected": Case([grpo(), kl(corrected=True)], {"beta": 0.3, "use_bias_correction_kl": True}),
    **{
        f"{mode} {level}": Case([grpo(weights=[corrected(mode, level)]), kl()], {"beta": 0.3}, correction=f"{level}_{mode}")
        for mode in ("truncate", "mask")
        for level in ("token", "sequence")
    },
    "corrected sequences": Case(
        [grpo(level="sequence_mean", weights=[corrected("truncate", "token")])], BY_SEQUENCE, correction="token_truncate"
    ),
    **{
        f"vespo {mode}": Case(
            [{"vespo": {"correction": mode, "cap": CAP}}], {"loss_type": "vespo"}, correction=f"token_{mode}"
        )
        for mode in ("truncate", "mask")
    },
    "off-policy mask": Case([grpo(weights=[{"off_policy_mask": {"threshold": 0.02}}])], {"off_policy_mask_threshold": 0.02}),
    "off-policy mask, old": Case(
        [grpo(weights=[{"off_policy_mask": {"threshold": 0.02, "against": "old"}}])],
        {"off_policy_mask_threshold": 0.02},
        without=("behaviour_logps",),
    ),
    "top entropy": Case([grpo(weights=[{"top_entropy": {"keep": 0.37}}]), kl()], {"top_entropy_quantile": 0.37, "beta": 0.3}),
    "top entropy of sequences": Case(
        [grpo(level="sequence_mean", weights=[{"top_entropy": {"keep": 0.37}}])], BY_SEQUENCE | {"top_entropy_quantile": 0.37}
    ),
    "a dropped member": Case([grpo(weights=["overlong_filter"]), kl(weights=["overlong_filter"])], {"beta": 0.3}, dropped=1),
    "entropy": Case([grpo(), {"entropy": {"coefficient": 0.05}}], {"entropy_coef": 0.05, "_entropy_bonus_enabled": True}),
    "all at once": Case(
        [
            grpo(weights=[corrected("mask", "token"), {"off_policy_mask": {"threshold": 0.02}}, FORKS]),
            kl(corrected=True),
        ],
        {"beta": 0.3, "use_bias_correction_kl": True, "off_policy_mask_threshold": 0.02, "top_entropy_quantile": 0.57},
        correction="token_mask",
    ),
}
OLDER_CASES: dict[str, Case] = {
    "dppo": Case([{"dppo": {"threshold": 1e-4}}], {"epsilon": 1e-4, "epsilon_high": 1e-4, "divergence_type": "binary_tv"}),
    "dppo kl": Case(
        [{"dppo": {"threshold": 1e-6, "divergence": "binary_kl"}}, kl()],
        {"epsilon": 1e-6, "epsilon_high": 1e-6, "divergence_type": "binary_kl", "beta": 0.3},
    ),
    "dppo top-k tv": Case(
        [{"dppo": {"threshold": 0.05, "divergence": "topk_tv", "top_k": 4}}],
        {"epsilon": 0.05, "epsilon_high": 0.05, "divergence_type": "topk_tv", "divergence_topk": 4},
        likeliest=4,
    ),
    "dppo top-k kl": Case(
        [{"dppo": {"threshold": 0.02, "divergence": "topk_kl", "top_k": 6}}, kl()],
        {"epsilon": 0.02, "epsilon_high": 0.02, "divergence_type": "topk_kl", "divergence_topk": 6, "beta": 0.3},
        likeliest=6,
    ),
    "gspo_token": Case(
        [{"gspo_token": {"epsilon": 0.1, "epsilon_high": 0.1, "reduction": "token_mean"}}, kl()],
        {"epsilon": 0.1, "epsilon_high": 0.1, "beta": 0.3, "importance_sampling_level": "sequence_token"},
    ),
}


def distributions(model: nn.Module, prompt: list[int], completion: list[int]) -> Tensor:
    """Log-probabilities of all tokens in the place of each of a completion's: [T, V]."""
    with torch.no_grad():
        logits: Tensor = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)


def logps_of(model: nn.Module, prompt: list[int], completion: list[int]) -> Tensor:
    """Log-probabilities of a completion's tokens: [T]."""
    return distributions(model, prompt, completion).gather(1, torch.tensor(completion)[:, None])[:, 0]


@pytest.fixture(scope="module")
def rows(models: tuple[nn.Module, nn.Module]) -> Rows:
    """Four trajectories of two prompts, whose old, sampled and reference log-probabilities lie around the policy's."""
    made: Rows = []
    generator = torch.Generator().manual_seed(3)
    ids = [([5, 6, 40], [7, 8, 9, 30]), ([5, 6, 40], [7, 3]), ([9], [4, 11, 12, 60, 13, 14, 200]), ([9], [4, 100, 99])]
    for (prompt, completion), advantage in zip(ids, (1.2, -0.7, -1.1, 0.6), strict=True):
        now = logps_of(models[0], prompt, completion)
        noise = torch.randn(4, len(completion), generator=generator)
        old = now + 0.25 * noise[0]
        made.append(
            {
                "prompt_ids": prompt,
                "completion_ids": completion,
                "advantages": [advantage] * len(completion),
                "old_logps": old.tolist(),
                "behaviour_logps": (old + 0.2 * noise[1]).tolist(),
                "ref_logps": (now + 0.5 * noise[2]).tolist(),
                "token_advantages": noise[3].tolist(),
            }
        )
    return made


def rows_for(case: Case, rows: Rows) -> Rows:
    """The rows as a case has them."""
    made = [{name: value for name, value in row.items() if name not in case.without} for row in rows]
    for place, row in enumerate(made):
        own = row.pop("token_advantages")
        row["advantages"] = own if case.per_token else row["advantages"]
        row["truncated"] = place == case.dropped
    return made


def with_reports(rows: Rows, model: nn.Module, count: int) -> Rows:
    """Rows of a sampler whose logits are the policy's with noise, and what it reported beside each token. As TRL has it, one
    that is not among the likeliest takes the place of the last of them, which is then not reported."""
    made, generator = [], torch.Generator().manual_seed(4)
    for row in rows:
        policy, targets = distributions(model, row["prompt_ids"], row["completion_ids"]), torch.tensor(row["completion_ids"])
        noisy = policy + torch.randn(policy.shape, generator=generator) / 2
        noisy[::2].scatter_add_(1, targets[::2, None], torch.full((len(targets[::2]), 1), 4.0))  # every second one is likely
        said = noisy.log_softmax(-1)
        logps, ids = said.topk(count)
        lacking = ~(ids == targets[:, None]).any(-1)
        ids[lacking, -1], logps[lacking, -1] = -1, 0.0
        own = said.gather(1, targets[:, None])[:, 0]
        reports = {"behaviour_logps": own.tolist(), "likeliest_ids": ids.tolist(), "likeliest_logps": logps.tolist()}
        made.append({**row, **reports})
    return made


def batch_of(rows: Rows, correction: str | None, per_token: bool) -> Batch:
    """Padded as TRL does: prompts left, completions right; a completion that was cut off is masked."""
    length = max(len(row["prompt_ids"]) for row in rows)
    ids = [torch.tensor([0] * (length - len(row["prompt_ids"])) + row["prompt_ids"]) for row in rows]
    masks = [torch.tensor([0] * (length - len(row["prompt_ids"])) + [1] * len(row["prompt_ids"])) for row in rows]

    def column(name: str) -> Tensor:
        return pad_sequence([torch.tensor(row[name]) for row in rows], batch_first=True)

    mask = pad_sequence([torch.ones(len(row["completion_ids"]), dtype=torch.long) for row in rows], batch_first=True)
    mask = mask * torch.tensor([[0 if row["truncated"] else 1] for row in rows])
    advantages = column("advantages")
    made = {
        "prompt_ids": torch.stack(ids),
        "prompt_mask": torch.stack(masks),
        "completion_ids": column("completion_ids"),
        "completion_mask": mask,
        "advantages": advantages if per_token else advantages[:, 0],
        "num_items_in_batch": mask.sum(),
        "ref_per_token_logps": column("ref_logps"),
    }
    if "old_logps" in rows[0]:
        made["old_per_token_logps"] = column("old_logps")
        made["old_logps"] = (column("old_logps") * mask).sum(1)
    if "behaviour_logps" in rows[0]:
        made["sampling_per_token_logps"] = column("behaviour_logps")
    if "likeliest_ids" in rows[0]:
        ids, targets = column("likeliest_ids"), column("completion_ids")[..., None]
        own = column("behaviour_logps")[..., None]
        made["sampling_topk_token_ids"] = torch.where(ids < 0, targets, ids)
        made["sampling_topk_logps"] = torch.where(ids < 0, own, column("likeliest_logps"))
    if correction is not None:
        made["importance_sampling_ratio"] = ratios(column("old_logps") - column("behaviour_logps"), mask, correction)
    return made


def ratios(mismatch: Tensor, mask: Tensor, mode: str) -> Tensor:
    """What TRL's rollout hands to its loss: [B, T] for tokens, [B, 1] for sequences."""
    mismatch = mismatch * mask
    ratio = (mismatch.sum(-1, keepdim=True) if mode.startswith("sequence") else mismatch).exp()
    return ratio.clamp(max=CAP) if mode.endswith("truncate") else ratio.masked_fill(ratio > CAP, 0.0)


@pytest.fixture(scope="module")
def trainer(models: tuple[nn.Module, nn.Module], settings: dict[str, Any]) -> Any:
    """A GRPOTrainer, with a copy of the policy, since it changes its model."""
    arguments = {name: value for name, value in settings.items() if name not in ("max_length", "activation_checkpointing")}
    sizes = {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": LONGEST}
    config = trl.GRPOConfig(**arguments, **sizes, gradient_checkpointing=False)
    made = trl.GRPOTrainer(
        model=copy.deepcopy(models[0]),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 4),
        processing_class=tiny_tokenizer(chat=False),
    )
    made.model.eval()
    return made


@pytest.fixture
def set_to(trainer: Any) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """The trainer with some settings changed; the others are those that every case starts from."""

    def change(given: dict[str, Any]) -> Any:
        for name, value in (SETTINGS | ARGUMENTS | given).items():
            setattr(trainer.args if name in ARGUMENTS else trainer, name, value)
        return trainer

    yield change
    change({})


def close(ours: Any, loss: float, grads: dict[str, Tensor]) -> None:
    """Asserts equal loss and gradients, to 1e-5 relative by norm."""
    assert ours.loss == pytest.approx(loss, rel=1e-5, abs=1e-6)
    one, other = (torch.cat([each[name].flatten() for name in grads]) for each in (ours.grads, grads))
    assert float(other.norm()) > 0
    assert float((one - other).norm() / other.norm()) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_the_formula_is_that_of_trl(
    name: str, models: tuple[nn.Module, nn.Module], rows: Rows, set_to: Callable[[dict[str, Any]], Any]
) -> None:
    case = CASES[name]
    given = rows_for(case, rows)
    trainer = set_to({**case.theirs, "use_vllm": case.correction is not None})
    trainer.model.zero_grad()
    loss = case.formula._compute_loss(trainer, trainer.model, batch_of(given, case.correction, case.per_token))
    loss.backward()
    grads = {name: parameter.grad for name, parameter in trainer.model.named_parameters()}
    ours = evaluate(case.ours, given, models[0], tiny_tokenizer(chat=False))
    close(ours, loss.item(), grads)
    for metric in case.metrics:
        assert ours.metrics[metric] == pytest.approx(trainer._metrics["eval"][metric][-1], rel=1e-4, abs=1e-6), metric


def test_every_policy_loss_and_weight_is_here() -> None:
    said = json.dumps([case.ours for case in (*CASES.values(), *OLDER_CASES.values())])
    tested = {"a2po", "value", "nash_md"}  # below, by hand, and in its package's tests: TRL 1.16 has none
    records = [record for record in load().records(LossRecord) if record.data == "trajectory"]
    names = {record.name for record in records} - tested | {"kl", "entropy"}
    weights = {"is_correction", "off_policy_mask", "top_entropy", "overlong_filter"}
    assert not {name for name in names | weights if f'"{name}"' not in said}


def test_optimal_advantage_regression(models: tuple[nn.Module, nn.Module], rows: Rows) -> None:
    given = rows_for(CASES["grpo"], rows)
    policy, batch = models[0], batch_of(given, None, False)
    mask = batch["completion_mask"]
    padded = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    inputs = {
        "input_ids": padded,
        "attention_mask": torch.cat([batch["prompt_mask"], mask], 1),
        "logits_to_keep": mask.shape[1],
        "ref_logps": (batch["ref_per_token_logps"] * mask).sum(1),
        "rewards": batch["advantages"] + 0.5,
        "v_star": torch.full((len(given),), 0.5),
    }
    its = SimpleNamespace(model=policy, args=SimpleNamespace(beta2=0.7), _metrics=defaultdict(lambda: defaultdict(list)))
    its.model_kwarg_keys = ()
    its._get_sequence_logps = lambda *arguments: A2POTrainer._get_sequence_logps(its, *arguments)
    policy.zero_grad()
    loss = A2POTrainer.compute_loss(its, policy, inputs)
    loss.backward()
    grads = {name: parameter.grad.clone() for name, parameter in policy.named_parameters() if parameter.grad is not None}
    policy.zero_grad()
    close(evaluate([{"a2po": {"beta": 0.7}}], given, policy, tiny_tokenizer(chat=False)), loss.item(), grads)


@pytest.mark.skipif(not OLDER, reason="BURNISH_OLDER_TRL does not name a folder with TRL 1.4.0")
def test_the_formulas_of_an_older_trl(models: tuple[nn.Module, nn.Module], rows: Rows, tmp_path: Path) -> None:
    policy: Any = models[0]
    policy.save_pretrained(tmp_path / "policy")
    tiny_tokenizer(chat=False).save_pretrained(tmp_path / "policy")
    given = {name: rows_for(case, rows) for name, case in OLDER_CASES.items()}
    given |= {name: with_reports(given[name], policy, case.likeliest) for name, case in OLDER_CASES.items() if case.likeliest}
    for name in OLDER_CASES:
        batch = batch_of(given[name], None, False)
        save_file({key: values.contiguous() for key, values in batch.items()}, tmp_path / f"{name}.batch")
    (tmp_path / "cases.json").write_text(json.dumps({name: case.theirs for name, case in OLDER_CASES.items()}))
    script = Path(__file__).parent / "older_trl.py"
    command = [sys.executable, str(script), OLDER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, case in OLDER_CASES.items():
        theirs = load_file(tmp_path / f"{name}.answer")
        loss = theirs.pop("loss").item()
        ours = evaluate(case.ours, given[name], policy, tiny_tokenizer(chat=False))
        close(ours, loss, theirs)
        assert 0 < ours.metrics.get("mask_ratio/overall_mean", 0.5) < 1
