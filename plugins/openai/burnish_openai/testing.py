"""An endpoint in this process, for tests: it answers what a function says, and can fail first. Part of the public interface."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = Callable[[list[dict[str, Any]]], str]


class FakeEndpoint:
    """Within `with`, listens on a free port of this machine.

    answer: from messages to the text. failures: (status, body) of the first answers. delay: seconds before each. requests: all
    bodies; keys: what each request was authorised with; most: how many waited at once.
    """

    def __init__(self, answer: Answer, failures: Iterable[tuple[int, str]] = (), delay: float = 0.0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most = self._now = 0
        self._answer, self._failures, self._delay, self._lock = answer, list(failures), delay, threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()

    def respond(self, body: dict[str, Any], key: str | None) -> tuple[int, str]:
        """Status and body of an answer."""
        with self._lock:
            self.requests.append(body)
            self.keys.append(key)
            failure = self._failures.pop(0) if self._failures else None
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._delay)
        with self._lock:
            self._now -= 1
        if failure is not None:
            return failure
        message = {"role": "assistant", "content": self._answer(body["messages"])}
        return 200, json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})


def _handler(fake: FakeEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, text = fake.respond(body, self.headers.get("authorization"))
            self.send_response(status)
            self.send_header("content-length", str(len(text.encode())))
            if status == 429:
                self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Quietly."""

    return Handler
