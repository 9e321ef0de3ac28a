"""Every offline method against an oracle: TRL's trainers where they have it, else float64 arithmetic written out here.

Loss and gradients on a tiny Qwen3 with a reference of its own, to 1e-5 relative by norm. The last test prints the table.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytest
import torch
import trl
from torch import nn
from transformers import TrainingArguments
from trl.experimental import cpo, orpo, tpo

from burnish.registry import load
from burnish.registry.records import LossRecord, WeightRecord
from burnish.testing import evaluate, tiny_model, tiny_tokenizer

Rows = list[dict[str, Any]]
PAIRS: Rows = [
    {"prompt": "The sky is ", "chosen": "blue today.", "rejected": "made of cheese, they say."},
    {"prompt": "Two and two: ", "chosen": "four", "rejected": "5"},
    {"prompt": "Two and two: ", "chosen": "it is four", "rejected": "forty"},
    {"prompt": "Say nothing", "chosen": "", "rejected": "no!"},
    {"prompt": "Two and ten: ", "chosen": "twelve", "rejected": "twelve hundred"},
]
SHORT = PAIRS[1:3]  # e^-r must stay a number that float32 can tell apart
TRIPLES: Rows = [{**row, "reference": f"I say {row['chosen']}"} for row in PAIRS]
MARKED: Rows = [
    {"prompt": row["prompt"], "completion": row["chosen" if good else "rejected"], "label": good}
    for row, good in zip(PAIRS, (True, False, False, True, True), strict=True)
]
SHIFT = [(place - 1) % len(MARKED) for place in range(len(MARKED))]  # TRL gives each row the completion of the row before


@dataclass(frozen=True)
class Case:
    """One setting. ours: the objective. trainer: TRL's. theirs: its arguments. options: of `evaluate`."""

    ours: Any
    trainer: str
    theirs: dict[str, Any]
    rows: Rows = field(default_factory=lambda: PAIRS)
    options: dict[str, Any] = field(default_factory=dict)


def dpo(loss_type: str, ours: Any, rows: Rows = PAIRS, **arguments: Any) -> Case:
    """A loss type of DPOTrainer. The smoothing of `exo_pair` is ours by default."""
    arguments = ({"label_smoothing": 1e-3} if loss_type == "exo_pair" else {}) | arguments
    return Case(ours if isinstance(ours, list) else [ours], "dpo", {"loss_type": [loss_type], **arguments}, rows)


def with_nll(form: str, **options: Any) -> list[dict[str, Any]]:
    """A contrast of CPO beside the likelihood of the chosen answer."""
    return [{"cpo": {"form": form, **options}}, {"sft": {"on": "chosen"}}]


def with_gold(loss: dict[str, Any]) -> list[dict[str, Any]]:
    """A contrast of TPO beside the likelihood of the gold answer."""
    return [loss, {"sft": {"on": "gold"}}]


def reward(**options: Any) -> dict[str, Any]:
    return {"reward": options}


