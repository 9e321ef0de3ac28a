"""Receipts and canaries against what was sent and predicted, each off in one thing only. No model: numbers made up by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from burnish.config.sections import ReceiptsSection
from burnish.engine.canaries import LENGTHS, Answers, Scores
from burnish.engine.receipts import PERTURBED, Handshake, Watch, require_receipt, require_versions
from burnish.errors import ModelError
from burnish.rollout.contract import Held, Receipt
from burnish.rollout.sampler import Completion

SENT = Receipt.of(4, {"norm.weight": torch.ones(3), "lm_head.weight": torch.ones(8, 3)})
SECTION = ReceiptsSection(warn=0.1, stop=0.5)


def receipt(name: str = "norm.weight", **changes: object) -> Receipt:
    """That of what was sent, one tensor apart."""
    return replace(SENT, tensors={**SENT.tensors, name: replace(SENT.tensors[name], **changes)})  # type: ignore[arg-type]


def refused(held: Receipt, version: int = 4) -> str:
    with pytest.raises(ModelError) as error:
        require_receipt(held, version, SENT.tensors)
    return str(error.value)


def test_a_receipt_for_what_was_sent_is_taken() -> None:
    require_receipt(Receipt.of(4, {"lm_head.weight": torch.ones(8, 3), "norm.weight": torch.ones(3)}), 4, SENT.tensors)


def test_of_one_bit_other_than_sent() -> None:
    other = torch.ones(3)
    other[1] = torch.nextafter(other[1], torch.tensor(2.0))
    found = Held.of(other)
    said = refused(receipt(hash=found.hash))
    assert said == (
        "the backend does not hold the weights of step 4: of its receipt, 'norm.weight' holds other numbers than were sent "
        f"(hash {found.hash[:8]}, not {SENT.tensors['norm.weight'].hash[:8]})"
    )


def test_of_another_version() -> None:
    assert refused(replace(SENT, version=3)).endswith("the weights of step 4: of its receipt, it is for version 3")
    assert "the weights of the handshake: of its receipt, it is for version 4" in refused(SENT, PERTURBED)


def test_of_another_precision() -> None:
    assert refused(receipt(dtype="bfloat16")).endswith("of its receipt, 'norm.weight' is bfloat16, sent was float32")


@pytest.mark.parametrize(
    ("name", "shape", "vocabularies"),
    [
        ("lm_head.weight", (9, 3), True),
        ("lm_head.weight", (8, 4), False),  # as many rows, of another width: another model
        ("norm.weight", (4,), False),  # no row for each id
    ],
)
def test_of_another_shape(name: str, shape: tuple[int, ...], vocabularies: bool) -> None:
    said = refused(receipt(name, shape=shape))
    assert f"'{name}' has shape {list(shape)}, sent was {list(SENT.tensors[name].shape)}" in said
    assert ("different vocabularies" in said) == vocabularies


def test_of_a_tensor_less() -> None:
    said = refused(replace(SENT, tensors={"norm.weight": SENT.tensors["norm.weight"]}))
    assert said.endswith("of its receipt, 1 of 2 tensors are missing; 'lm_head.weight' is missing")


def test_of_a_tensor_more() -> None:
    assert refused(replace(SENT, tensors={**SENT.tensors, "bias": Held.of(torch.ones(1))})).endswith(
        "of its receipt, 'bias' was never sent"
    )


def test_of_nothing_at_all() -> None:
    """Nothing has to be counted where all is missing."""
    said = refused(replace(SENT, tensors={}))
    assert said.endswith("of its receipt, 'lm_head.weight' is missing; 'norm.weight' is missing")


def test_the_first_differences_are_named_and_the_others_counted() -> None:
    tensors = {name: replace(held, dtype="float16") for name, held in SENT.tensors.items()}
    more = {f"more.{number}": Held.of(torch.ones(1)) for number in range(3)}
    said = refused(Receipt(version=3, tensors={**tensors, **more}))
    assert said.endswith("it is for version 3; 'more.0' was never sent; 'more.1' was never sent; and 3 more differences")


def answers(*logps: float, ids: tuple[int, ...] = (5, 6)) -> Answers:
    """Of short canaries and long ones in turn: each says `ids`, each of them with the canary's number."""
    lengths = [LENGTHS[0], LENGTHS[-1]] * 2
    prompts = tuple((1,) * length for length in lengths[: len(logps)])
    return Answers(prompts, tuple(Completion(list(ids), [one] * len(ids), False) for one in logps))


def scores(*logps: float) -> Scores:
    return [np.full(2, one) for one in logps]


def test_true_weights_that_are_not_agreed_on() -> None:
    Handshake(answers(-1.0), scores(-1.5)).require_agreement(SECTION)
    with pytest.raises(ModelError, match=r"its log-probabilities are 0\.51 nats a token away .*another model or base"):
        Handshake(answers(-1.0), scores(-1.51)).require_agreement(SECTION)


