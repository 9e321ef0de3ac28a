"""The table by hand."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.rollouts.__main__ import rows
from tests.benchmarks.rollouts.cases import worth


def result(seconds: list[float], tokens: list[int], peak: float) -> dict[str, Any]:
    return {"steps": [{"seconds": one} for one in seconds], "tokens": tokens, "peak_bytes": peak, "load": 0.5}


def test_a_line_by_hand() -> None:
    # 100 tokens in 2 s and 300 in 3 s: 50 and 100 tokens a second, 75 in the middle. TRL: 25 and 30.
    found = {
        "0": [result([9.0, 2.0], [1, 100], 2e9), result([9.0, 3.0], [1, 300], 3e9)],
        "1": [result([9.0, 4.0], [1, 100], 2e9)],
        "2": [result([9.0, 10.0], [1, 300], 4e9)],
    }
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows("drawing", found)]
    assert cells == [
        ["drawing", "burnish", "2.50", "2.00-3.00", "100-300", "75.0", "3.00 GB", ""],
        ["", "TRL, 1 per device", "4.00", "4.00-4.00", "100-100", "25.0", "2.00 GB", ""],
        ["", "TRL, 2 per device", "10.00", "10.00-10.00", "300-300", "30.0", "4.00 GB", "2.50"],
    ]


def test_what_an_answer_is_worth() -> None:
    assert worth(["1a", [{"role": "assistant", "content": "23"}], ""]) == [0.5, 1.0, 0.0]
