"""An engine of the run's own: that it is started, sleeps and is woken when it should, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from burnish_vllm.backend import VLLM
from burnish_vllm.colocated import Colocated
from burnish_vllm.serve import OWNED
from burnish_vllm.server import Server
from conftest import Start, weights_of

import burnish
from burnish.config.sections import SamplingSection
from burnish.errors import ConfigError, ModelError
from burnish.testing import check_backend, tiny_tokenizer

SAMPLING = SamplingSection(max_new_tokens=5, temperature=1.0)


@pytest.fixture
def as_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = SimpleNamespace(is_available=lambda: True)
    monkeypatch.setattr("burnish_vllm.colocated.torch", SimpleNamespace(accelerator=accelerator))


def started_as(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of vLLM, a process that does nothing, beside the server at `url`."""

    async def start(self: Colocated) -> None:
        self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        self._asked.servers = [Server(url)]

    monkeypatch.setattr(Colocated, "_start", start)


def test_the_conformance_kit() -> None:
    check_backend("vllm_colocated").raise_for_failures()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU here, whose memory can be given back")
def test_without_a_gpu_nothing_sleeps() -> None:
    with pytest.raises(ConfigError, match=r"sleep: there is no GPU, .* set `sleep: false`"):
        Colocated(model="tiny")


def test_what_vllm_is_started_with(as_with_a_gpu: None) -> None:
    backend = Colocated(model="tiny", python="other", options=["--max-model-len=64"], dtype="float16", adapters=True)
    command = backend._command
    assert command[:4] == ["other", "-m", "burnish_vllm.serve", "tiny"]
    assert command[command.index("--uds") + 1] == str(backend._socket)
    assert command[-5:] == ["--dtype", "float16", "--enable-sleep-mode", "--enable-lora", "--max-model-len=64"]
    assert backend._folder.path.stat().st_mode & 0o77 == 0  # nobody else gets at the socket


def test_a_run_lets_it_sleep_while_it_trains(
    start: Start, as_with_a_gpu: None, vllm_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers nothing while it sleeps: it is woken for the update that comes before the next batch."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    server = start()
    started_as(server.url, monkeypatch)
    config = {
        "model": {"name": str(vllm_model)},
        "data": {"main": {"source": "given"}},
        "objective": [{"grpo": {}}],
        "rollout": {
            "prompts": 2,
            "group_size": 4,
            "sampling": {"max_new_tokens": 6},
            "backend": {"vllm_colocated": {"model": str(vllm_model), "dtype": "float32"}},
        },
        "train": {"batch_size": 8, "steps": 2},
        "output": str(tmp_path / "run"),
    }

    def slept(completion_ids: list[list[int]], **_: Any) -> list[float]:
        assert not server.sleeps  # judged before it may rest
        return [float(len(ids)) for ids in completion_ids]

    questions = [{"prompt": f"q {number}: "} for number in range(4)]
    burnish.train(config, data=questions, rewards=[slept], tokenizer=tiny_tokenizer())
    assert (server.asked["/sleep"], server.asked["/wake_up"]) == (2, 1)
    assert server.sleeps


def test_it_is_woken_by_a_request_too(start: Start, as_with_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a step that was skipped: the weights are the same, so none are sent."""
    server = start()
    started_as(server.url, monkeypatch)
    backend = Colocated(model="tiny", dtype="float32")

    async def session() -> None:
        await backend.update(0, weights_of(1))
        before = await backend.generate([1, 2], SAMPLING)
        await backend.rest()
        await backend.rest()
        both = await asyncio.gather(*(backend.generate([1, 2], SAMPLING) for _ in range(2)))
        assert both == [before, before]
        await backend.close()

    asyncio.run(session())
    assert (server.asked["/sleep"], server.asked["/wake_up"], server.asked["/update_weights"]) == (1, 1, 1)


def test_it_never_sleeps_where_it_is_told_not_to(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start()
    started_as(server.url, monkeypatch)
    backend = Colocated(model="tiny", dtype="float32", sleep=False)

    async def session() -> None:
        await backend.generate([1, 2], SAMPLING)
        await backend.rest()
        await backend.close()

    asyncio.run(session())
    assert server.asked["/sleep"] == 0


def test_what_vllm_says_when_it_does_not_start(tmp_path: Path) -> None:
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho no such model: $3 >&2\nexit 1\n")
    failing.chmod(0o755)
    with pytest.raises(ModelError, match=r"ended before it was ready\. It said last: no such model: tiny"):
        asyncio.run(Colocated(model="tiny", python=str(failing), sleep=False).generate([1], SAMPLING))
    with pytest.raises(ModelError, match=r"cannot be started: .*vllm_colocated\.python"):
        asyncio.run(Colocated(model="tiny", python=str(tmp_path / "none"), sleep=False).generate([1], SAMPLING))


def test_a_server_on_a_socket(tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    async def ready() -> bool:
        backend = VLLM(servers=[f"unix:{tmp_path}/socket"])
        try:
            return await backend.is_ready()
        finally:
            await backend.close()

    assert not asyncio.run(ready())
    with ThreadingUnixStreamServer(str(tmp_path / "socket"), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        assert asyncio.run(ready())
        server.shutdown()


@pytest.mark.slow
def test_it_ends_with_its_owner() -> None:
    """Whatever becomes of the owner, the other end of its standard input is closed."""
    program = "import time; from burnish_vllm.serve import *; end_with_owner(); print(1, flush=True); time.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {OWNED: "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"1\n"
        process.stdin.close()
        assert process.wait(60) == -signal.SIGTERM
