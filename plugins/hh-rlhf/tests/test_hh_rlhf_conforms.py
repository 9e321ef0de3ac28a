"""What the package provides holds what everything of its kind must hold."""

from __future__ import annotations

from burnish.testing import check_format


def test_conforms() -> None:
    check_format("hh_rlhf").raise_for_failures()
