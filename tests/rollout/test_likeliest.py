"""What a sampler reports beside what it draws: asked for where a loss needs it, kept through turns, journal and rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from played import Scripted, prompt

from burnish.config.sections import DrawnSection, ReportedSection, RolloutSection, SamplingSection
from burnish.data.detect import convert, detect_format, row_number
from burnish.data.units import LIKELIEST_IDS, LIKELIEST_LOGPS
from burnish.errors import ConfigError, ModelError
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.rollout.contract import Capabilities, Episode, Span
from burnish.rollout.journal import Journal
from burnish.rollout.likeliest import asked_for, check_likeliest, reported
from burnish.rollout.play import GREEDY, OPPONENT, Player
from burnish.rollout.sampler import Completion
from burnish.rollout.selection import id_row
from burnish.rollout.single_turn import SingleTurn
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.testing.conformance.rows import units_of

TOPK = {"dppo": {"divergence": "topk_kl", "top_k": 3}}


def said(ids: list[int], likeliest: list[list[int]]) -> Completion:
    """An answer, with log-probabilities of which float32 has no finite decimal."""
    logps = [[-1 / (3 + place) for place, _ in enumerate(row)] for row in likeliest]
    return Completion(ids, [-1 / 3] * len(ids), True, [], likeliest, logps)


def two_turns() -> Trajectory:
    """The policy says 7 8, is told 50 51, and says 9."""
    turns = said([7, 8], [[7, 3, 1], [2, 8, -1]]), said([9], [[1, 2, 3]])
    spans = (
        Span(ids=(1, 2)),
        Span(ids=(7, 8), sampled=turns[0]),
        Span(ids=(50, 51)),
        Span(ids=(9,), sampled=turns[1]),
    )
    return Trajectory.of(Origin("main", 4, 0, 0, 0), Episode(spans=spans), version=7)


def test_what_the_environment_wrote_has_none() -> None:
    one = two_turns()
    nothing, third = [-1, -1, -1], np.float32(-1 / 3)
    assert one.tokens[LIKELIEST_IDS].tolist() == [nothing, nothing, [7, 3, 1], [2, 8, -1], nothing, nothing, [1, 2, 3]]
    assert one.tokens[LIKELIEST_LOGPS][:3, 0].tolist() == [0, 0, third]
    assert one.tokens["behaviour"].tolist() == [0, 0, third, third, 0, 0, third]
    plain = Trajectory.of(one.origin, Episode(spans=(Span(ids=(1,)), Span(ids=(7,), sampled=said([7], [])))), version=7)
    assert LIKELIEST_IDS not in plain.tokens


def test_the_journal_holds_it_to_the_bit_beside_rows_without(tmp_path: Path) -> None:
    one = two_turns()
    bare = replace(one, tokens={"behaviour": one.tokens["behaviour"]})
    path = Journal(tmp_path).append(0, [one, bare])
    found, other = Journal(tmp_path).read(0) or []
    for name in (LIKELIEST_IDS, LIKELIEST_LOGPS):
        assert found.tokens[name].dtype == np.float32
        np.testing.assert_array_equal(found.tokens[name], one.tokens[name])
    assert found.unit().id == one.unit().id
    assert other.tokens.keys() == {"behaviour"}
    held = pa.ipc.open_file(path.read_bytes()).read_all()[f"tokens.{LIKELIEST_IDS}"].to_pylist()
    assert held[0][2] == [7, 3, 1]
    assert held[1] is None


def test_rows_of_it_are_read_back_as_data() -> None:
    one = two_turns()
    row = json.loads(json.dumps(id_row(one)))
    assert row[LIKELIEST_IDS] == [[7, 3, 1], [2, 8, -1], [-1, -1, -1], [-1, -1, -1], [1, 2, 3]]
    assert LIKELIEST_IDS not in id_row(replace(one, tokens={"behaviour": one.tokens["behaviour"]}))
    [unit] = units_of([row], load())
    [sequence] = unit.sequences
    for name in (LIKELIEST_IDS, LIKELIEST_LOGPS):
        np.testing.assert_array_equal(sequence.tokens[name], one.tokens[name])


@pytest.mark.parametrize(
    ("columns", "wrong"),
    [
        ({LIKELIEST_IDS: [[1], [2]]}, r"found \[1\] in 'likeliest_ids', none in 'likeliest_logps'"),
        ({LIKELIEST_IDS: [[1], [2, 3]], LIKELIEST_LOGPS: [[0], [0, 0]]}, r"found \[1, 2\] in"),
        ({LIKELIEST_IDS: [[1]], LIKELIEST_LOGPS: [[0]]}, r"list of numbers per completion id \(2\) in 'likeliest_ids'"),
        ({LIKELIEST_IDS: [1, 2], LIKELIEST_LOGPS: [0, 0]}, "a list of numbers per completion id"),
    ],
)
def test_rows_that_do_not_fit_are_refused(columns: dict[str, Any], wrong: str) -> None:
    rows = [{"prompt_ids": [5], "completion_ids": [7, 8], "advantages": 1.0, **columns}]
    with pytest.raises(ValueError, match=wrong):
        convert(detect_format(rows, load()), rows[0], row_number(0))


class Reporting(Scripted):
    """Reports ids 0, 1, ... as the likeliest; remembers how it was asked."""

    capabilities = Capabilities(likeliest=True)

    def __init__(self, silent: bool = False) -> None:
        super().__init__(lambda ids, seed: [ids[-1], 5])
        self.settings: list[SamplingSection] = []
        self.silent = silent

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        self.settings.append(sampling)
        found: Completion = await super().generate(ids, sampling, seed)
        count = 0 if self.silent else getattr(sampling, "likeliest", 0)
        return replace(found, likeliest_ids=[[*range(count)]] * 2, likeliest_logps=[[-2.0] * count] * 2) if count else found


def player(backend: Any, **options: Any) -> Player:
    return Player({"main": SingleTurn()}, backend, None, DrawnSection(max_new_tokens=4, temperature=0.7), seed=3, **options)


def test_only_what_is_trained_on_is_asked_for_it() -> None:
    backend = Reporting()
    plain = player(backend).play([prompt(0)], [0], version=1)
    assert type(backend.settings[0]) is DrawnSection
    assert LIKELIEST_IDS not in plain[0].tokens
    backend.settings.clear()
    made = player(backend, likeliest=3).play([prompt(0)], [0, GREEDY, OPPONENT], version=1)
    assert [getattr(one, "likeliest", 0) for one in backend.settings] == [3, 0, 0]
    assert [LIKELIEST_IDS in one.tokens for one in made] == [True, False, False]
    assert made[0].tokens[LIKELIEST_IDS][made[0].own].tolist() == [[0, 1, 2]] * 2
    assert backend.settings[0] == ReportedSection(max_new_tokens=4, temperature=0.7, likeliest=3)


def test_a_backend_that_says_that_it_reports_and_does_not() -> None:
    with pytest.raises(ModelError, match="asked for the 3 likeliest tokens beside each of 2, and gave 0 lists of none"):
        player(Reporting(silent=True), likeliest=3).play([prompt(0)], [0], version=1)


def objective(*given: Any) -> Objective:
    return Objective.parse(given, load())


def test_as_many_as_the_losses_on_rollouts_compare_with() -> None:
    section, more = RolloutSection(), {"dppo": {"divergence": "topk_tv", "top_k": 7, "source": "buffer", "name": "replayed"}}
    assert asked_for(objective("grpo", {"dppo": {"divergence": "binary_kl"}}), section) == 0
    assert asked_for(objective("grpo", TOPK, more), section) == 3
    assert asked_for(objective(TOPK, more), RolloutSection(sources=("main", "buffer"))) == 7


def test_a_backend_that_cannot_is_refused() -> None:
    section = RolloutSection(backend={"scripted": {}})
    check_likeliest(objective("grpo"), section, Scripted(lambda ids, seed: [1]))
    check_likeliest(objective("grpo", TOPK), section, Reporting())
    message = r"objective\.1: dppo compares with the 3 likeliest tokens of the sampler, which the backend 'scripted' does not"
    with pytest.raises(ConfigError, match=message):
        check_likeliest(objective("grpo", TOPK), section, Scripted(lambda ids, seed: [1]))


def test_settings_stay_what_they_are() -> None:
    given = DrawnSection(max_new_tokens=9, temperature=0.5, top_p=0.9, stop=("x",))
    asked = reported(given, 4)
    assert getattr(asked, "likeliest", 0) == 4
    assert {name: getattr(asked, name) for name in type(given).model_fields} == given.model_dump()
