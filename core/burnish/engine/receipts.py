"""Proof that a backend holds the weights: receipts against what was sent, canaries against what the trainer predicts.

In: receipts, answers, scores. Out: nothing, a warning, or a `ModelError` that names the difference. Sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from burnish.config.sections import ReceiptsSection
from burnish.engine.canaries import LENGTHS, Answers, Scores, apart, each_apart, in_common
from burnish.errors import ModelError, nearest
from burnish.rollout.contract import Held, Receipt

PERTURBED = -1
"""The version of the handshake's perturbed weights."""
SHOWN = 3
OF_WORDS = ("embed_tokens.", "wte.", "word_embeddings.", "embed_in.", "lm_head.", "embed_out.")
"""Parts of the names of tensors that have a row for each id, in the families of transformers."""
FOLLOWS = 0.4
"""A backend follows when what it says is nearer to the prediction than this part of the way that the weights moved it."""
UNMOVED = 0.1
"""And it has not moved at all when it is still within this part of where it was."""
STEADY = 1e-3
"""Nats by which the same weights may give other numbers, where float32 holds them."""


def require_receipt(receipt: Receipt, version: int, sent: Mapping[str, Held]) -> None:
    """ModelError when the receipt is not for these tensors, with the first differences."""
    problems = [] if receipt.version == version else [f"it is for version {receipt.version}"]
    problems += _differences(sent, receipt.tensors)
    if problems:
        more = len(problems) - SHOWN
        raise ModelError(
            f"the backend does not hold the weights of {named(version)}: of its receipt, {'; '.join(problems[:SHOWN])}"
            + (f"; and {more} more differences" if more > 0 else "")
        )


def _differences(sent: Mapping[str, Held], held: Mapping[str, Held]) -> list[str]:
    missing, unknown = sorted(sent.keys() - held.keys()), sorted(held.keys() - sent.keys())
    found = []
    for name in missing:
        like = nearest(name, unknown)
        found.append(f"'{name}' is missing" + (f" ('{like}', which was not sent, looks like it)" if like else ""))
    found += [f"'{name}' was never sent" for name in unknown]
    for name in sorted(sent.keys() & held.keys()):
        ours, theirs = sent[name], held[name]
        if ours.shape != theirs.shape:
            words = any(part in name for part in OF_WORDS) and theirs.shape[1:] == ours.shape[1:]
            why = ", so sampler and trainer have different vocabularies: serve the model that is trained" if words else ""
            found.append(f"'{name}' has shape {list(theirs.shape)}, sent was {list(ours.shape)}{why}")
        elif ours.dtype != theirs.dtype:
            found.append(f"'{name}' is {theirs.dtype}, sent was {ours.dtype}")
        elif ours.hash != theirs.hash:
            found.append(f"'{name}' holds other numbers than were sent (hash {theirs.hash[:8]}, not {ours.hash[:8]})")
    if missing and len(missing) < len(sent):
        found.insert(0, f"{len(missing)} of {len(sent)} tensors are missing")
    return found


def named(version: int) -> str:
    """A version in words."""
    return "the handshake" if version == PERTURBED else f"step {version}"