DIVERGENCES = {"forward_kl": "forward_kl", "js_divergence": "js", "alpha_divergence": "alpha"}
LOGISTIC = {
    "sigmoid": "dpo",
    "sigmoid_norm": "dpo_norm",
    **{name: name for name in ("hinge", "ipo", "robust", "exo_pair", "discopop")},
}
ABSOLUTE = ("nca_pair", "bco_pair", "sppo_hard", "aot_unpaired", "apo_zero", "apo_down")
CASES: dict[str, Case] = {
    "sft": Case(["sft"], "sft", {}, MARKED),
    "dft": Case(["dft"], "sft", {"loss_type": "dft"}, MARKED),
    "dpo": dpo("sigmoid", {"dpo": {"beta": 0.2}}, beta=0.2),
    "dpo_norm": dpo("sigmoid_norm", {"dpo_norm": {"beta": 2.0}}, beta=2.0),
    "ipo": dpo("ipo", {"ipo": {"beta": 0.3}}, beta=0.3),
    "hinge": dpo("hinge", {"hinge": {"beta": 0.05}}, beta=0.05),
    "robust": dpo("robust", {"robust": {"label_smoothing": 0.1}}, label_smoothing=0.1),
    "exo_pair": dpo("exo_pair", {"exo_pair": {"label_smoothing": 0.1}}, label_smoothing=0.1),
    "nca_pair": dpo("nca_pair", "nca_pair"),
    "bco_pair": dpo("bco_pair", "bco_pair"),
    "sppo_hard": dpo("sppo_hard", {"sppo_hard": {"beta": 0.3}}, beta=0.3),
    "aot": dpo("aot", "aot"),
    "aot smoothed": dpo("aot", {"aot": {"label_smoothing": 0.2}}, label_smoothing=0.2),
    "aot_unpaired": dpo("aot_unpaired", {"aot_unpaired": {"label_smoothing": 0.2}}, label_smoothing=0.2),
    "apo_zero": dpo("apo_zero", "apo_zero"),
    "apo_down": dpo("apo_down", "apo_down"),
    "discopop": dpo("discopop", {"discopop": {"tau": 0.2}}, discopop_tau=0.2),
    "simpo": Case(["simpo"], "cpo", {"loss_type": "simpo", "cpo_alpha": 0.0}),
    "simpo smoothed": Case(
        [{"simpo": {"beta": 2.0, "gamma": 1.4, "label_smoothing": 0.1}}],
        "cpo",
        {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.4, "label_smoothing": 0.1},
    ),
    "alphapo": Case([{"alphapo": {"alpha": 0.1}}], "cpo", {"loss_type": "alphapo", "alpha": 0.1}),
    "cpo": Case(with_nll("sigmoid"), "cpo", {"loss_type": "sigmoid"}),
    "cpo smoothed": Case(
        with_nll("sigmoid", label_smoothing=0.1), "cpo", {"loss_type": "sigmoid", "label_smoothing": 0.1}
    ),
    "cpo hinge": Case(with_nll("hinge"), "cpo", {"loss_type": "hinge"}),
    "cpo ipo": Case(with_nll("ipo"), "cpo", {"loss_type": "ipo"}),
    "cpo alpha": Case([{"cpo": {}}, {"sft": {"on": "chosen", "weight": 0.3}}], "cpo", {"cpo_alpha": 0.3}),
    "orpo": Case([{"sft": {"on": "chosen", "targets": "all"}}, {"orpo": {"weight": 0.1}}], "orpo", {"beta": 0.1}),
    "tpo": Case(with_gold({"tpo": {}}), "tpo", {}, TRIPLES),
    "tpo smoothed": Case(
        with_gold({"tpo": {"beta": 0.2, "label_smoothing": 0.1}}), "tpo", {"beta": 0.2, "label_smoothing": 0.1}, TRIPLES
    ),
    "tpo hinge": Case(with_gold({"tpo": {"form": "hinge"}}), "tpo", {"loss_type": "hinge"}, TRIPLES),
    "tpo ipo": Case(with_gold({"tpo": {"form": "ipo"}}), "tpo", {"loss_type": "ipo"}, TRIPLES),
    "tpo alpha": Case([{"tpo": {}}, {"sft": {"on": "gold", "weight": 0.3}}], "tpo", {"tpo_alpha": 0.3}, TRIPLES),
    "tpo_l": Case(with_gold({"tpo_l": {"beta": 2.0}}), "tpo", {"loss_type": "tpo-l", "beta": 2.0}, TRIPLES),
    "tpo_l gamma": Case(
        with_gold({"tpo_l": {"beta": 2.0, "gamma": 1.5}}),
        "tpo",
        {"loss_type": "tpo-l", "beta": 2.0, "tpo_l_gamma": 1.5},
        TRIPLES,
    ),
    "kto": Case(["kto"], "kto", {}, MARKED, {"pairing": SHIFT}),
    "kto weighed": Case(
        [{"kto": {"beta": 0.3, "desirable_weight": 0.7, "undesirable_weight": 1.2}}],
        "kto",
        {"beta": 0.3, "desirable_weight": 0.7, "undesirable_weight": 1.2},
        MARKED,
        {"pairing": SHIFT},
    ),
    "apo_zero_unpaired": Case(
        [{"apo_zero_unpaired": {"desirable_weight": 0.7, "undesirable_weight": 1.2}}],
        "kto",
        {"loss_type": "apo_zero_unpaired", "desirable_weight": 0.7, "undesirable_weight": 1.2},
        MARKED,
    ),
    "wpo": dpo("sigmoid", {"dpo": {"weights": ["wpo"]}}, use_weighting=True),
    **{
        f"wpo with {ours}": dpo(theirs, {ours: {"weights": ["wpo"]}}, use_weighting=True)
        for theirs, ours in {**LOGISTIC, "nca_pair": "nca_pair", "sppo_hard": "sppo_hard", "apo_zero": "apo_zero"}.items()
        if ours not in ("dpo", "hinge")
    },
    "aot ld_alpha": dpo("aot", {"aot": {"ld_alpha": 0.3}}, ld_alpha=0.3),
    **{
        f"{ours} {divergence}": dpo(
            theirs,
            {ours: reward(f_divergence=divergence, f_alpha=0.7)},
            SHORT,
            f_divergence_type=name,
            f_alpha_divergence_coef=0.7,
        )
        for theirs, ours in LOGISTIC.items()
        for name, divergence in DIVERGENCES.items()
    },
    **{
        f"{ours} ld_alpha": dpo(theirs, {ours: reward(ld_alpha=0.3)}, ld_alpha=0.3)
        for theirs, ours in {**LOGISTIC, **{name: name for name in ABSOLUTE}}.items()
    },
}
# Options that say how rows are read, a model is loaded or a process is run; and references that follow: test_trl_references.py.
MACHINERY = {
    *("model_init_kwargs", "trust_remote_code", "router_aux_loss_coef", "disable_dropout", "dataset_num_proc", "max_length"),
    *("truncation_mode", "padding_free", "pad_to_multiple_of", "pad_token", "padding_value", "max_completion_length"),
    *("precompute_ref_log_probs", "precompute_ref_batch_size", "activation_offloading", "generate_during_eval"),
    *("is_encoder_decoder", "sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"),
    "loss_weights",  # test_trl_preference.py
}
DIFFERENT = {
    "dpo": "label_smoothing is honoured; TRL 1.16 ignores it for `sigmoid`",
    "aot, aot_unpaired, kto": "sorts and the KL are of the global batch; TRL's of each micro-batch, equal where there is one",
    "wpo": "composes with every loss; TRL refuses aot, and cannot differentiate hinge and sft",
    "nca_pair, bco_pair, sppo_hard, apo_zero, apo_down, aot_unpaired": "take f-divergences, as losses of r; TRL refuses them",
    "forward_kl": "its exponent is at most 80, as that of alpha; TRL's overflows",
    "cpo": "AlphaPO's reward is a method of its own, `alphapo`, with SimPO's loss alone",
}


