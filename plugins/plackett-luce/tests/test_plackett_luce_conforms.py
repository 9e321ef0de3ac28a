"""What the package provides holds what everything of its kind must hold."""

from __future__ import annotations

from burnish.testing import check_loss


def test_conforms() -> None:
    check_loss("plackett_luce").raise_for_failures()