@dataclass
class Handshake:
    """What the backend said of the true weights, of perturbed ones, and of the true ones again, beside what the trainer says.

    answers, predicted: of the true weights.
    """

    answers: Answers
    predicted: Scores

    @property
    def floor(self) -> float:
        """How far apart backend and trainer are with equal weights: precision, kernels."""
        return apart(self.answers.logps, self.predicted)

    def require_agreement(self, section: ReceiptsSection) -> None:
        """ModelError when the two do not even agree on the true weights."""
        if self.floor > section.stop:
            raise ModelError(
                f"the backend was sent the weights, and yet its log-probabilities are {self.floor:.3g} nats a token away from "
                f"the trainer's ({each(self.answers.logps, self.predicted)}); more than {section.stop:g} (`rollout.receipts"
                ".stop`) is not a matter of precision: another model or base, log-probabilities that are not at the "
                "temperature of sampling, or a cache from before"
            )

    def require_moved(self, answers: Answers, predicted: Scores, before: Scores) -> None:
        """ModelError when the perturbed weights did not move the canaries as predicted. before: what the true weights say of
        the same tokens."""
        moved, off, still = apart(predicted, before), apart(answers.logps, predicted), apart(answers.logps, before)
        worst = max(each_apart(answers.logps, predicted))
        if worst <= FOLLOWS * moved:
            return
        long = [place for place, prompt in enumerate(answers.prompts) if len(prompt) > min(LENGTHS)]
        fits = [gap <= FOLLOWS * moved for gap in each_apart(answers.logps, predicted)]
        if still <= UNMOVED * moved:
            why = "they are still those of the weights before: it does not use what it was sent"
        elif all(fit or place in long for place, fit in enumerate(fits)):
            why = "only those of long prompts are off: it reuses a prefix cache that was made with the weights before"
        else:
            why = "it uses a part of what it was sent, or something else"
        raise ModelError(
            f"the handshake failed: perturbed weights move the canaries' log-probabilities by {moved:.3g} nats a token; the "
            f"backend's are {off:.3g} away from that prediction ({each(answers.logps, predicted)}) and {still:.3g} from what "
            f"the weights before would give; {why}"
        )

    def require_back(self, answers: Answers, predicted: Scores, section: ReceiptsSection) -> None:
        """ModelError when the true weights, sent again, do not give the backend's own numbers again."""
        shared = in_common(answers, self.answers)
        now, then = _first(answers.logps, shared), _first(self.answers.logps, shared)
        gap, allowed = apart(now, then), max(STEADY, 2 * self.floor)
        drift = apart(answers.logps, predicted)
        if gap > allowed or drift > max(section.warn, 2 * self.floor):
            raise ModelError(
                f"the handshake failed: after perturbed weights the true ones were sent again, and the backend's own "
                f"log-probabilities did not come back: they differ by {gap:.3g} nats a token from those before, where "
                f"{allowed:.2g} would be its own noise, and by {drift:.3g} from the trainer's "
                f"({each(answers.logps, predicted)}); something is left of the perturbed weights, "
                "in the weights or in a prefix cache"
            )


@dataclass
class Watch:
    """Compares the canaries of every version with the trainer's, and with those of the version before."""

    section: ReceiptsSection
    tells: Callable[[str], None]
    floor: float = 0.0
    _last: tuple[Answers, Scores] | None = field(default=None)

    def look(self, version: int, answers: Answers, predicted: Scores) -> None:
        """A warning, or ModelError, when the backend drifts from the trainer, or has not moved where the trainer has."""
        drift, what = apart(answers.logps, predicted), each(answers.logps, predicted)
        self._require_movement(version, answers, predicted)
        self._last = answers, predicted
        if drift > self.section.stop:
            raise ModelError(
                f"at step {version} the backend's canaries are {drift:.3g} nats a token away from the trainer's ({what}), more "
                f"than `rollout.receipts.stop` {self.section.stop:g}: it no longer draws from the trained weights; restart it"
            )
        if drift > self.section.warn:
            self.tells(
                f"at step {version} the backend's canaries are {drift:.3g} nats a token away from the trainer's ({what}); "
                f"above {self.section.stop:g} the run stops (`rollout.receipts`)"
            )

    def _require_movement(self, version: int, answers: Answers, predicted: Scores) -> None:
        """The tokens that were drawn at the version before too: where the trainer's numbers moved, the backend's must have."""
        if self._last is None:
            return
        before, predicted_before = self._last
        shared = in_common(answers, before)
        moved = apart(_first(predicted, shared), _first(predicted_before, shared))
        theirs = apart(_first(answers.logps, shared), _first(before.logps, shared))
        if moved > max(STEADY, 3 * self.floor) and theirs <= UNMOVED * moved:
            raise ModelError(
                f"the update to step {version} moves the canaries' log-probabilities by {moved:.3g} nats a token, the "
                f"backend's moved by {theirs:.3g}: it still draws from the weights before"
            )


def require_versions(version: int, stated: Iterable[int]) -> None:
    """ModelError when completions say that other weights drew them."""
    if others := sorted(set(stated) - {version}):
        raise ModelError(
            f"the backend was sent the weights of {named(version)} and acknowledged them, but its completions say that they "
            f"were drawn from version {', '.join(map(str, others))}: was it restarted?"
        )


def each(left: Scores, right: Scores) -> str:
    """The difference of each canary, in short."""
    return "canaries " + " ".join(f"{gap:.2g}" for gap in each_apart(left, right))


def _first(scores: Scores, counts: list[int]) -> Scores:
    return [one[:count] for one, count in zip(scores, counts, strict=True)]
