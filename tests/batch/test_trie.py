"""Tries: every sequence is found again along its places, and no token is stored twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.batch.trie import build_trie, num_unique_tokens
from burnish.data.units import Sequence


def sequence(*ids: int, salt: bytes = b"") -> Sequence:
    return Sequence(np.array(ids, np.int64), {}, salt=salt)


def test_a_fork_by_hand() -> None:
    # 1 2 3 forks after the 2 into 3 and 4 5; the sequence 1 2 ends inside the trunk and cuts nothing.
    trie = build_trie([sequence(1, 2, 4, 5), sequence(1, 2), sequence(1, 2, 3)])
    assert trie.ids.tolist() == [1, 2, 3, 4, 5]
    assert trie.depths.tolist() == [0, 1, 2, 2, 3]
    assert [place.tolist() for place in trie.places] == [[0, 1, 3, 4], [0, 1], [0, 1, 2]]
    assert (trie.segments.lengths, trie.segments.depths, trie.segments.parents) == ((2, 1, 2), (0, 2, 2), (-1, 0, 0))
    assert (trie.segments.starts, trie.segments.ends) == ((0, 2, 3), (5, 3, 5))
    assert list(trie.segments.path(2)) == [2, 0]


def test_an_extension_goes_on_in_the_same_segment_until_another_forks_there() -> None:
    assert build_trie([sequence(1, 2), sequence(1, 2, 3)]).segments.lengths == (3,)
    forked = build_trie([sequence(1, 2), sequence(1, 2, 3), sequence(1, 2, 4)]).segments
    assert (forked.lengths, forked.parents) == ((2, 1, 1), (-1, 0, 0))


def test_salts_never_share() -> None:
    trie = build_trie([sequence(1, 2, salt=b"image"), sequence(1, 2), sequence(1, 2, salt=b"image")])
    assert trie.ids.tolist() == [1, 2, 1, 2]
    assert trie.places[0].tolist() == trie.places[2].tolist() != trie.places[1].tolist()


def test_packed_shares_nothing() -> None:
    trie = build_trie([sequence(1, 2), sequence(1, 2)], share=False)
    assert trie.ids.tolist() == [1, 2, 1, 2]
    assert trie.segments.parents == (-1, -1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=7), st.booleans()), min_size=1, max_size=8))
def test_invariants(drawn: list[tuple[list[int], bool]]) -> None:
    sequences = [sequence(*ids, salt=b"s" * salted) for ids, salted in drawn]
    trie, segments = build_trie(sequences), build_trie(sequences).segments
    prefixes = {(salted, tuple(ids[: end + 1])) for ids, salted in drawn for end in range(len(ids))}
    assert len(trie.ids) == num_unique_tokens(sequences) == len(prefixes) == sum(segments.lengths)
    owner = np.repeat(np.arange(len(segments)), segments.lengths)
    for one, place in zip(sequences, trie.places, strict=True):
        assert trie.ids[place].tolist() == one.ids.tolist()
        assert trie.depths[place].tolist() == list(range(len(one)))
        path = list(segments.path(int(owner[place[-1]])))[::-1]
        along = np.concatenate([np.arange(segments.starts[s], segments.starts[s] + segments.lengths[s]) for s in path])
        assert along[: len(place)].tolist() == place.tolist()
        assert all(segments.starts[s] <= place[-1] < segments.ends[s] for s in path)
    # Order does not matter: the flat ids and the segments are a function of the set.
    mirrored = build_trie(sequences[::-1])
    assert mirrored.ids.tolist() == trie.ids.tolist()
    assert mirrored.segments.parents == segments.parents
