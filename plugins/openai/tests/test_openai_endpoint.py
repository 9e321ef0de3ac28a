"""The client against an endpoint on this machine: retries, limits, refusals, and that a key never shows."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from burnish_openai import endpoint
from burnish_openai.endpoint import Client, Endpoint, EndpointError
from burnish_openai.source import Teacher
from burnish_openai.testing import FakeEndpoint

import burnish
from burnish.config.options import construct
from burnish.errors import BurnishError, DataError
from burnish.registry import SourceRecord, load
from burnish.testing import tiny_model, tiny_tokenizer


def echo(messages: list[dict[str, Any]]) -> str:
    return f"you said {messages[-1]['content']}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are not waited for."""
    monkeypatch.setattr(endpoint, "_pause", lambda *_: 0.0)


def ask(fake: FakeEndpoint, *texts: str, **options: Any) -> list[str]:
    async def session() -> list[str]:
        async with Client(Endpoint(url=fake.url, model="m", **options)) as client:
            asked = [client.ask([{"role": "user", "content": text}], temperature=0.5) for text in texts]
            return await asyncio.gather(*asked)

    return asyncio.run(session())


def test_a_question_and_its_answer() -> None:
    with FakeEndpoint(echo) as fake:
        assert ask(fake, "hello", "you") == ["you said hello", "you said you"]
    assert {"model": "m", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.5} in fake.requests
    assert fake.keys == [None, None]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with FakeEndpoint(echo, [(status, "{}")] * 2) as fake:
        assert ask(fake, "hello", retries=2) == ["you said hello"]
    assert len(fake.requests) == 3


def test_not_for_ever() -> None:
    with FakeEndpoint(echo, [(503, '{"error": {"message": "overloaded"}}')] * 5) as fake:
        with pytest.raises(EndpointError, match="failed 3 times, at last with 503: overloaded"):
            ask(fake, "hello", retries=2)
        assert len(fake.requests) == 3


def test_a_refusal_is_final() -> None:
    with FakeEndpoint(echo, [(404, '{"error": {"message": "no model m"}}')]) as fake:
        with pytest.raises(EndpointError, match="refused with 404: no model m"):
            ask(fake, "hello")
        assert len(fake.requests) == 1


@pytest.mark.parametrize("body", ["<html>", "[]", '{"choices": []}', '{"choices": [{"message": null}]}'])
def test_something_else_than_a_completion(body: str) -> None:
    with FakeEndpoint(echo, [(200, body)]) as fake, pytest.raises(EndpointError, match="did not answer with a chat completion"):
        ask(fake, "hello")


def test_nobody_there() -> None:
    with FakeEndpoint(echo) as fake:
        pass
    with pytest.raises(EndpointError, match="failed 2 times, at last with Connect"):
        ask(fake, "hello", retries=1)


def test_one_that_takes_too_long() -> None:
    with FakeEndpoint(echo, delay=0.5) as fake, pytest.raises(EndpointError, match="at last with ReadTimeout"):
        ask(fake, "hello", retries=0, timeout=0.1)


def test_no_more_at_once_than_allowed() -> None:
    with FakeEndpoint(echo, delay=0.03) as fake:
        ask(fake, *map(str, range(9)), concurrency=3)
    assert fake.most == 3


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OUR_KEY", "sk-secret\n")
    caplog.set_level(logging.DEBUG)
    with FakeEndpoint(echo, [(401, '{"error": {"message": "wrong key sk-secret"}}')]) as fake:
        with pytest.raises(EndpointError, match=r"refused with 401: wrong key \[key\]") as error:
            ask(fake, "hello", key="OUR_KEY")
        assert ask(fake, "hello", key="OUR_KEY") == ["you said hello"]
    assert fake.keys == ["Bearer sk-secret"] * 2
    shown = f"{error.value!r} {Endpoint(url=fake.url, model='m', key='OUR_KEY')!r} {caplog.text}"
    assert "secret" not in shown


def test_a_key_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUR_KEY", raising=False)
    with FakeEndpoint(echo) as fake:
        with pytest.raises(EndpointError, match="environment variable OUR_KEY does not hold"):
            ask(fake, "hello", key="OUR_KEY")
        assert fake.requests == []


REFUSALS = [
    ({"url": "api.example"}, "is not an address"),
    ({"url": "http://api.example/v1", "key": "K"}, "unencrypted"),
    ({"concurrency": 0}, "concurrency must be at least 1"),
    ({"retries": -1}, "retries must be at least 0"),
    ({"timeout": 0.0}, "timeout must be above 0"),
]


