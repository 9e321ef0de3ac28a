"""Token sequences and units: what data hands to batch. Knows only ids, masks and numbers; no text, no tensor.

A `Sequence` is token ids with named target masks and numbers per token and per sequence. A `Unit` is what a loss couples:
one sequence, a pair, a list. Both are immutable and identified by their content, never by their place in a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]
LIKELIEST_IDS, LIKELIEST_LOGPS = "likeliest_ids", "likeliest_logps"
"""Names of what a sampler said beside the token that it drew, [T, K] in the numbers per token: its K likeliest tokens,
likeliest first, -1 where there is none, and their log-probabilities, nats, 0 where there is none."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """Token ids and what is known about them.

    ids: [T]. masks: name -> bool [T]; a mask marks targets, token 0 is never one. role: the part that the sequence plays in
    its unit (`main`, `chosen`, `rejected`, `gold`, `item0`, ...). tokens: name -> float [T], aligned with ids, read at targets
    (`advantages`, `old`, `behaviour`, `reference`); or [T, K], several numbers of each (`likeliest_ids`, which float32 holds
    exactly up to 2**24). scalars: name -> one number. inputs: further inputs of the forward (images); salt: hash of those
    inputs, so that equal ids with other images never share a prefix.
    """

    ids: Ids
    masks: Mapping[str, Mask]
    role: str = "main"
    tokens: Mapping[str, Numbers] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    salt: bytes = b""

    def __post_init__(self) -> None:
        length = len(self.ids)
        for name, mask in self.masks.items():
            if mask.dtype != np.bool_ or mask.shape != (length,):
                raise ValueError(f"mask '{name}' must be bool [{length}], got {mask.dtype} {list(mask.shape)}")
            if length and mask[0]:
                raise ValueError(f"mask '{name}' marks token 0, which nothing precedes and nothing can predict")
        for name, numbers in self.tokens.items():
            if numbers.shape[:1] != (length,) or numbers.ndim > 2:
                raise ValueError(f"per-token numbers '{name}' must be [{length}], got {list(numbers.shape)}")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def key(self) -> str:
        """Hash of what enters a forward pass (ids and other inputs); names cached log-probabilities."""
        return hashlib.blake2b(self.salt + self.ids.astype(np.int64).tobytes(), digest_size=16).hexdigest()

    @cached_property
    def content(self) -> str:
        """Hash of everything: ids, masks, role and numbers."""
        digest = hashlib.blake2b(self.key.encode(), digest_size=16)
        digest.update(self.role.encode())
        for name in sorted(self.masks):
            digest.update(name.encode() + np.packbits(self.masks[name]).tobytes())
        for name in sorted(self.tokens):
            digest.update(name.encode() + self.tokens[name].astype(np.float32).tobytes())
        for name in sorted(self.scalars):
            digest.update(name.encode() + np.float64(self.scalars[name]).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Unit:
    """What a loss couples. kind: the canonical kind (`preference`, `chat`, ...); source: the data source's name in the config;
    scalars: numbers of the whole unit (`weight`, `margin`); row, part: where it came from, for messages only."""

    kind: str
    sequences: tuple[Sequence, ...]
    source: str = "main"
    scalars: Mapping[str, float] = field(default_factory=dict)
    row: int = -1
    part: int = 0

    @cached_property
    def id(self) -> str:
        """Content hash: equal units have equal ids, wherever they stand."""
        digest = hashlib.blake2b(f"{self.kind}|{self.source}".encode(), digest_size=16)
        for sequence in self.sequences:
            digest.update(sequence.content.encode())
        for name in sorted(self.scalars):
            digest.update(name.encode() + np.float64(self.scalars[name]).tobytes())
        return digest.hexdigest()

    def sequence(self, role: str) -> Sequence:
        """The sequence that plays `role`; KeyError names the roles there are."""
        for sequence in self.sequences:
            if sequence.role == role:
                return sequence
        raise KeyError(f"a {self.kind} unit has no role '{role}'; it has {[s.role for s in self.sequences]}")
