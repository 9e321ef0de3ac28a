"""Roles: who answers, without gradient where it must be, and what is never computed twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from burnish.data.units import Sequence
from burnish.errors import ModelError
from burnish.model.adapters import adapter_off, add_lora
from burnish.model.cache import LogpCache
from burnish.model.hashing import weights_hash
from burnish.model.roles import Roles, frozen_model, frozen_policy
from burnish.model.scorer import Scorer
from burnish.model.signals import entropy, logp
from burnish.testing.tiny import tiny_model

BUDGET = 64


def batch() -> tuple[list[Sequence], list[np.ndarray]]:
    draw = np.random.default_rng(0)
    prompt = draw.integers(0, 250, 6)
    ids = [np.concatenate([prompt, draw.integers(0, 250, length)]) for length in (3, 5, 4)]
    return [Sequence(one, {}) for one in ids], [np.arange(len(one)) >= 6 for one in ids]


def expected_logps(model: torch.nn.Module, sequences: list[Sequence], masks: list[np.ndarray]) -> list[np.ndarray]:
    """One sequence at a time, from the model's own logits."""
    with torch.no_grad():
        every = [model(torch.from_numpy(sequence.ids)[None]).logits[0].log_softmax(-1).numpy() for sequence in sequences]
    triples = zip(every, sequences, masks, strict=True)
    return [logps[np.flatnonzero(mask) - 1, sequence.ids[mask]] for logps, sequence, mask in triples]


def perturb_adapter(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_" in name:
                tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)), alpha=0.3)


def perturb(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)


def test_a_copy_stays_behind() -> None:
    sequences, masks = batch()
    model = tiny_model("llama")
    before = expected_logps(model, sequences, masks)
    roles = Roles(Scorer(model), "tree", reference=frozen_policy(model, "tree"))
    perturb(model)
    for role, same in (("reference", True), ("old", False)):
        found = roles.score_frozen(role, sequences, masks, (logp(),), BUDGET)  # type: ignore[arg-type]
        close = [np.allclose(values[logp()], one, atol=1e-4) for values, one in zip(found, before, strict=True)]
        assert close == [same] * 3
    assert roles.forwarded_tokens == {"reference": 18, "old": 18}  # 6 of the prompt, 3 + 5 + 4 after it
    assert roles.forwards == {"reference": 1, "old": 1}


def test_the_adapter_is_switched_off_and_on_again() -> None:
    sequences, masks = batch()
    before = expected_logps(tiny_model("llama"), sequences, masks)
    model = add_lora(tiny_model("llama"), targets=["q_proj", "lm_head"])
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    roles = Roles(Scorer(model).train(), "tree", reference=frozen_policy(model, "tree"))
    assert roles.reference is not None
    assert roles.reference.scorer is None
    perturb(model)
    for role, same in (("reference", True), ("old", False)):
        found = roles.score_frozen(role, sequences, masks, (logp(),), BUDGET)  # type: ignore[arg-type]
        assert [np.allclose(v[logp()], one, atol=1e-4) for v, one in zip(found, before, strict=True)] == [same] * 3
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trainable
    assert model.training


def test_an_error_inside_leaves_the_adapter_on() -> None:
    model = add_lora(tiny_model("llama"))
    with pytest.raises(RuntimeError), adapter_off(model):
        raise RuntimeError
    assert not any(getattr(module, "_disable_adapters", False) for module in model.modules())


def test_a_warm_cache_forwards_nothing(tmp_path: Path) -> None:
    sequences, masks = batch()
    model = tiny_model("llama")

    def roles() -> Roles:
        return Roles(Scorer(model), "tree", reference=frozen_policy(model, "tree", "float32"), cache=LogpCache(tmp_path))

    cold, warm = roles(), roles()
    first = cold.score_frozen("reference", sequences, masks, (logp(),), BUDGET)
    again = warm.score_frozen("reference", sequences, masks, (logp(),), BUDGET)
    assert cold.forwarded_tokens["reference"] == 18
    assert warm.forwarded_tokens["reference"] == warm.forwards["reference"] == 0
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[logp()], other[logp()])
    # A wider mask of one sequence: that one alone is forwarded.
    masks[0] = np.arange(len(sequences[0])) >= 1
    wider = warm.score_frozen("reference", sequences, masks, (logp(),), BUDGET)
    assert warm.forwarded_tokens["reference"] == len(sequences[0])
    np.testing.assert_allclose(wider[0][logp()][5:], first[0][logp()], atol=1e-5)
    # Another temperature, another signal, another precision: nothing is known of them.
    half = Roles(Scorer(model), "tree", reference=frozen_policy(model, "tree", "bf16"), cache=LogpCache(tmp_path))
    half.score_frozen("reference", sequences, masks, (logp(),), BUDGET)
    warm.score_frozen("reference", sequences, masks, (logp("reference", temperature=2.0),), BUDGET)
    warm.score_frozen("reference", sequences, masks, (entropy("reference"),), BUDGET)
    assert (half.forwards["reference"], warm.forwards["reference"]) == (1, 3)


