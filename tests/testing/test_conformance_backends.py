"""check_backend finds what is planted: members that are absent, not coroutines, or that take something else."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.rollout.contract import Capabilities
from burnish.testing import check_backend


class Whole:
    """Has every member."""

    capabilities = Capabilities()

    async def generate(self, ids: Any, sampling: Any, seed: int = 0) -> Any: ...

    async def update(self, version: Any, weights: Any) -> Any: ...

    async def close(self) -> None: ...


class Plain(Whole):
    """Closes at once."""

    def close(self) -> None:  # type: ignore[override]
        return None


class Seedless(Whole):
    """Draws what it likes."""

    async def generate(self, ids: Any, sampling: Any) -> Any: ...  # type: ignore[override]


class Promising(Whole):
    """Says that it loads adapters."""

    capabilities = Capabilities(adapters=True)


class Able(Promising):
    """Does it."""

    async def load_adapter(self, version: Any, weights: Any, config: Any) -> Any: ...


@pytest.mark.parametrize("backend", [Whole, Able])
def test_what_is_whole_passes(backend: type[Whole]) -> None:
    check_backend(backend).raise_for_failures()


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (Plain, "close() is not an `async def`"),
        (Seedless, "generate() cannot be called with (ids, sampling, seed)"),
        (Promising, "there is no load_adapter()"),
    ],
)
def test_what_is_not_is_named(backend: type[Whole], said: str) -> None:
    [failure] = check_backend(backend).failures
    assert said in str(failure)
