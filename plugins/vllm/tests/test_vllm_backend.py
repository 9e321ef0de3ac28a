"""The backend against servers that speak as vLLM does: what it asks, what it makes of answers, and what it survives."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx
import pytest
import torch
from burnish_vllm.backend import VLLM
from burnish_vllm.exchange import held, write_weights
from burnish_vllm.owned import OWNER, PREFIX
from burnish_vllm.serve import arguments
from burnish_vllm.server import Server
from burnish_vllm.wire import Wire
from conftest import Start, adapter_of, assert_weights_follow, make_model, weights_of
from fake_vllm import FakeVLLM, Refused
from safetensors.torch import load_file

import burnish
from burnish.config.sections import DrawnSection, SamplingSection
from burnish.errors import ConfigError, ModelError
from burnish.model.hashing import tensor_hash
from burnish.registry import BackendRecord, load
from burnish.rollout.contract import Held, Receipt
from burnish.rollout.likeliest import reported
from burnish.testing import check_backend, tiny_tokenizer

SAMPLING = SamplingSection(max_new_tokens=5, temperature=1.0)
QUESTIONS = [{"prompt": f"q {number}: "} for number in range(12)]


def backend_of(*servers: FakeVLLM, **options: Any) -> VLLM:
    return VLLM(servers=[server.url for server in servers], dtype="float32", **{"patience": 5.0, **options})


def sent_in(folder: Path) -> list[Path]:
    """The weights that were left there."""
    return [path for path in folder.glob(f"{PREFIX}*/*") if path.name != OWNER]


def run(session: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(session)


def test_it_is_registered() -> None:
    assert load().find(BackendRecord, "vllm") is VLLM


def test_the_conformance_kit() -> None:
    check_backend("vllm").raise_for_failures()


def test_a_hash_is_that_of_receipts() -> None:
    tensor = torch.randn(3, 4).to(torch.bfloat16)
    assert Held.of(tensor) == Held(shape=(3, 4), dtype="bfloat16", hash=held(tensor)["hash"])
    assert held(tensor.T)["hash"] == tensor_hash(tensor.T.contiguous())


def test_what_vllm_is_started_with() -> None:
    given = arguments(["folder", "--port", "8123", "--host=0.0.0.0"], on_gpu=True)
    assert "--max-loras" not in given
    assert "burnish_vllm.holding.Holding" in arguments(["folder", "--enable-lora"], on_gpu=True)
    assert given[:4] == ["--model", "folder", "--port", "8123"]
    assert given.count("--host") == 0
    assert given[given.index("--logprobs-mode") + 1] == "processed_logprobs"


def test_on_a_cpu_prompts_are_read_whole() -> None:
    assert "--no-enable-chunked-prefill" not in arguments(["folder"], on_gpu=True)
    assert arguments(["folder"], on_gpu=False)[-1] == "--no-enable-chunked-prefill"
    assert arguments(["folder", "--enable-chunked-prefill"], on_gpu=False)[-1] != "--no-enable-chunked-prefill"


def test_completions_are_of_the_weights_that_were_sent(start: Start) -> None:
    backend, weights = backend_of(start()), weights_of(3)

    async def session() -> None:
        before = await backend.generate([1, 2, 3], SAMPLING, seed=7)
        assert await backend.update(4, weights) == Receipt.of(4, weights)
        after, again, other = [await backend.generate([1, 2, 3], SAMPLING, seed=seed) for seed in (7, 7, 8)]
        assert after == again != other
        assert before.logps != after.logps
        assert (before.versions, set(after.versions)) == ([], {4})
        await backend.close()

    run(session())
    with torch.no_grad():
        logits = make_model(seed=3)(torch.tensor([[1, 2, 3]])).logits[0, -1]
    first = run(backend.generate([1, 2, 3], SAMPLING, seed=7))
    assert first.logps[0] == pytest.approx(float(logits.log_softmax(-1)[first.ids[0]]), abs=1e-5)


def test_weights_go_over_the_network(start: Start) -> None:
    """To two servers, one of which is started again; receipts come back the same way."""
    assert_weights_follow(start, partial(backend_of, transfer="gloo", timeout=20.0))


def test_what_the_wire_brings_and_the_server_does_not_know(start: Start) -> None:
    """The rest is taken off the wire, so nobody waits; the next update goes over a new one."""
    server = start()
    backend = backend_of(server, transfer="gloo", timeout=20.0)

    async def session() -> None:
        with pytest.raises(ModelError, match="no module or parameter named 'a_strange_one'"):
            await backend.update(0, {"a_strange_one": torch.zeros(2), **weights_of(1)})
        assert await backend.update(1, weights_of(2)) == Receipt.of(1, weights_of(2))
        await backend.close()

    run(session())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, which can send")
def test_nccl_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`nccl` takes weights from a GPU, and there is none; use `gloo` or `file`"):
        VLLM(transfer="nccl")


def test_nccl_sends_from_the_gpu_of_the_thread_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transfers run in threads of their own, each of which begins with the first GPU."""
    monkeypatch.setattr("burnish_vllm.backend.torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("burnish_vllm.backend.torch.cuda.current_device", lambda: 3)
    assert [server.device for server in VLLM(transfer="nccl").servers] == [torch.device("cuda", 3)]


@pytest.mark.parametrize(("device", "aborted"), [("cuda:1", 1), ("cpu", 0)])
def test_a_wire_of_gpus_is_cut_after_a_failure(start: Start, tmp_path: Path, device: str, aborted: int) -> None:
    """Sending goes on by itself on a GPU: what nobody takes would be waited for until that ends the process."""
    group, file = MagicMock(), write_weights(tmp_path, "one", {"one": torch.zeros(1)})
    server = Server(start().url, tag="run:0", transfer="nccl", wire=Wire(MagicMock(), group, torch.device(device), 2))
    server.wire.send = lambda _: None  # type: ignore[method-assign, union-attr]

    async def session() -> None:
        async with httpx.AsyncClient() as client:
            with pytest.raises(ModelError, match="called while a weight update is not active"):
                await server._transfer(client, file, file)

    run(session())
    assert group.abort.call_count == aborted
    assert server.tag is None


def test_servers_take_turns_and_all_get_the_weights(start: Start) -> None:
    first, second = start(), start()
    backend, weights = backend_of(first, second), weights_of(1)

    async def session() -> None:
        await backend.update(0, weights)
        await asyncio.gather(*(backend.generate([1, 2], SAMPLING, seed=place) for place in range(6)))

    run(session())
    assert (first.asked["/v1/completions"], second.asked["/v1/completions"]) == (3, 3)
    assert first.version == second.version
    assert backend.capabilities.replicas == 2


def test_a_server_that_is_gone_is_left_out(start: Start) -> None:
    first, second = start(), start()
    backend = backend_of(first, second)
    first.stop()
    found = [run(backend.generate([1, 2], SAMPLING, seed=place)) for place in range(4)]
    assert all(len(one.ids) == 5 for one in found)
    assert second.asked["/v1/completions"] == 4


def test_a_server_that_stays_away_ends_the_wait(start: Start) -> None:
    server = start()
    server.stop()
    backend = backend_of(server, patience=0.3)
    with pytest.raises(ModelError, match=rf"{server.url} cannot be reached: .*tried again for 0.3 s .*patience"):
        run(backend.generate([1, 2], SAMPLING))
    with pytest.raises(ModelError, match="cannot be reached"):
        run(backend.update(0, {}))


def test_a_server_that_comes_back_with_old_weights_is_sent_the_last(start: Start) -> None:
    server = start()
    backend, weights = backend_of(server), weights_of(1)

    async def session() -> None:
        await backend.update(2, weights)
        before = await backend.generate([1, 2, 3], SAMPLING, seed=7)
        server.stop()
        later = threading.Timer(0.5, lambda: start(server.port))
        later.start()
        after = await backend.generate([1, 2, 3], SAMPLING, seed=7)
        assert after == before
        later.join()

    run(session())


@pytest.mark.parametrize("in_flight", [False, True])
def test_weights_that_come_while_a_completion_is_drawn(start: Start, in_flight: bool) -> None:
    """In flight it counts as of the older version; else it is thrown away and drawn again."""
    server = start()
    backend = backend_of(server, in_flight=in_flight)

    async def session() -> set[int]:
        await backend.update(0, weights_of(1))
        server.holding.clear()
        drawing = asyncio.create_task(backend.generate([1, 2], SAMPLING))
        while not server.asked["/v1/completions"]:
            await asyncio.sleep(0.01)
        await backend.update(1, weights_of(2))
        server.holding.set()
        return set((await drawing).versions)

    assert run(session()) == ({0} if in_flight else {1})
    assert server.asked["/v1/completions"] == (1 if in_flight else 2)


def test_a_failure_inside_the_server_is_tried_again(start: Start) -> None:
    server = start()
    server.failing = [Refused(500, "EngineDeadError"), Refused(503, "busy")]
    assert len(run(backend_of(server).generate([1, 2], SAMPLING)).ids) == 5
    assert server.asked["/v1/completions"] == 3


def test_a_refusal_is_final_and_in_the_servers_words(start: Start) -> None:
    server = start()
    server.failing = [Refused(400, "maximum context length is 512 tokens")]
    with pytest.raises(ModelError, match="refused with 400: maximum context length is 512 tokens"):
        run(backend_of(server).generate([1, 2], SAMPLING))
    assert server.asked["/v1/completions"] == 1


SPOILT = [
    ({"prompt_token_ids": [1, 9]}, "another prompt than it was asked: at place 1 id 9 instead of 2"),
    ({"prompt_token_ids": [1]}, "another prompt than it was asked: 1 ids instead of 2"),
    ({"token_ids": None}, "gives no token ids"),
    ({"token_ids": [5]}, "5 log-probabilities for 1 tokens"),
    ({"logprobs": {"token_logprobs": [-1, -1, -9999.0, -1, -1]}}, "drew a token of log-probability -9999"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILT)
def test_answers_that_cannot_be_trained_on(start: Start, spoil: dict[str, Any], said: str) -> None:
    server = start()
    server.spoil = spoil
    with pytest.raises(ModelError, match=re.escape(said)):
        run(backend_of(server).generate([1, 2], SAMPLING))


def test_weights_that_the_server_does_not_know(start: Start) -> None:
    server = start()
    with pytest.raises(ModelError, match="no module or parameter named 'strange'"):
        run(backend_of(server).update(0, {"strange": torch.zeros(2)}))
    assert server.version == "failed"


def test_an_update_that_another_left_open(start: Start) -> None:
    """As a trainer does that is killed meanwhile: it is ended, and the server goes on with the next one."""
    server = start()
    server.answer("/pause", None)
    server.answer("/start_weight_update", None)
    backend = backend_of(server)

    async def session() -> None:
        assert await backend.update(4, weights_of(3)) == Receipt.of(4, weights_of(3))
        assert set((await backend.generate([1, 2, 3], SAMPLING)).versions) == {4}

    run(session())


def test_half_an_update(start: Start) -> None:
    weights = weights_of(0)
    del weights["model.norm.weight"]
    with pytest.raises(ModelError, match=r"1 parameters were not in what was sent, for example model\.norm\.weight"):
        run(backend_of(start()).update(0, weights))


def test_another_precision(start: Start) -> None:
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in weights_of(0).items()}
    with pytest.raises(ModelError, match=r"holds its weights in float32, and was sent '.*' in bfloat16; start it with"):
        run(backend_of(start()).update(0, weights))


def test_a_prefix_cache_that_stays(start: Start) -> None:
    server = start()
    server.drops_cache = False
    with pytest.raises(ModelError, match="did not drop its prefix cache"):
        run(backend_of(server).update(0, weights_of(0)))


def test_not_a_server_of_ours(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start()
    monkeypatch.setattr(server, "answer", lambda *_: (_ for _ in ()).throw(Refused(404, "Not Found")))
    with pytest.raises(ModelError, match=r"has no /weight_info: start the server with `python -m burnish_vllm.serve MODEL`"):
        run(backend_of(server).generate([1], SAMPLING))


def test_an_adapter_goes_alone(start: Start, tmp_path: Path) -> None:
    """The base stays as it is; the new adapter has a name of its own, the one before is given up."""
    server = start()
    backend, (weights, config, _) = backend_of(server, adapters=True, folder=str(tmp_path)), adapter_of(1)

    async def session() -> None:
        base = await backend.generate([1, 2, 3], SAMPLING, seed=7)
        assert await backend.load_adapter(4, weights, config) == Receipt.of(4, weights)
        after = await backend.generate([1, 2, 3], SAMPLING, seed=7)
        assert after.logps != base.logps
        assert set(after.versions) == {4}
        [first] = server.adapters
        await backend.load_adapter(5, *adapter_of(2)[:2])
        [second] = server.adapters
        assert first != second
        assert len(sent_in(tmp_path)) == 1
        assert (await backend.generate([1, 2, 3], SAMPLING, seed=7)).logps != after.logps
        await backend.close()

    run(session())
    assert server.asked["/update_weights"] == server.asked["/pause"] == 0


def test_an_adapter_that_comes_while_a_completion_is_drawn(start: Start, tmp_path: Path) -> None:
    """It ends with the adapter that it began with, whose files stay until then, and counts as of that."""
    server = start()
    backend = backend_of(server, adapters=True, in_flight=True, folder=str(tmp_path))

    async def session() -> None:
        await backend.load_adapter(0, *adapter_of(1)[:2])
        alone = await backend.generate([1, 2], SAMPLING, seed=3)
        server.holding.clear()
        drawing = asyncio.create_task(backend.generate([1, 2], SAMPLING, seed=3))
        while server.asked["/v1/completions"] < 2:
            await asyncio.sleep(0.01)
        await backend.load_adapter(1, *adapter_of(2)[:2])
        assert len(sent_in(tmp_path)) == 2
        server.holding.set()
        assert await drawing == alone
        await backend.load_adapter(2, *adapter_of(3)[:2])
        assert len(sent_in(tmp_path)) == 1
        await backend.close()

    run(session())


def test_a_server_that_comes_back_without_its_adapter_is_sent_it_again(start: Start) -> None:
    server = start()
    backend = backend_of(server, adapters=True)

    async def session() -> None:
        await backend.load_adapter(2, *adapter_of(1)[:2])
        before = await backend.generate([1, 2, 3], SAMPLING, seed=7)
        server.adapters.clear()  # somebody else took it away
        assert await backend.generate([1, 2, 3], SAMPLING, seed=7) == before
        server.stop()
        start(server.port)
        assert await backend.generate([1, 2, 3], SAMPLING, seed=7) == before
        await backend.close()

    run(session())


def test_a_server_that_takes_no_adapters(start: Start) -> None:
    server = start()
    server.takes_adapters = False
    with pytest.raises(ModelError, match=r"takes no adapters: start the server with `python .* MODEL --enable-lora`"):
        run(backend_of(server, adapters=True).load_adapter(0, *adapter_of(1)[:2]))


def test_a_completion_begun_while_an_update_ends(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server tells its new version before the backend knows that all went well: nobody sends it the old weights again."""
    server = start()
    backend, answer, ends = backend_of(server, in_flight=True), server.answer, threading.Event()

    def slow(path: str, body: Any) -> dict[str, Any]:
        if path.startswith("/reset_prefix_cache"):
            ends.wait(5)
        return answer(path, body)

    async def session() -> None:
        await backend.update(0, weights_of(1))
        monkeypatch.setattr(server, "answer", slow)
        sending = asyncio.create_task(backend.update(1, weights_of(2)))
        while not server.version.endswith(":1"):
            await asyncio.sleep(0.01)
        drawing = asyncio.create_task(backend.generate([1, 2], SAMPLING))
        await asyncio.sleep(0.1)
        ends.set()
        await sending
        assert set((await drawing).versions) == {1}
        await backend.close()

    run(session())
    assert server.asked["/update_weights"] == 2


def test_files_are_gone_at_the_end(start: Start, tmp_path: Path) -> None:
    backend = backend_of(start(), folder=str(tmp_path / "weights"))

    async def session() -> None:
        for version in range(3):
            await backend.update(version, weights_of(version))
            assert len(sent_in(tmp_path / "weights")) == 1
        await backend.close()

    run(session())
    assert not list((tmp_path / "weights").iterdir())


def config(model: Path, output: Path, server: FakeVLLM, **backend: Any) -> dict[str, Any]:
    """Two rollout batches of two prompts by four, trained on at once."""
    return {
        "model": {"name": str(model)},
        "data": {"main": {"source": "given"}},
        "objective": [{"grpo": {}}],
        "rollout": {
            "prompts": 2,
            "group_size": 4,
            "sampling": {"max_new_tokens": 6},
            "backend": {"vllm": {"servers": [server.url], "dtype": "float32", **backend}},
        },
        "train": {"batch_size": 8, "steps": 2},
        "optimizer": {"lr": 0.01},
        "output": str(output),
    }


def small(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [sum(one < 40 for one in ids) / len(ids) for ids in completion_ids]


LORA = {"lora": {"r": 4, "alpha": 8}}


@pytest.mark.parametrize(
    ("adapter", "alone"), [(None, False), (LORA, False), (LORA, True)], ids=["all weights", "adapter merged", "adapter alone"]
)
def test_a_run_that_draws_from_it(
    start: Start, vllm_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: Any, alone: bool
) -> None:
    """The server holds the weights before the last update."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    server, folder = start(), tmp_path / "weights"
    made = config(vllm_model, tmp_path / "run", server, folder=str(folder), adapters=alone)
    made["model"] |= {"adapter": adapter} if adapter else {}
    burnish.train(made, data=QUESTIONS, rewards=[small], tokenizer=tiny_tokenizer())
    assert server.version.endswith(":1")
    # Three for the handshake, one for the second rollout batch.
    assert server.asked["/v1/load_lora_adapter" if alone else "/update_weights"] == 4
    assert server.asked["/update_weights" if alone else "/v1/load_lora_adapter"] == 0
    assert not [*folder.iterdir()]  # it was closed


def test_a_run_without_its_server(
    start: Start, vllm_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ends before its first step, and says meanwhile that it waits."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    absent = start()
    absent.stop()
    made = config(vllm_model, tmp_path / "run", absent, patience=0.3)
    with pytest.raises(ModelError) as caught:
        burnish.train(made, data=QUESTIONS, rewards=[small], tokenizer=tiny_tokenizer())
    said = str(caught.value)
    assert said.startswith(f"{absent.url} cannot be reached: ")
    assert "tried again for 0.3 s (rollout.backend.vllm.patience)" in said
    assert "start the server with `python -m burnish_vllm.serve MODEL`" in said
    assert "if it is elsewhere, rollout.backend.vllm.servers must say where" in said
    assert [record.message.partition(": ")[0] for record in caplog.records] == [f"{absent.url} cannot be reached"]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert not [*(tmp_path / "run").glob("checkpoints/*")]


def test_a_run_whose_server_dies_for_good(
    start: Start, vllm_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends with what it has learnt."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    server = start()

    def judged(completion_ids: list[list[int]], **_: Any) -> list[float]:
        if server.asked["/update_weights"] == 4:
            server.stop()
        return small(completion_ids)

    made = config(vllm_model, tmp_path / "run", server, patience=0.3)
    made["train"]["steps"] = 4
    with pytest.raises(ModelError, match="cannot be reached"):
        burnish.train(made, data=QUESTIONS, rewards=[judged], tokenizer=tiny_tokenizer())
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-000002"]


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_run_whose_server_is_restarted(
    start: Start, vllm_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """While the second batch is drawn; the run ends with the weights that it has without that. Ahead of training what is drawn
    depends on who is first, so there it ends with some."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    server = start()

    def restart() -> None:
        while server.asked["/update_weights"] < 4:
            time.sleep(0.005)
        server.stop()
        start(server.port)

    other = threading.Thread(target=restart)
    other.start()
    made = [config(vllm_model, tmp_path / "restarted", server), config(vllm_model, tmp_path / "quiet", start())]
    for each in made:
        each["rollout"]["max_staleness"] = ahead
        burnish.train(each, data=QUESTIONS, rewards=[small], tokenizer=tiny_tokenizer())
    other.join()
    assert len((tmp_path / "restarted" / "metrics.jsonl").read_text().splitlines()) == 2
    ours, theirs = (load_file(tmp_path / name / "model/model.safetensors") for name in ("restarted", "quiet"))
    assert ahead or all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)


def test_the_likeliest_tokens_are_reported_where_they_are_asked_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the sampler behind the server, likeliest first, also of a token that is none of them; of six that can be drawn,
    six."""
    server, asked = start(), list[dict[str, Any]]()
    answer = server.answer
    monkeypatch.setattr(server, "answer", lambda path, body: (asked.append(body or {}), answer(path, body))[1])
    backend, drawn = backend_of(server), DrawnSection(max_new_tokens=8, temperature=1.5, top_k=6)

    async def session() -> None:
        plain = await backend.generate([1, 2, 3], drawn, seed=7)
        assert plain.likeliest_ids == []
        for count in (2, 9):
            found = await backend.generate([1, 2, 3], reported(drawn, count), seed=7)
            [expected] = server.sampler.generate([[1, 2, 3]], reported(drawn, count), [7])
            assert (found.ids, found.likeliest_ids) == (plain.ids, expected.likeliest_ids)
            assert [len(one) for one in found.likeliest_logps] == [count] * 8
            assert found.likeliest_logps == expected.likeliest_logps
        assert any(token not in row[:2] for token, row in zip(found.ids, found.likeliest_ids, strict=True))
        await backend.close()

    run(session())
    requests = [body for body in asked if "prompt" in body]
    assert [body["logprobs"] for body in requests] == [0, 2, 9]
    assert ["return_tokens_as_token_ids" in body for body in requests] == [False, True, True]


def test_more_of_them_than_the_server_reports_is_refused_in_its_words(start: Start) -> None:
    asked = reported(DrawnSection(max_new_tokens=2), 21)
    with pytest.raises(
        ModelError, match="refused with 400: Requested sample logprobs of 21, which is greater than max allowed"
    ):
        run(backend_of(start()).generate([1, 2, 3], asked, seed=7))
