"""The backend: several vLLM servers as one. In: token ids and new weights. Out: completions, and receipts for what is loaded.

Requests go to the servers in turn. One that cannot be reached is left out for a while and tried again; one that comes back with
other weights is sent the last ones before it is asked anything.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import httpx
import torch

from burnish.config.sections import SamplingSection
from burnish.errors import ConfigError, ModelError
from burnish.rollout.contract import Capabilities, Receipt
from burnish.rollout.sampler import Completion
from burnish_vllm.exchange import write_adapter, write_weights
from burnish_vllm.ipc import is_here
from burnish_vllm.owned import OwnFolder, remove_left
from burnish_vllm.server import START, OtherWeights, Server, Unreachable

if TYPE_CHECKING:
    from torch import Tensor

HERE = "http://127.0.0.1:8000"
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before a server is tried again, the last one from then on

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass
class _Session:
    """What belongs to one event loop."""

    client: httpx.AsyncClient
    restoring: dict[str, asyncio.Lock] = field(default_factory=dict)


@dataclass(frozen=True)
class _Sent:
    """The weights that were last sent, kept for servers that come back without them. path: a file, or an adapter's folder."""

    path: Path
    tag: str
    receipt: Receipt


def check_transfer(transfer: str, servers: Sequence[str], where: str) -> None:
    """ConfigError where weights cannot go to the servers in this way. where: the key that names it."""
    if transfer in ("nccl", "ipc") and not torch.cuda.is_available():
        other = "`gloo` or `file`" if transfer == "nccl" else "`file`"
        raise ConfigError(f"{where}: `{transfer}` takes weights from a GPU, and there is none; use {other}")
    if transfer == "ipc" and (elsewhere := [url for url in servers if not is_here(url)]):
        raise ConfigError(
            f"{where}: `ipc` lends memory of this machine's GPUs, and {elsewhere[0]} may be another machine; use `nccl` or "
            "`file`, or the address 127.0.0.1 where it is this one"
        )


