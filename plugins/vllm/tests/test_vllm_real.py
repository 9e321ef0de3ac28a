"""A real vLLM server, started here, on whatever it finds to run on: the whole loop, weights updated twice, receipts checked.

It needs vLLM in this environment or in one whose Python `BURNISH_VLLM_PYTHON` names.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import xxhash
from burnish_vllm.backend import VLLM
from burnish_vllm.colocated import Colocated
from conftest import adapter_of, make_model, weights_of
from halfway import HALFWAY, killable

import burnish
from burnish.config.sections import DrawnSection, SamplingSection
from burnish.errors import ModelError
from burnish.rollout.contract import Receipt
from burnish.rollout.likeliest import reported
from burnish.testing import assert_survives, tiny_tokenizer

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]
READY = 900.0  # seconds for a server to start
PACKAGE = Path(__file__).parents[1]
HAS_GPU = torch.cuda.is_available()
OPTIONS = ["--max-model-len", "256", "--enforce-eager"]
LORA = {"lora": {"r": 4, "alpha": 8}}


@dataclass
class Running:
    """A server's process and address."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


def vllm_python() -> str:
    """The Python that has vLLM; the test is skipped where there is none."""
    python = os.environ.get("BURNISH_VLLM_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", "import vllm"], capture_output=True, text=True, check=False)
    if found.returncode:
        why = found.stderr.strip().splitlines()[-1]
        pytest.skip(f"{python} has no vLLM ({why}); BURNISH_VLLM_PYTHON may name one that has")
    return python


def installed_in(folder: Path) -> Path:
    """A folder for PYTHONPATH in which vLLM finds this package's entry point, as after `pip install --no-deps burnish-vllm`,
    and xxhash, if it has none. Where there is no GPU, it also finds what stands in for the memory of one."""
    info = folder / "burnish_vllm-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: burnish-vllm\nVersion: 0.1.0\n")
    played = "" if HAS_GPU else "played = without_gpu:register\n"
    (info / "entry_points.txt").write_text(f"[vllm.general_plugins]\nburnish_file = burnish_vllm.transfer:register\n{played}")
    if subprocess.run([vllm_python(), "-c", "import xxhash"], capture_output=True, check=False).returncode:
        (folder / "xxhash").symlink_to(Path(xxhash.__file__).parent)
    return folder


def surroundings(folder: Path) -> dict[str, str]:
    """What vLLM needs of its environment."""
    path = os.pathsep.join(map(str, (installed_in(folder / "site"), PACKAGE, PACKAGE / "tests")))
    return {"PYTHONPATH": path, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}


