"""A way for weights from the trainer to the workers of one server that needs no disk in common: a process group of its own.

In: tensors by name at the trainer, who has rank 0. Out: the same at every worker, one at a time, and their receipts back to the
trainer. Used in both environments, so it imports neither burnish nor vLLM. `gloo` works everywhere; `nccl` between GPUs, no two
of the group the same.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore  # type: ignore[attr-defined]

MEETS_S = 30.0  # seconds in which a worker must have reached the trainer, who listens before it tells where
LOOKS_S = 1.0  # seconds after which somebody who waits looks whether the trainer is still there


class Lost(Exception):
    """The trainer is gone in the middle of a transfer, or silent."""


@dataclass(frozen=True)
class Meeting:
    """Where a group meets. world: the workers, and the trainer; timeout: seconds for which one waits for another."""

    address: str
    port: int
    kind: str
    world: int
    timeout: float


@dataclass
class Wire:
    """One end of it. device: on which tensors travel; timeout: seconds for which it waits for a tensor."""

    store: TCPStore
    group: Any
    device: torch.device
    world: int
    timeout: float = 600.0

    @classmethod
    def listen(cls, address: str, kind: str, workers: int, timeout: float) -> tuple[Meeting, TCPStore]:
        """The trainer's first half: where the workers are to come, and nobody by another way."""
        door = socket.create_server((address, 0))  # the store's own would be open at every address of this machine
        limit, port = timedelta(seconds=timeout), int(door.getsockname()[1])
        store = TCPStore(address, port, None, True, limit, wait_for_workers=False, master_listen_fd=door.detach())
        return Meeting(address, port, kind, workers + 1, timeout), store

    @classmethod
    def join(cls, meeting: Meeting, rank: int, device: torch.device, store: TCPStore | None = None) -> Wire:
        """Everybody's second half, which ends when all are there. device: this end's GPU, where they are to talk GPU to GPU;
        store: the trainer's own."""
        limit = timedelta(seconds=meeting.timeout)
        if store is None:
            reached = min(limit, timedelta(seconds=MEETS_S))
            store = TCPStore(meeting.address, meeting.port, None, False, reached, wait_for_workers=False)
            store.set_timeout(limit)
        group, device = _group(meeting, rank, device, PrefixStore("weights", store), limit)
        wire = cls(store, group, device, meeting.world, meeting.timeout)
        wire._share(torch.zeros(1, dtype=torch.uint8, device=device))  # only now they know each other
        return wire

    def send(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """The trainer's tensors, in the order in which they were announced."""
        for _, tensor in weights:
            self._share(_bytes(tensor.to(self.device)))

    def receive(self, announced: list[list[Any]]) -> Generator[tuple[str, Tensor], None, None]:
        """The tensors that `announcement` has listed. All of them are taken off the wire, whoever stops asking; Lost where no
        more will come."""
        left = iter(announced)
        try:
            for one in left:
                yield self._next(*one)
        except Lost:
            left = iter(())
            raise
        finally:
            for one in left:
                self._next(*one)

    def _next(self, name: str, dtype: str, shape: list[int]) -> tuple[str, Tensor]:
        tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=self.device)
        self._share(_bytes(tensor))
        return name, tensor

    def _share(self, tensor: Tensor) -> None:
        """The trainer's bytes, for all. Lost, and the wire is cut, where the trainer is gone: NCCL by itself would wait on."""
        work = self.group.broadcast(tensor, 0)
        began = looked = time.monotonic()
        while not work.is_completed():
            now = time.monotonic()
            if now - looked > LOOKS_S:
                looked = now
                self._look(now - began)
            time.sleep(min(2e-3, (now - began) / 8))  # the longer it takes, the less it matters when the end is seen
        try:
            work.wait()
        except RuntimeError as error:
            raise Lost(f"the weights that were on their way will not come: {error}") from error

    def _look(self, waited: float) -> None:
        """Lost where the trainer, in whose process the store lives, is there no more, or this was waited for too long."""
        said = f"the trainer has sent nothing for {self.timeout:g} s"
        try:
            self.store.check(["trainer"])
            if waited < self.timeout:
                return
        except RuntimeError:
            said = "the trainer ended in the middle of sending its weights"
        self.cut()
        raise Lost(f"{said}; the next one is to meet this server anew")

    def cut(self) -> None:
        """After a failure: whatever still waits for the other ends waits no longer. Of `nccl` it would else end the process."""
        if self.device.type == "cuda":
            self.group.abort()

    def report(self, key: str, rank: int, receipt: Mapping[str, Any]) -> None:
        """A worker's receipt, for the trainer."""
        self.store.set(f"{key}/{rank}", json.dumps(dict(receipt)))

    def reports(self, key: str) -> list[dict[str, Any]]:
        """The receipts of all workers."""
        return [json.loads(self.store.get(f"{key}/{rank}")) for rank in range(1, self.world)]


def _group(meeting: Meeting, rank: int, device: torch.device, store: Any, limit: timedelta) -> tuple[Any, torch.device]:
    """The group, and where what travels in it lies."""
    if meeting.kind == "gloo":
        choice = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        choice._timeout = limit
        if not os.environ.get("GLOO_SOCKET_IFNAME"):  # else it would listen wherever this machine's name leads
            own = meeting.address if rank == 0 else reached_at(f"tcp://{meeting.address}:{meeting.port}")
            choice._devices = [ProcessGroupGloo.create_device(hostname=own)]
        return ProcessGroupGloo(store, rank, meeting.world, choice), torch.device("cpu")
    from torch.distributed import ProcessGroupNCCL

    options = ProcessGroupNCCL.Options()
    options._timeout = limit
    return ProcessGroupNCCL(store, rank, meeting.world, options), device


def announcement(weights: Iterable[tuple[str, Tensor]]) -> list[list[Any]]:
    """Name, dtype and shape of each, as JSON has them."""
    return [[name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in weights]


def reached_at(url: str) -> str:
    """The address under which whoever is at `url` sees this machine."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname, parts.port or 80))  # sends nothing
        return str(probe.getsockname()[0])


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
