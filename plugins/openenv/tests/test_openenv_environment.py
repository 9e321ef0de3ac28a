"""Sessions with a small server on the loopback that speaks OpenEnv's messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from burnish_openenv.environment import OpenEnv

from burnish.errors import ConfigError, InfrastructureError
from burnish.registry import EnvironmentRecord, load
from burnish.rollout.contract import Episode, Task
from burnish.rollout.environments.classes import environment_of
from burnish.rollout.sampler import Completion
from burnish.testing import tiny_tokenizer

pytest.importorskip("websockets", reason="websockets is not installed")
TOKENIZER = tiny_tokenizer()


class Server:
    """Counts down from the seed of `reset` by the number in each message; `sessions` holds what every session was sent."""

    def __init__(self, room: int = 99) -> None:
        self.room = room
        self.sessions: list[list[Any]] = []
        self.headers: Any = {}

    async def __call__(self, socket: Any) -> None:
        heard: list[Any] = []
        self.headers = socket.request.headers
        self.sessions.append(heard)
        left = 0
        async for text in socket:
            message = json.loads(text)
            heard.append(message)
            kind, data = message["type"], message.get("data", {})
            if kind == "close":
                return
            if len(self.sessions) > self.room:
                await self.error(socket, "CAPACITY_REACHED", "no room")
                continue
            if kind == "reset":
                left = data.get("seed", 3)
                await self.show(socket, left, None)
                continue
            said = data.get("message", "")
            if said == "die":
                return
            if said == "crash":
                await self.error(socket, "EXECUTION_ERROR", "division by zero")
            elif not said.isdigit():
                await self.error(socket, "VALIDATION_ERROR", "a number, please")
            else:
                left -= int(said)
                await self.show(socket, left, 1.0 if left == 0 else -0.5)

    async def show(self, socket: Any, left: int, reward: float | None) -> None:
        data = {"observation": {"text": f"{left} left", "left": left}, "reward": reward, "done": left <= 0}
        await socket.send(json.dumps({"type": "observation", "data": data}))

    async def error(self, socket: Any, code: str, message: str) -> None:
        await socket.send(json.dumps({"type": "error", "data": {"message": message, "code": code}}))


def play(server: Server, *turns: str, seed: int | None = None, **options: Any) -> Episode:
    """An episode with the server; the policy says these turns."""
    script = list(turns)

    async def generate(ids: Sequence[int]) -> Completion:
        said = TOKENIZER(script.pop(0) + "<|im_end|>", add_special_tokens=False)["input_ids"]
        return Completion(said, [-1.0] * len(said), finished=True)

    async def session() -> Episode:
        from websockets.asyncio.server import serve

        async with serve(server, "127.0.0.1", 0) as running:
            port = running.sockets[0].getsockname()[1]
            given = {"url": f"http://127.0.0.1:{port}", **options}
            environment = environment_of(load().find(EnvironmentRecord, "openenv"), given, "openenv")
            prompt = ({"role": "user", "content": "Count."},)
            task = Task(ids=(1,), tokenizer=TOKENIZER, prompt=prompt, columns={} if seed is None else {"seed": seed})
            episode: Episode = await environment(task, generate)
            return episode

    return asyncio.run(asyncio.wait_for(session(), 20))


def test_a_session() -> None:
    server = Server()
    episode = play(server, "2", "3", seed=5)
    assert [span.reward for span in episode.spans] == [None, -0.5, None, 1.0]
    assert (episode.outcome, episode.reward) == ("ok", None)
    assert "Count.\n\n5 left" in TOKENIZER.decode(episode.spans[0].ids)
    assert episode.said[1] == {"role": "user", "content": "3 left"}
    [heard] = server.sessions
    assert heard == [
        {"type": "reset", "data": {"seed": 5}},
        {"type": "step", "data": {"message": "2"}},
        {"type": "step", "data": {"message": "3"}},
        {"type": "close"},
    ]


def test_actions_and_observations_in_other_forms() -> None:
    server = Server()
    episode = play(server, "not JSON", "[" * 2000, '{"message": "3"}', action="json", show="left")
    assert "Count.\n\n3<|im_end|>" in TOKENIZER.decode(episode.spans[0].ids)
    assert [one["content"][:24] for one in episode.said if one["role"] == "user"] == ["Error: an action is JSON"] * 2
    assert episode.outcome == "ok"
    assert server.sessions[0][0] == {"type": "reset", "data": {}}


def test_what_the_server_refuses_may_be_tried_again() -> None:
    episode = play(Server(), "three", "3")
    assert [span.reward for span in episode.spans] == [None, None, None, 1.0]
    assert episode.said[1]["content"] == "Error: a number, please"


@pytest.mark.parametrize(("turn", "room", "said"), [("die", 99, "closed the connection"), ("3", 0, "no room")])
def test_what_is_nobodys_mistake(turn: str, room: int, said: str) -> None:
    with pytest.raises(InfrastructureError, match=said):
        play(Server(room), turn)


def test_no_server() -> None:
    with pytest.raises(InfrastructureError, match="no OpenEnv server answers"):
        play(Server(), "3", url="http://127.0.0.1:9")


def test_an_environment_that_breaks() -> None:
    with pytest.raises(RuntimeError, match="cannot step: division by zero"):
        play(Server(), "crash")
    with pytest.raises(LookupError, match="no 'board' to show"):
        play(Server(), "3", show="board")


def test_a_key_is_sent_and_stands_in_no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_KEY", "hush")
    server = Server()
    assert play(server, "3", headers={"authorization": "Bearer $OPENENV_KEY", "price": "1$$"}).outcome == "ok"
    assert [server.headers[name] for name in ("authorization", "price")] == ["Bearer hush", "1$"]


@pytest.mark.parametrize(
    ("headers", "url", "said"),
    [
        ({"key": "$NOBODY_KNOWS"}, "http://127.0.0.1:9", "headers.key: there is no environment variable NOBODY_KNOWS"),
        ({"key": "1$"}, "http://127.0.0.1:9", "is written"),
        ({"key": "$HOME"}, "http://example.org", "would go to example.org unencrypted"),
    ],
)
def test_headers_that_cannot_be(headers: dict[str, str], url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        OpenEnv(url=url, headers=headers)


def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="no address of a server"):
        play(Server(), "3", url="localhost:8000")