@contextmanager
def serving(model: Path, folder: Path, *more: str) -> Iterator[Running]:
    """vLLM with the tiny model, in float32."""
    python = vllm_python()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "burnish_vllm.serve", str(model), "--port", str(port), "--dtype", "float32", *OPTIONS, *more]
    environment = os.environ | surroundings(folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    running = Running(process, f"http://127.0.0.1:{port}", folder / "log")
    try:
        wait_for(running)
        yield running
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def server(vllm_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(vllm_model, tmp_path_factory.mktemp("vllm")) as running:
        yield running


@pytest.fixture(scope="module")
def adapter_server(vllm_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(vllm_model, tmp_path_factory.mktemp("vllm"), "--enable-lora", "--max-lora-rank", "8") as running:
        yield running


def wait_for(running: Running) -> None:
    end = time.monotonic() + READY
    while time.monotonic() < end:
        if running.process.poll() is not None:
            pytest.fail(f"vLLM ended: {running.log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"{running.url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"vLLM was not ready after {READY} s: {running.log.read_text()[-3000:]}")


@pytest.mark.parametrize("transfer", ["file", "gloo", "ipc"])
def test_weights_go_there_and_are_used(request: pytest.FixtureRequest, server: Running, transfer: Any) -> None:
    """Log-probabilities are those of the model that was sent, in float32. Where there is no GPU, memory of the host is lent."""
    if transfer == "ipc" and not HAS_GPU:
        request.getfixturevalue("played")
    backend = VLLM(servers=[server.url], dtype="float32", transfer=transfer)
    sampling = SamplingSection(max_new_tokens=6, temperature=0.8)

    async def session() -> None:
        for version, seed in ((0, 3), (1, 4), (2, 3)):
            weights = weights_of(seed)
            assert await backend.update(version, weights) == Receipt.of(version, weights)
            first, again = await asyncio.gather(*(backend.generate([5, 6, 7], sampling, seed=9) for _ in range(2)))
            assert first.ids == again.ids
            assert set(first.versions) == {version}
            with torch.no_grad():
                logits = make_model(seed)(torch.tensor([[5, 6, 7, *first.ids]])).logits[0, 2:-1] / 0.8
            expected = logits.log_softmax(-1)[range(len(first.ids)), first.ids]
            torch.testing.assert_close(torch.tensor(first.logps), expected, atol=1e-3, rtol=0)
        await backend.close()

    asyncio.run(session())


def test_the_likeliest_tokens_are_those_of_the_model(server: Running) -> None:
    """Of more tokens than can be drawn (top_k 6) none beyond; of fewer the likeliest. Against the model's own forward."""
    backend, weights = VLLM(servers=[server.url], dtype="float32"), weights_of(3)
    drawn = DrawnSection(max_new_tokens=8, temperature=1.5, top_k=6)

    async def session() -> None:
        await backend.update(0, weights)
        for count in (3, 9):
            found = await backend.generate([5, 6, 7], reported(drawn, count), seed=9)
            with torch.no_grad():
                logits = make_model(3)(torch.tensor([[5, 6, 7, *found.ids]])).logits[0, 2:-1] / 1.5
            expected = logits.topk(6)
            assert found.likeliest_ids == [(row + [-1] * 3)[:count] for row in expected.indices.tolist()]
            logps = torch.nn.functional.pad(expected.values.log_softmax(-1), (0, 3))[:, :count]
            torch.testing.assert_close(torch.tensor(found.likeliest_logps), logps, atol=1e-3, rtol=0)
        await backend.close()

    asyncio.run(session())


MEETS = """
import os
from types import SimpleNamespace
from burnish_vllm import engine
from vllm.utils import nccl

os.environ["NCCL_CUMEM_ENABLE"], nccl._unpinned_env = "pinned", {"NCCL_CUMEM_ENABLE": "the user's"}
joined = []
engine.Wire.join = lambda *given: joined.append((*given[1:], os.environ["NCCL_CUMEM_ENABLE"]))
worker = engine.FileEngine.__new__(engine.FileEngine)
worker.parallel_config = SimpleNamespace(data_parallel_index=1, world_size=2, rank=1)
worker.device = "cuda:1"
for kind in ("nccl", "gloo"):
    meeting = {"address": "127.0.0.1", "port": 1, "kind": kind, "world": 5, "timeout": 9.0}
    worker.init_transfer_engine(worker.parse_init_info({"meeting": meeting}))
print(joined)
"""


def test_a_worker_meets_the_trainer_with_the_users_settings(tmp_path: Path) -> None:
    """vLLM's own for NCCL hold in its processes alone: a trainer without them would wait for ever. The last of four workers."""
    environment = os.environ | surroundings(tmp_path)
    found = subprocess.run([vllm_python(), "-c", MEETS], env=environment, capture_output=True, text=True, check=False)
    assert found.stdout.splitlines()[-1:] == [str([(4, "cuda:1", "the user's"), (4, "cuda:1", "pinned")])], found.stderr


def test_weights_that_it_does_not_know(server: Running) -> None:
    """They are refused in its own words, and what it had loaded by then does not matter for the next ones."""
    backend = VLLM(servers=[server.url], dtype="float32")
    sampling = SamplingSection(max_new_tokens=6, temperature=0.8)

    async def session() -> None:
        await backend.update(0, weights_of(3))
        before = await backend.generate([5, 6, 7], sampling, seed=9)
        other = list(weights_of(4).items())
        middle = len(other) // 2
        with pytest.raises(ModelError, match="strange"):
            await backend.update(1, dict([*other[:middle], ("model.layers.0.strange.weight", torch.zeros(2)), *other[middle:]]))
        assert await backend.update(2, weights_of(3)) == Receipt.of(2, weights_of(3))
        after = await backend.generate([5, 6, 7], sampling, seed=9)
        assert (after.ids, set(after.versions)) == (before.ids, {2})
        torch.testing.assert_close(torch.tensor(after.logps), torch.tensor(before.logps), atol=1e-5, rtol=0)
        await backend.close()

    asyncio.run(session())


@pytest.mark.parametrize("ahead", [0, 2], ids=["before training", "beside training"])
def test_a_run_that_is_killed_in_the_middle_of_an_update(
    server: Running, vllm_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """The server lives on, waiting for weights; the run goes on with it, once more after another such end."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    assert_survives(killable(vllm_model, server.url, tmp_path, ahead), [6, 1], events=[HALFWAY])


@pytest.mark.parametrize("in_flight", [False, True])
def test_weights_that_come_while_a_completion_is_drawn(server: Running, in_flight: bool) -> None:
    """In flight they are used from the next token on; else the completion is waited for. Neither loses it."""
    backend = VLLM(servers=[server.url], dtype="float32", in_flight=in_flight)
    sampling = SamplingSection(max_new_tokens=200, temperature=1.0)

    async def session() -> None:
        await backend.update(0, weights_of(3))
        alone = await backend.generate([5, 6, 7], sampling, seed=1)
        drawing = asyncio.create_task(backend.generate([5, 6, 7], sampling, seed=1))
        await asyncio.sleep(0.3)
        receipt = await backend.update(1, weights_of(4))
        found = await drawing
        assert receipt.version == 1
        assert set(found.versions) == {0}
        assert found.finished or len(found.ids) == 200
        if not in_flight:
            assert found.ids == alone.ids
        assert set((await backend.generate([5, 6, 7], sampling, seed=1)).versions) == {1}
        await backend.close()

    asyncio.run(session())


def test_an_adapter_goes_alone(adapter_server: Running) -> None:
    """Log-probabilities are those of the model with the adapter that was sent, which vLLM scales and packs."""
    backend = VLLM(servers=[adapter_server.url], dtype="float32", adapters=True)
    sampling = SamplingSection(max_new_tokens=6, temperature=0.8)

    async def session() -> None:
        for version, seed in ((0, 3), (1, 4), (2, 3)):
            weights, config, model = adapter_of(seed)
            assert await backend.load_adapter(version, weights, config) == Receipt.of(version, weights)
            first, again = await asyncio.gather(*(backend.generate([5, 6, 7], sampling, seed=9) for _ in range(2)))
            assert first.ids == again.ids
            assert set(first.versions) == {version}
            with torch.no_grad():
                logits = model(torch.tensor([[5, 6, 7, *first.ids]])).logits[0, 2:-1] / 0.8
            expected = logits.log_softmax(-1)[range(len(first.ids)), first.ids]
            torch.testing.assert_close(torch.tensor(first.logps), expected, atol=1e-3, rtol=0)
        await backend.close()

    asyncio.run(session())


def test_an_adapter_that_comes_while_a_completion_is_drawn(adapter_server: Running) -> None:
    """The completion ends with the adapter that it began with, beside those of the new one."""
    backend = VLLM(servers=[adapter_server.url], dtype="float32", adapters=True, in_flight=True)
    sampling = SamplingSection(max_new_tokens=200, temperature=1.0)

    async def session() -> None:
        await backend.load_adapter(0, *adapter_of(3)[:2])
        alone = await backend.generate([5, 6, 7], sampling, seed=1)
        drawing = asyncio.create_task(backend.generate([5, 6, 7], sampling, seed=1))
        await asyncio.sleep(0.3)
        await backend.load_adapter(1, *adapter_of(4)[:2])
        other = await backend.generate([5, 6, 7], sampling, seed=1)
        found = await drawing
        assert (found.ids, set(found.versions)) == (alone.ids, {0})
        assert other.ids != alone.ids
        assert set(other.versions) == {1}
        await backend.close()

    asyncio.run(session())


def test_an_adapter_that_is_too_large(adapter_server: Running) -> None:
    backend = VLLM(servers=[adapter_server.url], dtype="float32", adapters=True)
    weights, config, _ = adapter_of(3)
    with pytest.raises(ModelError, match="LoRA rank 64 is greater than max_lora_rank"):
        asyncio.run(backend.load_adapter(0, weights, config | {"r": 64}))


def train(vllm_model: Path, tmp_path: Path, adapter: Any, backend: dict[str, Any]) -> None:
    """GRPO for three steps: a handshake, then two updates; nothing drifts."""

    def small(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(one < 40 for one in ids) / len(ids) for ids in completion_ids]

    config = {
        "model": {"name": str(vllm_model), "adapter": adapter},
        "data": {"main": {"source": "given"}},
        "objective": [{"grpo": {}}],
        "rollout": {
            "prompts": 2,
            "group_size": 4,
            "sampling": {"max_new_tokens": 8, "temperature": 0.9},
            "backend": backend,
            "receipts": {"warn": 0.01, "stop": 0.05},
        },
        "train": {"batch_size": 8, "steps": 3},
        "optimizer": {"lr": 0.01},
        "output": str(tmp_path / "run"),
    }
    questions = [{"prompt": f"q {number}: "} for number in range(12)]
    burnish.train(config, data=questions, rewards=[small], tokenizer=tiny_tokenizer())


@pytest.mark.parametrize("alone", [False, True], ids=["all weights", "adapter alone"])
def test_a_run(
    request: pytest.FixtureRequest, vllm_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    server: Running = request.getfixturevalue("adapter_server" if alone else "server")
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    backend = {"vllm": {"servers": [server.url], "dtype": "float32", "adapters": alone}}
    train(vllm_model, tmp_path, LORA if alone else None, backend)
    with urllib.request.urlopen(f"{server.url}/weight_info") as answer:
        assert json.load(answer)["weight_version"].endswith(":2")


def test_a_run_with_an_engine_of_its_own(vllm_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by the run, asked over a socket, gone at its end. Where there is no GPU it does not sleep."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    for name, value in surroundings(tmp_path).items():
        monkeypatch.setenv(name, value)
    started: list[subprocess.Popen[bytes]] = []
    start = Colocated._start

    async def noting(self: Colocated) -> None:
        await start(self)
        started.extend([self._process] if self._process is not None else [])

    monkeypatch.setattr(Colocated, "_start", noting)
    options = {"model": str(vllm_model), "python": vllm_python(), "dtype": "float32", "patience": READY}
    options |= {"options": OPTIONS, "sleep": torch.accelerator.is_available()}
    train(vllm_model, tmp_path, None, {"vllm_colocated": options})
    [process] = started
    assert process.returncode is not None
    assert not Path(process.args[process.args.index("--uds") + 1]).exists()  # type: ignore[union-attr, index, attr-defined]
