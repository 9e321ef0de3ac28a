"""What a loss and a weight are: the members that the core calls, required and optional. No base class to inherit: protocols.

Optional members of both:

    derive(units, pairing) -> list[tuple[Sequence, ...]]
        Extra sequences of each unit, scored without gradient. units: in canonical order. pairing: a permutation of them for
        losses that mismatch, by default the cyclic shift. A pure function; read through `batch.derived(role)`.
    derived_signals() -> frozenset[Signal]
        What is read of them; by default signals().
    statistic(batch, state) -> (dict, state)
        Of the whole global batch, without gradient. The dict holds numbers, and tensors or ragged values with one entry per
        member; every micro-batch finds its own in `batch.statistic`. A bool tensor named `keep` takes members out of the loss
        and of its denominator. state: None at first, then what was returned last; plain numbers, lists and dicts.
    statistic_on: tuple[str, ...]
        Roles whose signals the statistic reads: `self` for the members' own sequences, and derived ones; by default all.
    keeps(batch) -> bool [members]
        False takes a member out before anything is scored; reads fields, scalars and lengths only.

Of a loss alone:

    coupling = "batch"
        The gradient crosses units: the loss is called once, with the global batch.
    reduction: str
        A property, for a loss whose fields decide on the level of its terms: what its record says is then not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as List
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch

from burnish.data.units import Sequence, Unit
from burnish.errors import BurnishError, ObjectiveError, raised
from burnish.model.signals import Signal
from burnish.objective.terms import Terms
from burnish.objective.views import Batch, Member, Sequences, Statistic

OWN = "self"


class Loss(Protocol):
    """A formula: a frozen dataclass whose fields are its hyper-parameters."""

    def signals(self) -> frozenset[Signal]:
        """What the formula reads."""
        ...

    def __call__(self, batch: Any) -> Terms:
        """The formula, over Pairs, Triples, Lists or Sequences."""
        ...


class Weight(Protocol):
    """A multiplier of another loss's terms; its gradient is cut."""

    def signals(self) -> frozenset[Signal]:
        """What the multiplier reads."""
        ...

    def __call__(self, batch: Sequences) -> Terms:
        """One number per token or per sequence; a pair's or list's term is multiplied by the product over its sequences."""
        ...


@contextmanager
def blamed(owner: str) -> Iterator[None]:
    """Whatever goes wrong in a plugin's own code is an ObjectiveError that names it."""
    try:
        yield
    except ObjectiveError as error:
        if owner in str(error):
            raise
        raise ObjectiveError(f"{owner}: {error}") from error
    except (BurnishError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ObjectiveError(f"{owner} failed: {raised(error)}") from error


def derive(part: Loss | Weight, owner: str, units: tuple[Unit, ...], pairing: tuple[int, ...]) -> list[tuple[Sequence, ...]]:
    """Derived sequences of each unit; none for parts without `derive`."""
    function = getattr(part, "derive", None)
    if function is None or not units:
        return [() for _ in units]
    with blamed(owner):
        derived = [tuple(sequences) for sequences in function(units, pairing)]
    if len(derived) != len(units):
        raise ObjectiveError(
            f"{owner}: derive() gave {len(derived)} results for {len(units)} units; it gives one tuple for each"
        )
    return derived


def derived_signals(part: Loss | Weight) -> frozenset[Signal]:
    """What `part` reads of derived sequences."""
    function = getattr(part, "derived_signals", part.signals)
    return cast("frozenset[Signal]", function()) if hasattr(part, "derive") else frozenset()


def scored_for_statistic(part: Loss | Weight, member: Member) -> tuple[Sequence, ...]:
    """Sequences of `member` that the part's statistic reads."""
    if not hasattr(part, "statistic"):
        return ()
    roles: tuple[str, ...] = getattr(part, "statistic_on", (OWN, *member.derived))
    own = member.sequences if OWN in roles else ()
    return (*own, *(sequence for role, sequence in member.derived.items() if role in roles))


def statistic(part: Any, owner: str, batch: Batch, state: Any) -> tuple[Statistic, Any]:
    """The part's statistic of the global batch, and its new state."""
    with blamed(owner):
        found = part.statistic(batch, state)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Mapping)):
        raise ObjectiveError(f"{owner}: statistic() gave {type(found).__name__}; it gives ({{name: numbers}}, state)")
    return found


def is_coupled(part: Loss | Weight) -> bool:
    """Whether the gradient crosses units."""
    coupling: List[str] | str | None = getattr(part, "coupling", None)
    if coupling not in (None, "batch"):
        raise ObjectiveError(f"{type(part).__name__}.coupling must be 'batch' or absent, got {coupling!r}")
    return coupling == "batch"
