"""Formats: each recognises rows of one form and converts them to one canonical kind. In: a raw row. Out: an `Example`.

May not know: tokenizers, files, other rows.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from burnish.data.examples import Example, Row


@runtime_checkable
class Format(Protocol):
    """What a format plugin provides: a class without arguments, or an object, with these members.

    sniff: how many of the row's columns the format explains; 0 (or False) when the row is not of its form. Over the rows
    looked at, the highest sum wins; a format that also recognises the text in a column adds one for it.
    convert: the example, or a tuple of those that the row holds. Raises `RowError` with what was expected and what was found;
    `NoExample` when the row is as expected and holds none.
    """

    name: str
    kind: str

    def sniff(self, row: Row) -> float: ...

    def convert(self, row: Row) -> Example | tuple[Example, ...]: ...