@pytest.fixture(scope="session")
def theirs(
    models: tuple[nn.Module, nn.Module], settings: dict[str, Any], answer: Callable[..., Any], supervised: Any, preference: Any
) -> Callable[[Case], Any]:
    """TRL's answer to a case."""
    from datasets import Dataset

    older = {key: value for key, value in settings.items() if key != "activation_checkpointing"} | {"max_length": 200}
    trainers: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "cpo": (cpo.CPOTrainer, cpo.CPOConfig, older),
        "orpo": (orpo.ORPOTrainer, orpo.ORPOConfig, older),
        "tpo": (tpo.TPOTrainer, tpo.TPOConfig, settings),
        "kto": (trl.KTOTrainer, trl.KTOConfig, settings),
    }

    def theirs(case: Case) -> Any:
        if case.trainer in ("dpo", "sft"):
            rows = [{name: value for name, value in row.items() if name != "label"} for row in case.rows]
            return {"dpo": preference, "sft": supervised}[case.trainer](rows, **case.theirs)
        trainer, config, common = trainers[case.trainer]
        made = trainer(
            model=models[0],
            args=config(**common, per_device_train_batch_size=len(case.rows), **case.theirs),
            train_dataset=Dataset.from_list(case.rows),
            processing_class=tiny_tokenizer(chat=False),
            **({"ref_model": models[1]} if case.trainer == "kto" else {}),
        )
        return answer(made, case.rows)

    return theirs


@pytest.mark.parametrize("name", CASES)
def test_equals_trl(
    name: str, models: tuple[nn.Module, nn.Module], theirs: Callable[[Case], Any], same: Callable[..., None]
) -> None:
    case = CASES[name]
    tokenizer = tiny_tokenizer(chat=False)
    ours = [
        evaluate(case.ours, case.rows, models[0], tokenizer, reference=models[1], micro_batches=count, **case.options)
        for count in (1, 2)
    ]
    expected = theirs(case)
    for one in ours:
        same(one, expected)
    if "kto" in name:
        assert ours[0].metrics["kl"] == pytest.approx(expected.metrics["kl"], rel=1e-4)
        assert expected.metrics["kl"] > 0.1


def test_where_trl_refuses_or_fails(models: tuple[nn.Module, nn.Module], preference: Callable[..., Any]) -> None:
    """What composes here and does not there: WPO with aot, hinge and sft, f-divergences with absolute rewards."""
    tokenizer = tiny_tokenizer(chat=False)
    for loss_type, options in {"aot": {}, "hinge": {}, "sft": {"on": "chosen"}}.items():
        with pytest.raises((ValueError, NotImplementedError, RuntimeError)):
            preference(PAIRS, loss_type=[loss_type], use_weighting=True)
        evaluate([{loss_type: {**options, "weights": ["wpo"]}}], PAIRS, models[0], tokenizer, reference=models[1])
    for name in ABSOLUTE:
        with pytest.raises(ValueError, match="f_divergence_type"):
            preference(SHORT, loss_type=[name], f_divergence_type="js_divergence")
        evaluate([{name: reward(f_divergence="js")}], SHORT, models[0], tokenizer, reference=models[1])


