"""The reward against an endpoint on this machine: what the judge reads, what is made of its answers, what fails and how."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from burnish_judge.reward import Judge
from burnish_judge.rubric import filled, said, score_in
from burnish_openai.endpoint import EndpointError
from burnish_openai.testing import FakeEndpoint

import burnish
from burnish.config.options import construct
from burnish.errors import ConfigError, RewardError
from burnish.registry import RewardRecord, load
from burnish.testing import check_reward, tiny_model, tiny_tokenizer


def by_length(messages: list[dict[str, Any]]) -> str:
    """A judge that likes long answers."""
    answer = messages[0]["content"].partition("<answer>\n")[2].partition("\n</answer>")[0]
    return f"It has {len(answer)} letters.\n**Score: {min(len(answer), 10)}**"


def judged(judge: Judge, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
    return asyncio.run(judge(prompts, completions, **columns))


def test_the_conformance_kit() -> None:
    with FakeEndpoint(by_length) as fake:
        check_reward("judge", options={"url": fake.url, "model": "m"}).raise_for_failures()


def test_scores_are_shares_of_the_range() -> None:
    with FakeEndpoint(by_length) as fake:
        judge = construct(load().find(RewardRecord, "judge"), {"url": fake.url, "model": "m", "rubric": "Be long."}, "judge")
        assert judged(judge, ["q"] * 3, ["", "abcd", "a" * 50]) == [0.0, 0.4, 1.0]
    text = fake.requests[0]["messages"][0]["content"]
    assert "Be long." in text
    assert "<question>\nq\n</question>" in text
    assert "from 0 (worst) to 10 (best)" in text
    assert fake.requests[0]["temperature"] == 0.0


ANSWERS = [
    ("Score: 7", 0.6),
    ("score = 7.5 / 10", 0.65),
    ("Score: 2\nNo, on second thoughts:\n- Score: **10**.", 0.9),
    ("I would say Score: 7 maybe", None),
    ("Score: 12", None),
    ("Score: -7", None),
    ("Score - 7", 0.6),
    ("Score:\n7", 0.6),
    ("\n\n **Score**: 7.\n", 0.6),
    ("Score: 0", None),
    ("seven", None),
    ("", None),
]


@pytest.mark.parametrize(("answer", "score"), ANSWERS)
def test_what_a_score_is(answer: str, score: float | None) -> None:
    """Of a range from 1 to 11: N becomes (N - 1) / 10."""
    assert score_in(answer, 1.0, 11.0) == (None if score is None else pytest.approx(score))


def test_a_score_below_zero() -> None:
    """-5 is a quarter of the way from -10 to 10."""
    assert score_in("Score: -5", -10.0, 10.0) == 0.25


def test_an_answer_that_says_nothing_at_length_is_read_at_once() -> None:
    for sign in ("\n", "*", "-", " ", "score", "score\n"):
        began = time.monotonic()
        assert score_in(sign * 20000 + "x", 0.0, 10.0) is None
        assert time.monotonic() - began < 2


def test_no_score_is_none_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with FakeEndpoint(lambda _: "I cannot judge that.") as fake:
        assert judged(Judge(url=fake.url, model="m"), ["q"], ["a"]) == [None]
    assert "gave no score from 0 to 10: ...'I cannot judge that.'" in caplog.text


def test_values_are_not_looked_at_again() -> None:
    assert filled("{a} and {b}", {"a": "{b}", "b": "2"}) == "{b} and 2"
    assert filled('{"json": {a}}', {"a": 1}) == '{"json": 1}'


def test_messages_are_shown_as_text() -> None:
    assert said([{"role": "user", "content": "one"}]) == "one"
    assert said([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]) == "user: one\nassistant: two"
    assert said(["a"]) == "['a']"


def test_columns_in_the_template() -> None:
    with FakeEndpoint(lambda messages: f"Score: {messages[0]['content'].count('x')}") as fake:
        judge = Judge(url=fake.url, model="m", template="{completion} {hint}")
        assert judged(judge, ["", ""], ["xx", "x"], hint=["xxx", ""], other=[1, 2]) == [0.5, 0.1]
        with pytest.raises(RewardError, match=r"the template asks for 'hint'\. .*Known: completion"):
            judged(judge, ["", ""], ["xx", "x"])


def test_an_endpoint_that_refuses() -> None:
    with FakeEndpoint(by_length, [(400, '{"error": "too long"}')]) as fake, pytest.raises(EndpointError, match="400: too long"):
        judged(Judge(url=fake.url, model="m"), ["q"], ["a"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 3.0, "high": 3.0}, "low must be below high"),
        ({"template": "What about {prompt}?"}, "completion. is missing"),
        ({"url": "somewhere"}, "is not an address"),
    ],
)
def test_what_cannot_judge(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        construct(Judge, {"url": "http://localhost/v1", "model": "m", **options}, "judge")


def test_a_run_that_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    with FakeEndpoint(by_length) as fake:
        config = {
            "data": {"main": {"source": "given"}},
            "objective": [{"grpo": {}}],
            "rollout": {
                "prompts": 2,
                "group_size": 2,
                "sampling": {"max_new_tokens": 4},
                "rewards": [{"judge": {"options": {"url": fake.url, "model": "m"}}}],
            },
            "train": {"batch_size": 4, "steps": 2},
            "output": str(tmp_path / "run"),
        }
        questions = [{"prompt": f"q {number}: "} for number in range(4)]
        burnish.train(config, data=questions, model=tiny_model(), tokenizer=tiny_tokenizer(chat=False))
    assert len(fake.requests) == 8
