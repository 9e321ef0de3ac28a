"""What the package provides holds what everything of its kind must hold."""

from __future__ import annotations

import pytest

from burnish.testing import check_loss


@pytest.mark.parametrize("name", ["tpo", "tpo_l"])
def test_conforms(name: str) -> None:
    check_loss(name).raise_for_failures()