@pytest.mark.parametrize("loss", ["aot", "aot_unpaired"])
def test_sorts_are_of_the_global_batch(
    loss: str, models: tuple[nn.Module, nn.Module], preference: Callable[..., Any]
) -> None:
    """TRL's mean over micro-batches of one row is another number than its one batch; ours is always the latter."""
    whole = preference(PAIRS, loss_type=[loss]).loss
    parts = [preference([row], loss_type=[loss]).loss for row in PAIRS]
    ours = evaluate([loss], PAIRS, models[0], tiny_tokenizer(chat=False), reference=models[1], micro_batches=5)
    assert ours.loss == pytest.approx(whole, rel=1e-5)
    assert abs(np.mean(parts) - whole) > 1e-3 * whole


class Dense:
    """Log-probabilities of answers in float64, one padded row at a time, as anyone would write them down."""

    def __init__(self) -> None:
        self.policy, self.reference = (tiny_model("gpt2", torch.float64, seed=seed) for seed in (0, 1))
        self.tokenizer = tiny_tokenizer(chat=False)

    def reward(self, prompt: str, answer: str) -> float:
        """Summed log-ratio of an answer and its end of sequence."""
        head = self.tokenizer(prompt)["input_ids"]
        ids = self.tokenizer(prompt + answer)["input_ids"] + [self.tokenizer.eos_token_id]
        sums = []
        for model in (self.policy, self.reference):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].numpy()
            logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            sums.append(sum(logps[place - 1, ids[place]] for place in range(len(head), len(ids))))
        return float(sums[0] - sums[1])

    def evaluate(self, objective: Any, rows: Rows, **options: Any) -> Any:
        return evaluate(objective, rows, self.policy, self.tokenizer, reference=self.reference, **options)

    def agrees(self, grads: dict[str, torch.Tensor], loss: Callable[[], float], step: float = 1e-6) -> bool:
        """Whether a gradient is the slope of `loss` along a random direction, by central differences."""
        generator = torch.Generator().manual_seed(0)
        directions = {
            name: torch.randn(one.shape, generator=generator, dtype=one.dtype) for name, one in self.policy.named_parameters()
        }
        values = []
        for sign in (1, -2, 1):
            with torch.no_grad():
                for name, parameter in self.policy.named_parameters():
                    parameter += sign * step * directions[name]
            values.append(loss())
        slope = (values[0] - values[1]) / (2 * step)
        return math.isclose(slope, sum(float((grads[name] * directions[name]).sum()) for name in directions), rel_tol=1e-5)


@pytest.fixture
def dense() -> Dense:
    return Dense()


@pytest.mark.parametrize("level", ["pair", "batch"])
def test_beta_dpo(dense: Dense, level: str) -> None:
    """Two batches in a row: M and S of the first, then moved by the second; b is not differentiated."""

    def gaps(rows: Rows) -> Any:
        chosen, rejected = ([dense.reward(row["prompt"], row[side]) for row in rows] for side in ("chosen", "rejected"))
        return np.array(chosen) - np.array(rejected)

    objective = [{"beta_dpo": {"beta": 0.1, "alpha": 0.02, "level": level}}]
    first = dense.evaluate(objective, PAIRS[:3])
    second = dense.evaluate(objective, PAIRS[2:], state=first.state, micro_batches=2)
    mean = 0.9 * gaps(PAIRS[:3]).mean() + 0.1 * gaps(PAIRS[2:]).mean()
    own = gaps(PAIRS[2:])
    b = 0.1 * (1 + 0.02 * ((own if level == "pair" else own.mean()) - mean))
    assert (b > 1e-3).all()
    assert second.loss == pytest.approx(np.log1p(np.exp(-b * own)).mean(), rel=1e-10)
    assert dense.agrees(second.grads, lambda: float(np.log1p(np.exp(-b * gaps(PAIRS[2:]))).mean()))


