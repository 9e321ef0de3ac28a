"""What the package provides holds what everything of its kind must hold."""

from __future__ import annotations

import pytest

from burnish.testing import check_loss


@pytest.mark.parametrize("divergence", ["binary_tv", "topk_tv", "topk_kl"])
def test_conforms(divergence: str) -> None:
    check_loss("dppo", options={"divergence": divergence}).raise_for_failures()
