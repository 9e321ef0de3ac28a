"""What the package provides holds what everything of its kind must hold."""

from __future__ import annotations

import pytest

from burnish.testing import check_advantage, check_loss


@pytest.mark.parametrize("name", ["online_dpo", "xpo", "nash_md"])
def test_losses_conform(name: str) -> None:
    check_loss(name).raise_for_failures()


def test_the_advantage_conforms() -> None:
    check_advantage("nash_md").raise_for_failures()
