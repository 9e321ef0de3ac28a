"""The client: messages go out, a text comes back. Tries again what may pass, and says what will not in the endpoint's words.

Nothing is sent before `ask`. The key is read from the environment when a request is made; no message, repr or log holds it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from burnish.errors import BurnishError

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers after which the same request may succeed."""
LONGEST = 60.0  # seconds of one pause
LOCAL = ("localhost", "127.0.0.1", "::1")

Message = Mapping[str, Any]


class EndpointError(BurnishError):
    """An endpoint that cannot be asked, or that did not answer."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and how to ask. What asks has these among its options, by being one."""

    url: str
    """The endpoint, up to the version: `https://HOST/v1`."""
    model: str
    """By the name that the endpoint knows."""
    key: str | None = None
    """The environment variable that holds the key; null where none is asked for."""
    concurrency: int = 8
    """Requests that wait at once."""
    timeout: float = 60.0
    """Seconds of one request."""
    retries: int = 5
    """How often one is tried again."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EndpointError(f"url: '{self.url}' is not an address such as https://HOST/v1")
        if self.key is not None and parts.scheme == "http" and parts.hostname not in LOCAL:
            raise EndpointError(f"url: the key would go to {parts.hostname} unencrypted; use https")
        for name, least in (("concurrency", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise EndpointError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.timeout > 0:
            raise EndpointError(f"timeout must be above 0, got {self.timeout}")

    def headers(self) -> dict[str, str]:
        """With the key, where there is one; EndpointError when the variable is empty."""
        if self.key is None:
            return {}
        found = os.environ.get(self.key, "").strip()
        if not found:
            raise EndpointError(f"{self.url} needs a key, which the environment variable {self.key} does not hold")
        return {"authorization": f"Bearer {found}"}


class Client:
    """Asks an endpoint, within `async with`: several requests at once, never more than it allows."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._free = asyncio.Semaphore(endpoint.concurrency)

    async def __aenter__(self) -> Self:
        local = urlsplit(self.endpoint.url).hostname in LOCAL
        self._http = httpx.AsyncClient(timeout=self.endpoint.timeout, headers=self.endpoint.headers(), trust_env=not local)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, messages: Sequence[Message], **sampling: Any) -> str:
        """The text of the answer. sampling: further fields of the request, such as `temperature` and `max_tokens`.

        EndpointError when the endpoint refuses, or still fails after the last retry.
        """
        body = {"model": self.endpoint.model, "messages": [dict(message) for message in messages], **sampling}
        async with self._free:
            for tried in range(self.endpoint.retries + 1):
                try:
                    answer = await self._http.post(f"{self.endpoint.url.rstrip('/')}/chat/completions", json=body)
                except httpx.TransportError as error:
                    failure, pause = f"{type(error).__name__} {error}".strip(), None
                else:
                    if answer.is_success:
                        return self._text(answer)
                    failure, pause = f"{answer.status_code}: {self._words(answer)}", answer.headers.get("retry-after")
                    if answer.status_code not in PASSING:
                        raise EndpointError(f"{self.endpoint.url} refused with {failure}")
                if tried < self.endpoint.retries:
                    await asyncio.sleep(_pause(tried, pause))
        raise EndpointError(f"{self.endpoint.url} failed {self.endpoint.retries + 1} times, at last with {failure}")

    def _text(self, answer: httpx.Response) -> str:
        try:
            message = answer.json()["choices"][0]["message"]
            return str(message.get("content") or "")
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise EndpointError(
                f"{self.endpoint.url} did not answer with a chat completion: {self._clean(answer.text)[:200]!r}"
            ) from error

    def _words(self, answer: httpx.Response) -> str:
        """What the endpoint says went wrong."""
        try:
            error = answer.json()["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, LookupError, TypeError):
            text = answer.text
        return self._clean(text).strip()[:300] or "no word"

    def _clean(self, text: str) -> str:
        """Without the key, which some endpoints repeat."""
        key = self._http.headers.get("authorization", "").removeprefix("Bearer ")
        return text.replace(key, "[key]") if key else text


def _pause(tried: int, said: str | None) -> float:
    """Seconds until the next try: what the endpoint asks for, else twice as long every time."""
    try:
        return min(max(float(said or ""), 0.0), LONGEST)
    except ValueError:  # nothing was said, or a date
        return min(0.5 * 2.0**tried, LONGEST)