BEFORE = (-3.0, -3.0)
MOVED = (-2.0, -2.0)  # by one nat: up to .4 off counts as following, up to .1 as standing still
HANDSHAKE = Handshake(answers(*BEFORE), scores(*BEFORE))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((-2.0, -2.0), ""),
        ((-2.39, -1.61), ""),  # each is .39 off
        ((-2.41, -2.0), "it uses a part of what it was sent, or something else"),  # on average .205 off, the short one .41
        ((-2.0, -2.41), "only those of long prompts are off: it reuses a prefix cache"),
        ((-2.41, -2.41), "it uses a part of what it was sent, or something else"),
        ((-2.91, -2.91), "they are still those of the weights before"),
        ((-2.89, -2.89), "it uses a part of what it was sent, or something else"),
    ],
)
def test_perturbed_weights_that_are_not_followed(said: tuple[float, float], why: str) -> None:
    if not why:
        HANDSHAKE.require_moved(answers(*said), scores(*MOVED), scores(*BEFORE))
        return
    with pytest.raises(ModelError, match=f"the handshake failed: perturbed weights move .* by 1 nats a token; .*{why}"):
        HANDSHAKE.require_moved(answers(*said), scores(*MOVED), scores(*BEFORE))


@pytest.mark.parametrize(
    ("then", "now", "predicted", "fine"),
    [
        (-1.0, -1.0, -1.0, True),
        (-1.0, -1.0009, -1.0, True),  # within what the same weights may give
        (-1.0, -1.0011, -1.0, False),  # the backend's own numbers did not come back
        (-1.0, -1.0, -1.11, False),  # they did, but the trainer's are others: more than `warn` away
        (-1.2, -1.59, -1.4, True),  # a backend .2 off to begin with: twice that is its noise
        (-1.2, -1.61, -1.4, False),
    ],
)
def test_true_weights_that_do_not_come_back(then: float, now: float, predicted: float, fine: bool) -> None:
    """then, now: what the backend says before and after the perturbed weights. The trainer says -1, at first, or -1.4."""
    at_first = -1.0 if then == -1.0 else -1.4
    handshake = Handshake(answers(then), scores(at_first))
    if fine:
        handshake.require_back(answers(now), scores(predicted), SECTION)
        return
    with pytest.raises(ModelError, match="after perturbed weights the true ones were sent again, and the backend's own"):
        handshake.require_back(answers(now), scores(predicted), SECTION)


def watch(before: float = -1.0, floor: float = 0.0) -> tuple[Watch, list[str]]:
    """One that has seen version 1, on which backend and trainer agree."""
    said: list[str] = []
    seen = Watch(SECTION, said.append, floor)
    seen.look(1, answers(before), scores(before))
    assert not said
    return seen, said


@pytest.mark.parametrize(("drift", "heard"), [(0.09, "fine"), (0.11, "warned"), (0.49, "warned"), (0.51, "stopped")])
def test_drift_is_told_from_a_level_on_and_stops_from_another(drift: float, heard: str) -> None:
    """The trainer moves by one nat, the backend by `drift` less."""
    seen, said = watch()
    if heard == "stopped":
        with pytest.raises(ModelError, match=r"at step 2 the backend's canaries are 0\.51 nats a token away .*restart it"):
            seen.look(2, answers(-2.0 + drift), scores(-2.0))
        return
    seen.look(2, answers(-2.0 + drift), scores(-2.0))
    assert [f"are {drift:g} nats a token away" in one for one in said] == ([] if heard == "fine" else [True])


@pytest.mark.parametrize(
    ("trainer", "backend", "floor", "fine"),
    [
        (0.05, 0.05, 0.0, True),
        (0.05, 0.006, 0.0, True),  # it moved, if less
        (0.05, 0.004, 0.0, False),  # within a tenth it has not moved
        (0.0009, 0.0, 0.0, True),  # no more than the same weights may give
        (0.05, 0.0, 0.02, True),  # no more than three times what the two are apart anyhow
        (0.05, 0.0, 0.016, False),
    ],
)
def test_a_backend_that_stands_where_the_trainer_moves(trainer: float, backend: float, floor: float, fine: bool) -> None:
    seen, _ = watch(floor=floor)
    if fine:
        seen.look(2, answers(-1 + backend), scores(-1 + trainer))
        return
    with pytest.raises(ModelError, match=rf"to step 2 moves .* by {trainer:g} .* it still draws from the weights before"):
        seen.look(2, answers(-1 + backend), scores(-1 + trainer))


def test_movement_is_seen_from_the_version_before() -> None:
    """Not from the first: after a step that both made, a step that the trainer alone makes."""
    seen, _ = watch()
    seen.look(2, answers(-1.05), scores(-1.05))
    with pytest.raises(ModelError, match=r"the update to step 3 moves .* by 0\.05 .* backend's moved by 0:"):
        seen.look(3, answers(-1.05), scores(-1.1))


def test_movement_is_seen_on_the_tokens_that_both_versions_drew() -> None:
    """Of three the first: the others were drawn after another token, so that their numbers say nothing of the weights."""
    seen, _ = watch()
    other = Answers(((1,) * LENGTHS[0],), (Completion([5, 9], [-1.0, -4.0], False),))
    with pytest.raises(ModelError, match=r"by 0\.05 nats a token, the backend's moved by 0:"):
        seen.look(2, other, [np.array([-1.05, -4.0])])


def test_completions_of_other_versions() -> None:
    require_versions(4, [4, 4])
    require_versions(4, [])
    with pytest.raises(ModelError, match=r"sent the weights of step 4 .* from version 2, 3: was it restarted"):
        require_versions(4, [3, 4, 2])
