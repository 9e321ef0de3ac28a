"""What the package provides holds what everything of its kind must hold."""

from __future__ import annotations

import pytest

from burnish.testing import check_format


@pytest.mark.parametrize("name", ["alpaca", "alpaca_preference", "self_instruct"])
def test_conforms(name: str) -> None:
    check_format(name).raise_for_failures()
