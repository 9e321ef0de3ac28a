"""Weights for a backend: what is sent, and every fault of a sampler found at the handshake or at the first update after it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from copied import Copied
from faulty import (
    Adapted,
    Deaf,
    Half,
    InBfloat16,
    Larger,
    Mixing,
    NeverAdapted,
    Renamed,
    Restarted,
    Rounded,
    StalePrefixes,
)

from burnish.config.sections import RolloutSection
from burnish.engine.sending import Sender
from burnish.engine.sharding import whole
from burnish.engine.step import StepRunner
from burnish.errors import ModelError
from burnish.model.adapters import add_lora
from burnish.model.roles import Roles
from burnish.model.scorer import Scorer
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.rollout.contract import Backend, Capabilities
from burnish.testing import tiny_model, tiny_tokenizer

MakeSender = Callable[..., Sender]


@pytest.fixture
def make_sender(model_folder: Path) -> MakeSender:
    """A function of a backend's class: what sends it the weights of a model, by default the one that the backend has too."""

    def make(
        backend: Callable[..., Backend], model: torch.nn.Module | None = None, said: list[str] | None = None, **receipts: Any
    ) -> Sender:
        trained = tiny_model("llama") if model is None else model
        runner = StepRunner(Roles(Scorer(trained), "tree"), Objective.parse([{"sft": {}}], load()), 4096)
        section = RolloutSection.model_validate({"receipts": receipts, "sampling": {"temperature": 0.7}})
        tells = [].append if said is None else said.append
        sampler, accelerator = backend(model=str(model_folder)), Accelerator(cpu=True)
        return Sender(sampler, trained, tiny_tokenizer(), runner, section, accelerator, tells)

    return make


