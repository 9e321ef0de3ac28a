"""The comparison's arithmetic by hand, its backend against its clock, and one run of tiny sizes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import astuple
from pathlib import Path

import pytest
from tests.benchmarks.clocked import Clocked
from tests.benchmarks.simulation_compared import Case, Scale, Seen, compare, foreseen, hidden, markdown

from burnish.config.sections import SamplingSection
from burnish.rollout.simulation import Prediction

SMALL = Scale(hidden=16, layers=1, prompts=2, group=2, mean=5, longest=9, token_s=0.002, row_s=0.0, batches=3, warm=1)


def test_what_is_hidden_by_hand() -> None:
    # Apart: 5 s, of which the trainer waits 2.2 and trains 2.8; .2 of the waiting is the transfer, so drawing takes 2 s. Beside
    # each other a batch takes 3.5 s, of which it waits .7 and trains 2.8: of the waiting .2 is the transfer, and .5 of the 2 s
    # of drawing are left: three quarters are hidden.
    apart, beside = Seen(5.0, 0.0, 0.44, 0.6, 0.0), Seen(3.5, 0.0, 0.2, 0.5, 1.0)
    assert hidden(apart, beside, 0.2) == pytest.approx(0.75)
    table = markdown({"one after the other": (apart, apart, 0.2), "beside, 1 behind": (beside, beside, 0.2)})
    assert table.splitlines()[-1] == "| beside, 1 behind | 2.000 | 2.800 | 0.200 | 75% | 75% |"


def test_the_first_batches_are_left_out() -> None:
    # Of 10 s and 100 tokens, 4 s and 20 tokens are the first two batches': 6 s for 3 batches of 80 tokens in all. The trainer
    # waited 5 s, 3 of them at first; 100 tokens at a mean of 1.6 versions are 160, less 20 x 1.
    whole = Prediction(10.0, 5, 100, 1.6, 2, 0.5, 0.2, 0)
    first = Prediction(4.0, 2, 20, 1.0, 1, 0.75, 0.5, 0)
    assert astuple(foreseen(whole, first)) == pytest.approx((2.0, 80 / 6, 2 / 6, 0.0, 140 / 80))


def test_the_backend_takes_the_time_that_it_is_told() -> None:
    # Six answers of 10 tokens, four at once: 10 steps of 1 + 4 ms, then 10 of 1 + 2 ms.
    async def draw() -> float:
        backend = Clocked(token_s=0.001, row_s=0.001, rows=4, mean=10.0, spread=0.0)
        began = time.perf_counter()
        await asyncio.gather(*(backend.generate([1], SamplingSection(), seed) for seed in range(6)))
        assert backend.busy_s == pytest.approx(0.08)
        return time.perf_counter() - began

    assert 0.079 < asyncio.run(draw()) < 0.2


def test_a_tiny_run_beside_what_is_said_of_it(tmp_path: Path) -> None:
    run, told, send_s = compare(Case("beside", {"max_staleness": 1}), SMALL, tmp_path, 0.001)
    assert send_s == 0.001
    assert run.tokens_per_s > 0
    assert run.staleness == told.staleness == 1.0