class VLLM:
    """vLLM servers over HTTP.

    servers: their addresses, `http://HOST:PORT` or `unix:PATH`. dtype: in which they hold weights, as their `--dtype` says.
    transfer: how weights go there: as a file in `folder`, over the network (`gloo`; `nccl` from GPU to GPUs, none of them the
    same), or in memory of the GPUs that servers on this machine share with this process (`ipc`). folder: where weights are
    left, for `file` and for adapters on a disk that the servers see too; none for a temporary one. adapters: whether a LoRA
    adapter is sent alone, to servers started with `--enable-lora`; else it is sent merged into all weights. in_flight: whether
    completions go on when new weights come; else they are waited for. patience: seconds for which a server that is gone is
    waited for. timeout: seconds of one request.
    """

    def __init__(
        self,
        *,
        servers: list[str] = [HERE],  # noqa: B006 - shown in configs as it is, and never changed
        dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
        transfer: Literal["file", "gloo", "nccl", "ipc"] = "file",
        folder: str | None = None,
        adapters: bool = False,
        in_flight: bool = False,
        patience: float = 120.0,
        timeout: float = 600.0,
    ) -> None:
        if not servers:
            raise ValueError("servers: name at least one")
        check_transfer(transfer, servers, "rollout.backend.vllm.transfer")
        # Other threads, where transfers run, would begin with the first GPU.
        device = torch.device("cuda", torch.cuda.current_device()) if transfer == "nccl" else torch.device("cpu")
        self.servers = [Server(url.rstrip("/"), transfer=transfer, timeout=timeout, device=device) for url in servers]
        self.capabilities = Capabilities(
            adapters=adapters,
            in_flight=in_flight,
            likeliest=True,
            dtype=dtype,
            replicas=len(servers),
            on_device=transfer == "ipc",
        )
        self.patience, self.timeout = patience, timeout
        self._around, self._private = Path(folder or tempfile.gettempdir()), not folder
        self._own: OwnFolder | None = None  # in it, from the first weights on
        self._run = uuid.uuid4().hex[:8]  # tells the weights of this run from those of others on the same servers
        self._sent: _Sent | None = None
        self._old: list[Path] = []  # what was sent before, and may still be in use
        self._sessions: dict[asyncio.AbstractEventLoop, _Session] = {}
        self._turn = 0
        self._told = 0.0  # until then the user knows that a server is waited for

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """One completion, from the server whose turn it is, or the next one that can be reached."""
        self._turn += 1
        first, in_flight = self._turn, self.capabilities.in_flight
        deadline, tried = time.monotonic() + self.patience, 0
        while True:
            server = self.servers[(first + tried) % len(self.servers)]
            try:
                return await server.complete(self._session.client, ids, sampling, seed, in_flight)
            except OtherWeights as error:
                await self._pause(0, deadline, error)
                await self._restore(server)
            except Unreachable as error:
                tried += 1
                await self._pause(tried // len(self.servers), deadline, error)

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """Every server loads the weights; the receipt that all of them gave."""
        lendable = weights if self.capabilities.on_device else None
        return await self._send(version, partial(write_weights, weights=weights), lendable)

    async def load_adapter(self, version: int, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Receipt:
        """Every server loads the adapter; the receipt that all of them gave."""
        return await self._send(version, partial(write_adapter, weights=weights, config=config))

    async def _send(
        self, version: int, write: Callable[[Path, str], Path], weights: Mapping[str, Tensor] | None = None
    ) -> Receipt:
        """weights: of the trainer's own, to be lent as they are; servers that come back later get what was written."""
        tag = f"{self._run}:{version}"
        path = await asyncio.to_thread(lambda: write(self._folder(), f"{self._run}-{version}-{uuid.uuid4().hex[:8]}"))
        receipts = await asyncio.gather(*(self._push(server, path, tag, weights) for server in self.servers))
        for server, receipt in zip(self.servers, receipts, strict=True):
            if receipt != receipts[0]:
                raise ModelError(f"{server.url} loaded other weights than {self.servers[0].url}")
        before, self._sent = self._sent, _Sent(path, tag, receipts[0])
        self._old += [before.path] if before is not None else []
        self._drop([path for path in self._old if not any(server.uses(path) for server in self.servers)])
        return receipts[0]

    def _folder(self) -> Path:
        """Where weights are left; what runs that were killed have left beside it is removed."""
        if self._own is None:
            self._own = OwnFolder(self._around, private=self._private)
        else:
            remove_left(self._around)
        return self._own.path

    def _drop(self, paths: list[Path]) -> None:
        self._old = [path for path in self._old if path not in paths]
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    async def is_ready(self) -> bool:
        """Whether all servers answer."""
        return all([await server.is_ready(self._session.client) for server in self.servers])

    async def sleep(self) -> None:
        """Let all servers give their devices' memory back."""
        await asyncio.gather(*(server.sleep(self._session.client) for server in self.servers))

    async def wake(self) -> None:
        """Let them take it again."""
        await asyncio.gather(*(server.wake(self._session.client) for server in self.servers))

    async def close(self) -> None:
        """Let the connections go, and the files."""
        for loop, session in self._sessions.items():
            if loop is asyncio.get_running_loop():
                await session.client.aclose()
        self._sessions.clear()
        if self._own is not None:
            self._own.remove()
            self._own = None

    async def _push(
        self, server: Server, path: Path, tag: str, weights: Mapping[str, Tensor] | None = None
    ) -> Receipt:
        """Weights for one server, waiting for it where it is gone."""

        async def push() -> Receipt:
            receipts = path.parent / f"{path.stem}-{uuid.uuid4().hex[:8]}"
            try:
                if path.is_dir():
                    return await server.load_adapter(self._session.client, path, receipts, tag)
                return await server.push(self._session.client, path, receipts, tag, self.capabilities.in_flight, weights)
            finally:
                shutil.rmtree(receipts, ignore_errors=True)

        return await self._patiently(push)

    async def _restore(self, server: Server) -> None:
        """The last weights for a server that came back without them."""
        async with self._session.restoring.setdefault(server.url, asyncio.Lock()):
            if self._sent is None:
                return
            with suppress(OtherWeights):
                await self._patiently(lambda: server.require_all(self._session.client))
                return  # somebody else did it while this waited
            log.warning("%s came back with other weights; it is sent those of %s again", server.url, self._sent.tag)
            server.tag = None
            if await self._push(server, self._sent.path, self._sent.tag) != self._sent.receipt:
                raise ModelError(f"{server.url} came back, was sent the last weights again, and loaded others")

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        deadline, tried = time.monotonic() + self.patience, 0
        while True:
            try:
                return await ask()
            except OtherWeights:
                raise
            except Unreachable as error:
                tried += 1
                await self._pause(tried, deadline, error)

    async def _pause(self, rounds: int, deadline: float, error: Unreachable) -> None:
        """Wait before a server is tried again; ModelError when it has been waited for long enough."""
        now = time.monotonic()
        if now > deadline:
            raise ModelError(
                f"{error}. It was tried again for {self.patience:g} s (rollout.backend.vllm.patience). If no server is there, "
                f"{START}; if it is elsewhere, rollout.backend.vllm.servers must say where"
            ) from error
        if rounds and now > self._told:
            self._told = deadline
            log.warning("%s; it is tried again for %g s at most", error, self.patience)
        if rounds:
            await asyncio.sleep(PAUSES[min(rounds, len(PAUSES)) - 1])

    @property
    def _session(self) -> _Session:
        """Connections belong to an event loop; those of loops that have ended are forgotten."""
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            self._sessions = {known: session for known, session in self._sessions.items() if not known.is_closed()}
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
            timeout = httpx.Timeout(self.timeout, connect=10.0)
            sockets = {
                f"all://{server.host}": httpx.AsyncHTTPTransport(uds=server.socket, limits=limits)
                for server in self.servers
                if server.socket is not None
            }
            # Environment variables could send requests for this machine through a proxy.
            client = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False, mounts=sockets)
            self._sessions[loop] = _Session(client)
        return self._sessions[loop]
