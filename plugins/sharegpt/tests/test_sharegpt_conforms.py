"""What the package provides holds what everything of its kind must hold."""

from __future__ import annotations

import pytest

from burnish.testing import check_format


@pytest.mark.parametrize("name", ["sharegpt", "sharegpt_preference"])
def test_conforms(name: str) -> None:
    check_format(name).raise_for_failures()