@pytest.mark.parametrize(("options", "said"), REFUSALS)
def test_what_cannot_be_asked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(EndpointError, match=said):
        Endpoint(**{"url": "https://api.example/v1", "model": "m", **options})


def test_pauses_grow_unless_the_endpoint_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [endpoint._pause(tried, None) for tried in (0, 1, 9)] == [0.5, 1.0, 60.0]
    assert [endpoint._pause(5, said) for said in ("2", "0", "900", "Wed, 21 Oct")] == [2.0, 0.0, 60.0, 16.0]


def write(path: Path, *prompts: Any) -> str:
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return str(path)


def teacher(fake: FakeEndpoint, folder: Path, *prompts: Any, **options: Any) -> Teacher:
    files = {"prompts": write(folder / "prompts.jsonl", *prompts), "answers": str(folder / "answers.jsonl")}
    made = construct(load().find(SourceRecord, "openai"), {"url": fake.url, "model": "m", **files, **options}, "source")
    assert isinstance(made, Teacher)
    return made


def test_a_teacher_is_asked_once(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "b"}]
    expected = [
        {"prompt": "a", "completion": "you said a"},
        {"prompt": chat, "completion": [{"role": "assistant", "content": "you said b"}]},
        {"prompt": "a", "completion": "you said a"},
    ]
    with FakeEndpoint(echo) as fake:
        assert list(teacher(fake, tmp_path, "a", chat, "a", sampling={"max_tokens": 9})) == expected
        assert len(fake.requests) == 2
        assert fake.requests[0]["max_tokens"] == 9
    assert list(teacher(fake, tmp_path, "a", chat, "a", sampling={"max_tokens": 9})) == expected  # nobody listens any more


def test_answers_outlive_a_failure(tmp_path: Path) -> None:
    """The second prompt is refused, the first is kept; a line that was cut short is asked again; other sampling is another."""
    with FakeEndpoint(echo) as fake:
        list(teacher(fake, tmp_path, "a"))
    (tmp_path / "answers.jsonl").open("a").write('{"model": "m", "samp')
    with FakeEndpoint(echo, [(400, "{}")]) as fake:
        with pytest.raises(EndpointError, match="refused with 400"):
            list(teacher(fake, tmp_path, "a", "b"))
        assert [row["completion"] for row in teacher(fake, tmp_path, "a", "b")] == ["you said a", "you said b"]
        assert [request["messages"][0]["content"] for request in fake.requests] == ["b", "b"]
        list(teacher(fake, tmp_path, "a", sampling={"temperature": 0.0}))
        assert len(fake.requests) == 3


def test_whatever_a_teacher_says_is_found_again(tmp_path: Path) -> None:
    """Lines of a file end where JSON's do, not at every character that ends a line of a text."""
    odd = "one\u2028two\u0085three\x0bfour\r\nfive"
    (tmp_path / "own.jsonl").write_text(json.dumps({"prompt": odd}, ensure_ascii=False) + "\r\n", encoding="utf-8", newline="")
    for _ in range(2):
        with FakeEndpoint(echo) as fake:
            made = teacher(fake, tmp_path, prompts=str(tmp_path / "own.jsonl"))
            assert list(made) == [{"prompt": odd, "completion": f"you said {odd}"}]
    assert not fake.requests


def test_prompts_that_are_none(tmp_path: Path) -> None:
    with FakeEndpoint(echo) as fake:
        with pytest.raises(DataError, match=r"prompts\.jsonl, line 2: expected .* got \{\"prompt\": 3\}"):
            list(teacher(fake, tmp_path, "a", 3))
        made = teacher(fake, tmp_path, "a")
    (tmp_path / "prompts.jsonl").unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        list(made)


def test_training_on_what_a_teacher_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    prompts = write(tmp_path / "prompts.jsonl", *(f"q{number}" for number in range(8)))
    with FakeEndpoint(echo) as fake:
        options = {"prompts": prompts, "answers": str(tmp_path / "answers.jsonl"), "url": fake.url, "model": "m"}
        config = {
            "data": {"main": {"source": "openai", "options": options}},
            "objective": [{"sft": {}}],
            "train": {"batch_size": 4, "steps": 2},
            "output": str(tmp_path / "run"),
        }
        result = burnish.train(config, model=tiny_model(), tokenizer=tiny_tokenizer())
    assert result.metrics["loss"] > 0
    assert len(fake.requests) == 8


def test_a_mistake_in_the_config_is_found_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(BurnishError, match="is not an address"):
        Teacher(prompts="p", answers="a", url="nowhere", model="m")
