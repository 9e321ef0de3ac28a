"""The two runs that are compared, and what is said of them."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.asynchronous_learns import BESIDE, STALENESS, TURNS, cells, config, page

from burnish.config import load_config


def test_both_runs_are_the_quickstart_but_for_what_draws(tmp_path: Path) -> None:
    turns, beside = (config(tmp_path, 30, backend) for backend in (None, {"servers": ["http://127.0.0.1:1"]}))
    loaded = load_config(beside)
    assert loaded.rollout is not None
    assert loaded.rollout.max_staleness == STALENESS
    [name] = loaded.rollout.backend
    assert name == "vllm"
    for key in ("backend", "max_staleness"):
        del beside["rollout"][key]
    assert beside == turns


def test_what_is_said_of_them() -> None:
    """Rewards 0, .1, ... .9: means of the first and last five .2 and .7; of 40 s between batches the trainer waited 10."""
    one = {
        "name": BESIDE,
        "steps": 10,
        "rewards": [step / 10 for step in range(10)],
        "before": 0.2,
        "after": 0.66,
        "behind": [0.0, 1.0, 2.0],
        "furthest": [0.0, 1.0, 2.0],
        "apart": [0.01, 0.03],
        "waits": {"trainer": [4.0, 6.0], "backend": [1.0, 1.0]},
        "between": [10.0, 30.0],
        "seconds": 61.4,
    }
    row = [BESIDE, "10", "0.20", "0.70", "0.20", "0.66", "1.00", "2", "0.0200", "25 %", "5 %", "61"]
    assert list(cells(one)) == row
    never = {"behind": [], "furthest": [], "waits": {"trainer": [], "backend": []}, "between": []}
    assert list(cells({**one, **never, "name": TURNS}))[6:11] == ["0.00", "0", "0.0200", "", ""]
    assert f"| {' | '.join(row)} |" in page([one], "curve.png")