def test_equal_sequences_are_scored_once_whatever_their_masks() -> None:
    sequences, masks = batch()
    model = tiny_model("llama")
    roles = Roles(Scorer(model, "packed"), "packed", reference=frozen_policy(model, "packed"))
    twice = [*sequences, sequences[0]]
    found = roles.score_frozen("reference", twice, [*masks, np.arange(9) == 2], (logp(),), BUDGET)
    assert roles.forwarded_tokens["reference"] == sum(map(len, sequences))
    assert [len(values[logp()]) for values in found] == [3, 5, 4, 1]
    assert all(np.isfinite(values[logp()]).all() for values in found)


def test_float64_comes_back_whole(tmp_path: Path) -> None:
    sequences, masks = batch()
    model = tiny_model("gpt2", dtype=torch.float64)
    frozen = frozen_policy(model, "tree", "float64")
    roles = Roles(Scorer(model), "tree", reference=frozen, cache=LogpCache(tmp_path))
    for _ in range(2):
        found = roles.score_frozen("reference", sequences, masks, (logp(),), BUDGET)
        assert found[0][logp()].dtype == np.float64


def test_a_budget_makes_several_forwards() -> None:
    sequences, masks = batch()
    roles = Roles(Scorer(tiny_model("llama")), "tree", teacher=frozen_model(tiny_model("llama", seed=1), "tree"))
    roles.score_frozen("teacher", sequences, masks, (logp(),), 11)
    assert roles.forwards["teacher"] == 3


def test_a_role_without_a_model_is_named() -> None:
    sequences, masks = batch()
    with pytest.raises(ModelError, match=r"no model for the role 'teacher'; name one under `teacher\.model`"):
        Roles(Scorer(tiny_model("llama")), "tree").score_frozen("teacher", sequences, masks, (logp(),), BUDGET)


def test_an_adapter_that_is_continued_is_copied_as_the_reference() -> None:
    sequences, masks = batch()
    model = add_lora(tiny_model("llama"), targets=["q_proj", "embed_tokens"])
    fresh = frozen_policy(model, "tree", "float32")
    assert fresh.scorer is None
    perturb_adapter(model)
    before = expected_logps(model, sequences, masks)
    reference = frozen_policy(model, "tree", "float32")
    assert reference.key != fresh.key
    roles = Roles(Scorer(model, "tree"), "tree", reference)
    perturb_adapter(model)
    found = roles.score_frozen("reference", sequences, masks, (logp(),), BUDGET)
    for values, expected in zip(found, before, strict=True):
        np.testing.assert_allclose(values[logp()], expected, rtol=1e-4, atol=1e-4)
    assert reference.scorer is not None
    places = [{tensor.data_ptr() for tensor in one.parameters()} for one in (model, reference.scorer)]
    num_frozen = sum(not tensor.requires_grad for tensor in model.parameters())
    assert len(places[0] & places[1]) == num_frozen, "the frozen weights are there once"


def test_trained_adapters_and_modules_are_part_of_what_a_model_is() -> None:
    def adapted() -> torch.nn.Module:
        return add_lora(tiny_model("llama_untied"), targets=["q_proj"], modules_to_save=["lm_head"])

    key = weights_hash(adapted())
    perturb_adapter(model := adapted())
    assert weights_hash(model) != key
    assert weights_hash(model, base=True) == key
    with torch.no_grad():
        (model := adapted()).get_output_embeddings().modules_to_save["default"].weight.mul_(2)
    assert weights_hash(model) != key
    assert weights_hash(model, base=True) == key


def test_the_hash_is_of_the_base_weights() -> None:
    model = tiny_model("llama_untied")
    key = weights_hash(model)
    assert weights_hash(add_lora(tiny_model("llama_untied"), targets=["q_proj"], modules_to_save=["lm_head"])) == key
    assert weights_hash(model.to(torch.bfloat16)) != key
    perturb(model := tiny_model("llama_untied"))
    assert weights_hash(model) != key
