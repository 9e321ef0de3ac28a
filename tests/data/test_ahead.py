"""Items made ahead: the same ones, begun early, with their errors in their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from burnish.data.ahead import ahead

pytestmark = pytest.mark.timeout(20)  # who waits for what never comes would wait for the suite's limit


def test_the_same_items_in_the_same_order() -> None:
    assert list(ahead(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(ahead(iter([]))) == []


def test_the_next_one_is_made_while_the_last_is_used() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        begun.set()
        yield 2

    one = ahead(items())
    assert next(one) == 1
    assert begun.wait(5)
    one.close()  # type: ignore[attr-defined]


def test_an_error_comes_after_what_was_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    one = ahead(items())
    assert next(one) == 1
    with pytest.raises(ValueError, match="the second"):
        next(one)
