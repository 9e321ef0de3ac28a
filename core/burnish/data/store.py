"""Units as Arrow tables, and back, bit for bit: ids as int32 bytes, masks as packed bits. Knows no file, no tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from burnish.data.units import Sequence as TokenSequence
from burnish.data.units import Unit

_ARRAYS = pa.map_(pa.string(), pa.binary())
_SEQUENCE = pa.struct(
    [("role", pa.string()), ("ids", pa.binary()), ("masks", _ARRAYS), ("tokens", _ARRAYS), ("scalars", pa.string())]
)
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # index in the source
        ("part", pa.int64()),  # which of the row's examples
        ("draw", pa.float64()),  # where the row falls in [0, 1) when a fraction is held out
        ("num_tokens", pa.int64()),
        ("num_targets", pa.int64()),
        ("kind", pa.string()),
        ("scalars", pa.string()),
        ("sequences", pa.list_(_SEQUENCE)),
    ]
)


def to_batch(units: Iterable[Unit], draws: Iterable[float]) -> pa.RecordBatch:
    """Units, and the draw of each, as one batch of `SCHEMA`."""
    return pa.RecordBatch.from_pylist([_unit_row(unit, draw) for unit, draw in zip(units, draws, strict=True)], schema=SCHEMA)


class Units(Sequence[Unit]):
    """The units in some rows of a table, decoded one by one. rows: which of the table's rows, in which order."""

    def __init__(self, table: pa.Table, source: str, rows: NDArray[np.int64]) -> None:
        self._table, self._source, self._rows = table, source, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Unit: ...
    @overload
    def __getitem__(self, index: slice) -> Units: ...
    def __getitem__(self, index: int | slice) -> Unit | Units:
        if isinstance(index, slice):
            return Units(self._table, self._source, self._rows[index])
        return _to_unit(self._table.slice(int(self._rows[index]), 1).to_pylist()[0], self._source)

    def __iter__(self) -> Iterator[Unit]:
        return (self[index] for index in range(len(self)))

    def column(self, name: str) -> NDArray[Any]:
        """A column of numbers, of these rows."""
        numbers: NDArray[Any] = self._table[name].to_numpy()[self._rows]
        return numbers


def _unit_row(unit: Unit, draw: float) -> dict[str, Any]:
    return {
        "row": unit.row,
        "part": unit.part,
        "draw": draw,
        "kind": unit.kind,
        "scalars": json.dumps(dict(unit.scalars)),
        "num_tokens": sum(len(sequence) for sequence in unit.sequences),
        "num_targets": sum(int(sequence.masks["completion"].sum()) for sequence in unit.sequences),
        "sequences": [_sequence_row(sequence) for sequence in unit.sequences],
    }


def _sequence_row(sequence: TokenSequence) -> dict[str, Any]:
    assert not sequence.inputs, "inputs other than ids have no place in the table"
    return {
        "role": sequence.role,
        "ids": sequence.ids.astype(np.int32).tobytes(),
        "scalars": json.dumps(dict(sequence.scalars)),
        "masks": {name: np.packbits(mask).tobytes() for name, mask in sequence.masks.items()},
        "tokens": {name: numbers.tobytes() for name, numbers in sequence.tokens.items()},
    }


def _to_unit(values: Mapping[str, Any], source: str) -> Unit:
    sequences = tuple(_to_sequence(item) for item in values["sequences"])
    return Unit(values["kind"], sequences, source, json.loads(values["scalars"]), values["row"], values["part"])


def _to_sequence(values: Mapping[str, Any]) -> TokenSequence:
    ids = np.frombuffer(values["ids"], dtype=np.int32).astype(np.int64)
    masks = {
        name: np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=len(ids)).astype(np.bool_)
        for name, bits in values["masks"]
    }
    tokens = {name: _per_token(np.frombuffer(numbers, dtype=np.float32), len(ids)) for name, numbers in values["tokens"]}
    return TokenSequence(ids, masks, values["role"], tokens, json.loads(values["scalars"]))


def _per_token(numbers: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """One number for each token, or several: [T] or [T, K]."""
    return numbers if len(numbers) == count else numbers.reshape(count, -1)
