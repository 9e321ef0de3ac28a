"""One session with an OpenEnv server. Knows its messages; no token and no model.

Over the WebSocket of the server, where a session lives as long as the connection. Out: `{"type": "reset", "data": ...}`, `step`
and `close`. In: `{"type": "observation", "data": {"observation", "reward", "done"}}` or `{"type": "error", ...}`. The server's
plain HTTP endpoints make an environment anew for each request, so that no episode of several turns can be played over them.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any
from urllib.parse import urlsplit

from burnish.errors import ConfigError, InfrastructureError

UNAVAILABLE = ("CAPACITY_REACHED", "FACTORY_ERROR", "SESSION_ERROR")
"""Errors of the server that are nobody's mistake: it may have room later."""
LOCAL = ("localhost", "127.0.0.1", "::1")
BESIDE = ("done", "reward", "metadata")
"""Members of an observation that say nothing to the policy."""


class OpenEnv:
    """A session: `reset` begins it, each turn of the policy's is an action.

    url: of the server (http:// or ws://). action: the member of an action that the policy's text becomes (`message`, `code`,
    ...), or `json`, where the text is the action itself. show: the member of an observation that the policy reads; None for
    its only text, else all of it as JSON. columns: of a row that go into `reset`, where the row has them. connect_time_limit:
    seconds. headers: of the connection; `$NAME` in one stands for an environment variable, which no config and no model card
    then shows: `{authorization: Bearer $OPENENV_KEY}`.
    """

    def __init__(
        self,
        *,
        url: str,
        action: str = "message",
        show: str | None = None,
        columns: Sequence[str] = ("seed",),
        connect_time_limit: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        scheme, there, rest = url.rstrip("/").partition("://")
        if not there or scheme not in ("http", "https", "ws", "wss"):
            raise ValueError(f"url: '{url}' is no address of a server, such as http://127.0.0.1:8000")
        self._url = f"{scheme.replace('http', 'ws')}://{rest.removesuffix('/ws')}/ws"
        self._action, self._show, self._columns = action, show, tuple(columns)
        self._limit, self._headers = connect_time_limit, {name: _filled(name, text) for name, text in (headers or {}).items()}
        host, is_filled = urlsplit(url).hostname, self._headers != dict(headers or {})
        if is_filled and scheme in ("http", "ws") and host not in LOCAL:
            raise ConfigError(f"url: the variables in headers would go to {host} unencrypted; use https")
        self._socket: Any = None

    async def reset(self, **columns: Any) -> str:
        """Connect and begin; what the server shows first."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        try:
            self._socket = await connect(
                self._url, open_timeout=self._limit, additional_headers=self._headers, proxy=None, max_size=None
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            raise InfrastructureError(f"no OpenEnv server answers at {self._url}: {error}") from error
        given = {name: columns[name] for name in self._columns if columns.get(name) is not None}
        return self._shown((await self._ask("reset", given))["observation"]) or ""

    async def step(self, said: str) -> tuple[str | None, float | None, bool]:
        """An action. One that the server refuses as none is told so, and may be tried again."""
        try:
            action = json.loads(said) if self._action == "json" else {self._action: said}
        except (ValueError, RecursionError) as error:
            return f"Error: an action is JSON: {error}", None, False
        try:
            answer = await self._ask("step", action)
        except _Refused as refused:
            return f"Error: {refused}", None, False
        reward = answer.get("reward")
        return self._shown(answer["observation"]), None if reward is None else float(reward), bool(answer.get("done"))

    async def close(self) -> None:
        """End the session and the connection."""
        from websockets.exceptions import ConnectionClosed

        if self._socket is not None:
            try:
                await self._socket.send(json.dumps({"type": "close"}))
            except ConnectionClosed:  # by the server, which is as good
                return
            await self._socket.close()

    async def _ask(self, kind: str, data: Any) -> dict[str, Any]:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(json.dumps({"type": kind, "data": data}))
            answer = json.loads(await self._socket.recv())
        except (ConnectionClosed, asyncio.IncompleteReadError) as error:
            raise InfrastructureError(f"the OpenEnv server at {self._url} closed the connection: {error}") from error
        found: dict[str, Any] = answer.get("data") or {}
        if answer.get("type") == "error":
            code, words = str(found.get("code")), str(found.get("message"))
            if code in UNAVAILABLE:
                raise InfrastructureError(f"the OpenEnv server at {self._url} has no session: {words} ({code})")
            if code == "VALIDATION_ERROR" and kind == "step":
                raise _Refused(words)
            raise RuntimeError(f"the OpenEnv server cannot {kind}: {words} ({code})")
        if "observation" not in found:
            raise RuntimeError(f"the OpenEnv server answered {kind} with {answer.get('type')!r}, not with an observation")
        return found

    def _shown(self, observation: Any) -> str | None:
        """What the policy reads of an observation."""
        if observation is None or isinstance(observation, str):
            return observation
        if self._show is not None:
            if self._show not in observation:
                raise LookupError(f"an observation has {', '.join(observation)}, and no '{self._show}' to show")
            shown = observation[self._show]
            return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
        told = {name: value for name, value in observation.items() if name not in BESIDE}
        texts = [value for value in told.values() if isinstance(value, str)]
        return texts[0] if len(texts) == 1 else json.dumps(told, ensure_ascii=False)


def _filled(name: str, text: str) -> str:
    """A header with the environment's variables in it."""
    try:
        return Template(text).substitute(os.environ)
    except KeyError as error:
        raise ConfigError(f"headers.{name}: there is no environment variable {error.args[0]}") from error
    except ValueError as error:
        raise ConfigError(f"headers.{name}: a `$` that names no variable is written `$$`") from error


class _Refused(Exception):
    """The server takes the action for none."""
