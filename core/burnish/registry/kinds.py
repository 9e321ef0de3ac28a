"""The kinds of example by name: which of them a loss can use, and which are made of others.

In: names. Out: names, or an error that says which would do. Knows no example.
"""

from __future__ import annotations

from burnish.errors import DataError

DATA_KINDS = (
    "text",
    "chat",
    "prompt_completion",
    "preference",
    "triple",
    "ranked",
    "rated",
    "unpaired",
    "stepwise",
    "prompt",
    "trajectory",
)
"""The canonical kinds of example, one dataclass each in `burnish.data.examples`."""

PAIRINGS = {
    "all": {"ranked": "preference", "rated": "preference", "unpaired": "preference"},
    "best_worst": {"ranked": "preference", "rated": "preference", "unpaired": "preference"},
    "undo": {"preference": "unpaired"},
}
"""What `pairing` says -> the kinds of rows that it takes -> the kind that it gives."""


def serves(kind: str, need: str) -> bool:
    """Whether examples of `kind` feed a loss whose record says `data=need`: a triple holds a pair, all hold sequences."""
    return need in ("sequence", kind) or (need, kind) == ("preference", "triple")


def kind_after(pairing: str | None, kind: str) -> str:
    """The kind of examples that `pairing` makes of those of `kind`. DataError: of these it makes none."""
    if pairing is None:
        return kind
    if kind not in PAIRINGS[pairing]:
        raise DataError(f"pairing: '{pairing}' takes {' or '.join(PAIRINGS[pairing])} rows; these are {kind}")
    return PAIRINGS[pairing][kind]