def test_bco(dense: Dense) -> None:
    """Two batches in a row: m is the mean over both, and is not differentiated."""

    def rewards(rows: Rows) -> Any:
        return np.array([0.1 * dense.reward(row["prompt"], row["completion"]) for row in rows])

    first = dense.evaluate(["bco"], MARKED[:2])
    second = dense.evaluate(["bco"], MARKED[2:], state=first.state, micro_batches=2)
    m, signs = rewards(MARKED).mean(), np.array([1 if row["label"] else -1 for row in MARKED[2:]])

    def loss() -> float:
        return float(np.log1p(np.exp(-signs * (rewards(MARKED[2:]) - m))).mean())

    assert second.metrics["delta"] == pytest.approx(m, rel=1e-10)
    assert second.loss == pytest.approx(loss(), rel=1e-10)
    assert dense.agrees(second.grads, loss)


def test_plackett_luce(dense: Dense) -> None:
    rows = [
        {"prompt": "Two and two: ", "completions": ["four", "five", "ten thousand"]},
        {"prompt": "The sky is ", "completions": ["blue", "", "green", "a cheese"]},
        {"prompt": "Go", "completions": ["on", "away"]},
    ]

    def loss() -> float:
        terms = []
        for row in rows:
            h = [0.1 * dense.reward(row["prompt"], answer) for answer in row["completions"]]
            terms.append(sum(np.log(np.exp(h[place:]).sum()) - h[place] for place in range(len(h))))
        return float(np.mean(terms))

    ours = dense.evaluate(["plackett_luce"], rows, micro_batches=2)
    assert ours.loss == pytest.approx(loss(), rel=1e-10)
    assert dense.agrees(ours.grads, loss)


def test_every_loss_type_and_option_of_trl_is_in_the_table() -> None:
    """What its trainers branch on, and what their configs have beside how rows are read and a process is run."""
    tested: dict[str, set[str]] = {}
    for case in CASES.values():
        given = case.theirs.get("loss_type", [])
        tested.setdefault(case.trainer, set()).update([given] if isinstance(given, str) else given)
    for name, module in {"dpo": "trl.trainer.dpo_trainer", "kto": "trl.trainer.kto_trainer"}.items():
        known = set(re.findall(r'loss_type == "(\w+)"', inspect.getsource(importlib.import_module(module))))
        assert len(known) > 1
        assert not known - tested[name] - {"sft", "kto"}, "`sft`: test_trl_preference.py; `kto` is the default"
    for name, module in {"cpo": "trl.experimental.cpo.cpo_trainer", "tpo": "trl.experimental.tpo.tpo_trainer"}.items():
        known = set(re.findall(r'loss_type == "([\w-]+)"', inspect.getsource(importlib.import_module(module))))
        assert len(known) > 1
        assert not known - tested[name] - {"sigmoid", "kto_pair"}, "`sigmoid` is the default; `kto_pair` is refused by name"
    configs = {"dpo": trl.DPOConfig, "kto": trl.KTOConfig, "cpo": cpo.CPOConfig, "orpo": orpo.ORPOConfig, "tpo": tpo.TPOConfig}
    machinery = {field.name for field in fields(TrainingArguments)} | MACHINERY
    for name, config in configs.items():
        options = {field.name for field in fields(config)} - machinery - {"loss_type"}
        given = {option for case in CASES.values() if case.trainer == name for option in case.theirs}
        assert not options - given, f"options of {config.__name__} without a case"


def test_every_method_has_an_oracle(capsys: pytest.CaptureFixture[str]) -> None:
    """Every loss and weight that learns from given data; the table goes to the terminal. `divergence`, `bradley_terry`, `prm`,
    `online_dpo` and the losses of ratings have files of their own; `xpo`, whose pairs are drawn, has its package's tests."""
    registry = load()
    with_trl = {name.split()[0] for name in CASES} | {"divergence", "bradley_terry", "prm", "online_dpo"}
    with_arithmetic = {"bco", "beta_dpo", "plackett_luce", "regression", "ordinal", "xpo"}
    kinds = ("preference", "triple", "ranked", "unpaired", "rated", "stepwise")
    missing = {one.name for one in registry.records(LossRecord) if one.data in kinds} - with_trl - with_arithmetic
    assert not missing, f"give each an oracle in {__file__}"
    known = {record.name for kind in (LossRecord, WeightRecord) for record in registry.records(kind)}
    assert with_trl | with_arithmetic <= known
    with capsys.disabled():
        print(
            f"\nburnish: {len(with_trl | with_arithmetic)} offline methods, {len(with_trl)} with a TRL oracle in {len(CASES)} "
            f"settings, {len(with_arithmetic)} against float64 arithmetic; {len(DIFFERENT)} differ on purpose:"
        )
        for name, why in DIFFERENT.items():
            print(f"  {name}: {why}")
