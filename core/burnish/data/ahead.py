"""Batches made ahead of time: the next one is read, tokenised and rendered while the last one is trained on.

In: an iterator. Out: the same items in the same order. Knows nothing of what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each begun in a thread of its own when the one before it is handed out; its errors are raised in its place."""
    with ThreadPoolExecutor(1, thread_name_prefix="burnish-ahead") as thread:
        coming: Future[list[T]] = thread.submit(_one, items)
        while item := coming.result():
            coming = thread.submit(_one, items)
            yield item[0]


def _one(items: Iterator[T]) -> list[T]:
    """The next item, nothing at the end."""
    for item in items:
        return [item]
    return []
