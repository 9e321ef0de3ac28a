"""Sites: each (position, target) pair once, each sequence finds its own."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.batch.layout import lay_out
from burnish.data.units import Sequence
from burnish.model.sites import sites_for


def sequence(*ids: int) -> Sequence:
    return Sequence(np.array(ids, np.int64), {})


def test_a_fork_predicts_two_tokens_from_one_position() -> None:
    # Laid out 5 6 7 8 9: the 6 predicts both 7 and 8, which no shifted label can say.
    layout = lay_out([sequence(5, 6, 7), sequence(5, 6, 8, 9)], "tree")
    sites = sites_for(layout, [np.array([0, 1, 1], bool), np.array([0, 1, 1, 1], bool)])
    assert sites.at.tolist() == [1, 2, 3, 4]
    assert sites.predict.tolist() == [0, 1, 1, 3]
    assert sites.targets.tolist() == [6, 7, 8, 9]
    assert [rows.tolist() for rows in sites.rows] == [[0, 1], [0, 2, 3]]


def test_masks_may_select_nothing() -> None:
    layout = lay_out([sequence(5, 6)], "tree")
    sites = sites_for(layout, [np.zeros(2, bool)])
    assert len(sites) == 0
    assert [rows.tolist() for rows in sites.rows] == [[]]
    assert sites_for(lay_out([], "tree"), []).rows == ()


def test_padded_rows_are_flattened() -> None:
    layout = lay_out([sequence(5, 6, 7), sequence(5, 8)], "padded")
    sites = sites_for(layout, [np.array([0, 0, 1], bool), np.array([0, 1], bool)])
    assert sites.predict.tolist() == [1, 3]
    assert sites.targets.tolist() == [7, 8]


def test_token_0_is_never_a_target() -> None:
    with pytest.raises(ValueError, match="token 0"):
        sites_for(lay_out([sequence(5)], "tree"), [np.array([True])])