def step(model: torch.nn.Module, size: float = 0.05) -> None:
    """Weights as an update leaves them, a bit elsewhere."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += size * parameter.abs().mean() * torch.randn_like(parameter)


def adapted() -> torch.nn.Module:
    """With an adapter that has learnt something."""
    model = add_lora(tiny_model("llama"), r=4, alpha=8)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model


def test_a_good_backend_gets_every_version(make_sender: MakeSender) -> None:
    said: list[str] = []
    sender = make_sender(Copied, said=said)
    before = {name: tensor.clone() for name, tensor in sender.model.state_dict().items()}
    sender.send(0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in sender.model.state_dict().items())
    step(sender.model)
    sender.send(1)
    held = sender.backend.model.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(tensor, held[name]) for name, tensor in sender.model.state_dict().items())
    assert said == []


def test_a_version_is_sent_once(make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = make_sender(Copied, handshake=False)
    sender.send(3)
    monkeypatch.setattr(sender.backend, "update", None)
    sender.send(3)


FAULTS = [
    pytest.param(Renamed, r"q_proj\.weight' is missing \('.*qproj\.weight', which was not sent, looks like it\)", id="renamed"),
    pytest.param(Half, r"of its receipt, 10 of 20 tensors are missing; '.*' is missing; .*more differences", id="half"),
    pytest.param(Rounded, r"'lm_head.weight' is bfloat16, sent was float32|embed_tokens.weight' is bfloat16", id="dtype"),
    pytest.param(Larger, r"has shape .*, sent was .*, so sampler and trainer have different vocabularies", id="vocabulary"),
    pytest.param(Deaf, r"the handshake failed: .* still those of the weights before: it does not use", id="deaf"),
    pytest.param(Mixing, r"the handshake failed: .*it uses a part of what it was sent", id="half, hidden"),
    pytest.param(StalePrefixes, r"the handshake failed: .*only those of long prompts are off: .*prefix cache", id="prefixes"),
]


@pytest.mark.parametrize(("backend", "said"), FAULTS)
def test_a_fault_is_found_at_the_handshake(make_sender: MakeSender, backend: type[Copied], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        make_sender(backend).send(0)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("restart", [1, 3, 4])
def test_a_restart_with_old_weights_is_found(make_sender: MakeSender, restart: int, silent: bool) -> None:
    """The run goes on from a checkpoint, so that its weights are not those that the server was started with."""
    model = tiny_model("llama")
    step(model)
    sender = make_sender(partial(Restarted, restart=restart, silent=silent), model)

    def run() -> None:
        sender.send(7)
        step(model)
        sender.send(8)

    with pytest.raises(ModelError) as error:
        run()
    assert ("was it restarted?" in str(error.value)) != silent
    if silent:
        assert "nats a token" in str(error.value)


def test_weights_that_did_not_move_are_found_though_they_drift_little(make_sender: MakeSender) -> None:
    """An update too small for the level at which the run stops, that the backend acknowledges and does not use."""
    said: list[str] = []
    sender = make_sender(partial(Restarted, restart=4, silent=True), said=said)
    sender.send(0)
    step(sender.model, 0.005)
    with pytest.raises(ModelError, match=r"the canaries' log-probabilities by 0\.\d+ nats a token, the backend's moved by 0:"):
        sender.send(1)
    assert said == []


def test_drift_warns_before_it_stops(make_sender: MakeSender) -> None:
    said: list[str] = []
    sender = make_sender(InBfloat16, said=said, warn=1e-6, stop=5.0)
    sender.send(0)
    assert "nats a token away from the trainer's (canaries" in said[0]
    sender = make_sender(InBfloat16, warn=1e-6, stop=1e-5)
    with pytest.raises(ModelError, match=r"more than 1e-05 \(`rollout.receipts.stop`\) is not a matter of precision"):
        sender.send(0)


def test_weights_are_sent_in_the_precision_that_they_are_held_in(make_sender: MakeSender) -> None:
    sender = make_sender(InBfloat16, warn=1.0, stop=2.0)
    sender.send(0)
    held = sender.backend.model.state_dict()  # type: ignore[attr-defined]
    ours = sender.model.state_dict()
    assert all(torch.equal(held[name], ours[name].to(torch.bfloat16)) for name in ours)


@pytest.mark.parametrize("backend", [Copied, Adapted])
def test_an_adapter_is_sent_alone_or_merged(make_sender: MakeSender, backend: type[Copied]) -> None:
    """`Adapted` refuses whole models, `Copied` knows no adapter: the right one was sent to each, and it follows the trainer."""
    sender = make_sender(backend, adapted())
    sender.send(0)
    step(sender.model)
    sender.send(1)


def test_an_adapter_that_was_never_used_is_found(make_sender: MakeSender) -> None:
    """Fresh, so that at first the model without it says the same."""
    model = add_lora(tiny_model("llama"), r=4, alpha=8)
    with pytest.raises(ModelError, match="still those of the weights before"):
        make_sender(NeverAdapted, model).send(0)


def test_a_base_that_is_another_is_found(make_sender: MakeSender) -> None:
    """The adapter alone is right, but it lies on another model than the trained one's base."""
    model = add_lora(tiny_model("llama", seed=5), r=4, alpha=8)
    with pytest.raises(ModelError, match="another model or base"):
        make_sender(Adapted, model).send(0)


def test_a_model_that_says_nothing_shakes_no_hands(make_sender: MakeSender) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.get_input_embeddings().weight.fill_(1e-12)
    sender = make_sender(InBfloat16, model, warn=1.0, stop=2.0)
    with pytest.raises(ModelError, match="no handshake"):
        sender.send(0)


class Near(Copied):
    """Takes tensors where they lie."""

    capabilities = Capabilities(on_device=True)


@pytest.mark.parametrize(
    ("backend", "sharded", "host"), [(Copied, False, True), (Near, False, False), (Near, True, True)]
)
def test_weights_come_from_where_they_lie_for_those_who_take_them_there(
    make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch, backend: Any, sharded: bool, host: bool
) -> None:
    """But not where they are sharded: gathered, the whole may be too much for one GPU."""
    asked = []

    def noted(values: Any, keep: bool, host: bool) -> dict[str, Any]:
        asked.append(host)
        return whole(values, keep, host)

    monkeypatch.setattr("burnish.engine.sending.whole", noted)
    monkeypatch.setattr(Sender, "_sharded", sharded)
    make_sender(backend, handshake=False).send(0)
    assert asked == [host]


def test_tensors_stay_where_they_are_unless_they_are_wanted_on_the_host() -> None:
    there = {"one": torch.nn.Parameter(torch.empty(2, device="meta"))}
    kept = whole(there, True, host=False)["one"]
    assert (kept.device.type, kept.requires_grad) == ("meta", False)
    with pytest.raises(NotImplementedError):  # nothing can be copied from there
        whole(there, True)
