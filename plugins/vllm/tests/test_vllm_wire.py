"""The wire, when its other end is no more: whoever waits is told, and is free for the next trainer."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from burnish_vllm import wire
from burnish_vllm.exchange import write_weights
from burnish_vllm.server import Server, Unreachable
from burnish_vllm.wire import Lost, Wire
from torch import Tensor

CPU = torch.device("cpu")
ANNOUNCED: list[list[Any]] = [["one", "float32", [2]], ["two", "float32", [3]]]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    """A thread for the other end; nobody looks for long."""
    monkeypatch.setattr(wire, "LOOKS_S", 0.05)
    with ThreadPoolExecutor(1) as pool:
        yield pool


def met(worker: ThreadPoolExecutor, timeout: float = 20.0) -> tuple[Wire, Wire]:
    """Both ends: the trainer's, and a worker's."""
    meeting, store = Wire.listen("127.0.0.1", "gloo", 1, timeout)
    joining = worker.submit(Wire.join, meeting, 1, CPU)
    return Wire.join(meeting, 0, CPU, store), joining.result(10)


def received(end: Wire) -> dict[str, Tensor]:
    return dict(end.receive(ANNOUNCED))


def lost(coming: Future[Any]) -> str:
    """What is said within a few seconds."""
    with pytest.raises(Lost) as error:
        coming.result(5)
    return str(error.value)


def listening() -> set[str]:
    """The addresses, as the kernel writes them, at which this process can be reached over TCP."""
    own = {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/self/net/{kind}").read_text().splitlines()[1:]]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in own}


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="asks Linux")
def test_nobody_else_reaches_it(worker: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends listen at the address under which they know each other, here the loopback."""
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    before = listening()
    ours, theirs = met(worker)
    assert listening() - before <= {"0100007F"}
    assert "0100007F" in listening()
    coming = worker.submit(received, theirs)
    ours.send([("one", torch.ones(2)), ("two", torch.ones(3))])
    assert coming.result(5)["two"].tolist() == [1.0] * 3


def test_a_trainer_that_ends_in_the_middle(worker: ThreadPoolExecutor) -> None:
    """After the first of two tensors; nobody asks the wire for the second one twice."""
    ours, theirs = met(worker)
    coming = worker.submit(received, theirs)
    ours.send([("one", torch.ones(2))])
    del ours
    gc.collect()
    assert "will not come" in lost(coming) or "ended in the middle" in lost(coming)


def test_a_trainer_that_says_nothing(worker: ThreadPoolExecutor) -> None:
    ours, theirs = met(worker)
    theirs.timeout = 0.2
    asked = MagicMock(side_effect=theirs._share)
    theirs._share = asked  # type: ignore[method-assign]
    began = time.monotonic()
    assert lost(worker.submit(received, theirs)).startswith("the trainer has sent nothing for 0.2 s")
    assert time.monotonic() - began < 2
    assert asked.call_count == 1  # the second tensor is not waited for
    ours.send([("one", torch.ones(2))])  # so that the group has nothing to wait for when it ends


def test_where_the_group_itself_never_finds_out(worker: ThreadPoolExecutor) -> None:
    """As NCCL: the trainer's process is gone, with the store that it held, and what was begun goes on for ever; it is cut."""
    meeting, store = Wire.listen("127.0.0.1", "gloo", 1, 20.0)
    known = wire.TCPStore("127.0.0.1", meeting.port, None, False, wait_for_workers=False)
    group = MagicMock()
    group.broadcast.return_value.is_completed.return_value = False
    end = Wire(known, group, torch.device("cuda"), 2, 20.0)
    coming = worker.submit(end._share, torch.zeros(1))
    with pytest.raises(TimeoutError):
        coming.result(0.3)  # while it is there it is waited for
    del store
    gc.collect()
    assert lost(coming).startswith("the trainer ended in the middle of sending its weights")
    assert group.abort.call_count == 1


def test_a_trainer_that_nobody_reaches(worker: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended after it said where it is."""
    monkeypatch.setattr(wire, "MEETS_S", 0.2)
    meeting, store = Wire.listen("127.0.0.1", "gloo", 1, 20.0)
    del store
    gc.collect()
    with pytest.raises(RuntimeError):
        worker.submit(Wire.join, meeting, 1, CPU).result(5)


def test_a_server_that_lets_go_of_the_wire_is_tried_again_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker's end breaks before it says anything over HTTP."""

    async def post(*_: Any) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    monkeypatch.setattr(Server, "_post", post)
    end = MagicMock(**{"send.side_effect": Lost("closed by peer")})
    server, file = Server("http://127.0.0.1:1", tag="run:0", transfer="gloo", wire=end), tmp_path / "one.safetensors"
    write_weights(tmp_path, "one", {"one": torch.zeros(1)})
    with pytest.raises(Unreachable, match=r"let go of the wire over which it was sent weights \(closed by peer\)"):
        asyncio.run(server._transfer(MagicMock(), file, file))
    assert (server.tag, end.cut.call_count) == (None, 1)
