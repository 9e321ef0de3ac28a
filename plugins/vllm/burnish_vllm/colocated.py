"""A vLLM engine of the trainer's own, in a process beside it, on the same devices. In: what `VLLM` is given. Out: the same.

vLLM pins other libraries than burnish, so it has an environment of its own even here. Nobody else can ask it: it answers on a
socket in a folder that only this user can enter, and it ends with the process that started it, however that ends.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch

from burnish.config.sections import SamplingSection
from burnish.errors import ConfigError, ModelError
from burnish.rollout.contract import Capabilities, Receipt
from burnish.rollout.sampler import Completion
from burnish_vllm.backend import VLLM, check_transfer
from burnish_vllm.owned import OwnFolder
from burnish_vllm.serve import ADAPTERS, OWNED

if TYPE_CHECKING:
    from torch import Tensor

LOOKS = 0.2  # seconds between two looks at whether it is ready
ENDS = 30.0  # seconds in which it may end by itself
RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher tells the trainer's processes of each other, which is not vLLM's business."""


class Colocated:
    """A vLLM engine that this process starts, lets sleep, and ends.

    model: the one that is trained, as vLLM finds it: a folder, or a name of the hub. python: of vLLM's environment, none for
    this one. options: vLLM's own, such as `--gpu-memory-utilization=0.4`. dtype: in which it holds weights. transfer: how they
    go there: as a file, or in memory of the GPUs that both use (`ipc`). adapters: whether a LoRA adapter is sent alone. sleep:
    whether it gives the GPUs' memory back while the model is trained; its weights wait in the host's. patience: seconds in
    which it must be ready. timeout: seconds of one request.
    """

    def __init__(
        self,
        *,
        model: str,
        python: str | None = None,
        options: list[str] = [],  # noqa: B006 - shown in configs as it is, and never changed
        dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
        transfer: Literal["file", "ipc"] = "file",
        adapters: bool = False,
        sleep: bool = True,
        patience: float = 600.0,
        timeout: float = 600.0,
    ) -> None:
        if sleep and not torch.accelerator.is_available():
            raise ConfigError(
                "rollout.backend.vllm_colocated.sleep: there is no GPU, whose memory vLLM could give back; set `sleep: false`"
            )
        check_transfer(transfer, [], "rollout.backend.vllm_colocated.transfer")
        self._folder = OwnFolder(Path(tempfile.gettempdir()), private=True)
        self._socket, self._log = self._folder.path / "socket", self._folder.path / "log"
        more = [*(["--enable-sleep-mode"] if sleep else []), *([ADAPTERS] if adapters else [])]
        self._command = [python or sys.executable, "-m", "burnish_vllm.serve", model, "--uds", str(self._socket)]
        self._command += ["--dtype", dtype, *more, *options]
        self._sleeps, self._patience = sleep, patience
        asked: dict[str, Any] = {"dtype": dtype, "transfer": transfer, "adapters": adapters, "timeout": timeout}
        self._asked = VLLM(servers=[f"unix:{self._socket}"], patience=5.0, **asked)
        self.capabilities: Capabilities = self._asked.capabilities
        self._process: subprocess.Popen[bytes] | None = None
        self._asleep = False
        self._doors: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """One completion."""
        await self._awake()
        try:
            return await self._asked.generate(ids, sampling, seed)
        except ModelError as error:
            raise self._explained(error) from error

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """It loads the weights."""
        await self._awake()
        try:
            return await self._asked.update(version, weights)
        except ModelError as error:
            raise self._explained(error) from error

    async def load_adapter(self, version: int, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Receipt:
        """It loads the adapter."""
        await self._awake()
        try:
            return await self._asked.load_adapter(version, weights, config)
        except ModelError as error:
            raise self._explained(error) from error

    async def rest(self) -> None:
        """It gives the memory back until it is asked again."""
        async with self._door:
            if self._sleeps and self._process is not None and not self._asleep:
                await self._asked.sleep()
                self._asleep = True

    async def close(self) -> None:
        """It ends."""
        await self._asked.close()
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, ENDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, 9)
                await asyncio.to_thread(self._process.wait)
            self._process = None
        self._folder.remove()

    async def _awake(self) -> None:
        """It is there, and does not sleep."""
        async with self._door:
            if self._process is None:
                await self._start()
            if self._asleep:
                await self._asked.wake()
                self._asleep = False

    async def _start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in RANKS} | {OWNED: "1"}
        with self._log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    self._command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise ModelError(f"vLLM cannot be started: {error} (rollout.backend.vllm_colocated.python)") from error
        end = time.monotonic() + self._patience
        while not await self._asked.is_ready():
            if self._process.poll() is not None:
                raise ModelError(f"vLLM ended before it was ready. {self._tail}")
            if time.monotonic() > end:
                raise ModelError(
                    f"vLLM was not ready after {self._patience:g} s (rollout.backend.vllm_colocated.patience). {self._tail}"
                )
            await asyncio.sleep(LOOKS)

    def _explained(self, error: ModelError) -> ModelError:
        """With what vLLM said at its end, where it has ended."""
        ended = self._process is not None and self._process.poll() is not None
        return ModelError(f"vLLM ended. {self._tail}") if ended else error

    @property
    def _tail(self) -> str:
        text = ""
        with suppress(OSError):
            text = self._log.read_text(errors="replace").strip()
        return f"It said last: {text[-1500:] or 'nothing'}"

    @property
    def _door(self) -> asyncio.Lock:
        """One at a time, in each event loop."""
        return self._doors.setdefault(asyncio.get_running_loop(), asyncio.Lock())
