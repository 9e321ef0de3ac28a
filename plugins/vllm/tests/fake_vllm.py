"""The routes of a vLLM server that the backend uses, over a model in this process. Its answers have vLLM's form."""

from __future__ import annotations

import copy
import json
import socket
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from burnish_vllm.exchange import ADAPTER, ADAPTER_CONFIG, held, noted, read_weights, receipt_of, write_receipt
from burnish_vllm.ipc import arguments_of
from burnish_vllm.wire import Meeting, Wire
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from without_gpu import GPU, rebuild_cuda_tensor

from burnish.config.sections import SamplingSection
from burnish.rollout.likeliest import reported
from burnish.rollout.sampler import Completion, HFSampler

MAX_LOGPROBS = 20  # vLLM's own default


class Refused(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class FakeVLLM:
    """Started at once, on a free port or on `port`. asked: how often each route was."""

    def __init__(self, model: Path, port: int = 0) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(model)
        self.sampler = HFSampler(self.model, AutoTokenizer.from_pretrained(model))
        self.version, self.asked, self.failing = "default", Counter[str](), list[Refused]()
        self.spoil: dict[str, Any] = {}  # laid over the choice of every completion
        self.drops_cache = self.takes_adapters = True
        self.sleeps = self.updating = False
        self.wire: Wire | None = None
        self.gpu = GPU  # where it says that its worker is
        self.taken: tuple[dict[str, Any], set[str]] = ({}, set())  # of an update: what came, and what is still missing
        self.adapters: dict[str, HFSampler] = {}
        self.connections: list[socket.socket] = []
        self.holding = threading.Event()  # set while completions may end
        self.holding.set()
        self._turn, self._resumed = threading.Lock(), threading.Event()
        self._resumed.set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                fake.connections.append(self.connection)

            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                self._answer(json.loads(self.rfile.read(length)) if length else None)

            def _answer(self, body: Any) -> None:
                try:
                    status, answer = 200, fake.answer(self.path, body)
                except Refused as refused:
                    status, answer = refused.status, {"error": {"message": str(refused)}}
                data = json.dumps(answer).encode()
                with suppress(OSError):
                    self.send_response(status)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Quietly."""

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        for connection in self.connections:  # as when a process ends
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, path: str, body: Any) -> dict[str, Any]:
        route = path.partition("?")[0]
        self.asked[route] += 1
        match route:
            case "/v1/models":
                return {"data": [{"id": name} for name in ("tiny", *self.adapters)]}
            case "/weight_info":
                return {"weight_version": self.version}
            case "/get_world_size":
                return {"world_size": 1}
            case "/v1/completions":
                return {"choices": [self._complete(body) | self.spoil]}
            case "/sleep":
                self.sleeps = True
            case "/wake_up":
                self.sleeps = False
                return {"status": "awake"}
            case "/health":
                pass
            case "/pause":
                self._resumed.clear()
            case "/resume":
                self._resumed.set()
            case "/update_weights":
                self._must_be(updating=True, path=route)
                try:
                    self._load(body["update_info"])
                except BaseException:
                    self.updating = False
                    raise
            case "/start_weight_update":
                self._must_be(updating=False, path=route)
                self.updating = True
                self.taken = ({}, set(self.model.state_dict()) - {"lm_head.weight"})
            case "/finish_weight_update":
                self._must_be(updating=True, path=route)
                self.updating = False
                self.version = body.get("weight_version", self.version)
            case "/reset_prefix_cache":
                return {"success": self.drops_cache}
            case "/v1/load_lora_adapter" if self.takes_adapters:
                self._adapt(body["lora_name"], Path(body["lora_path"]))
            case "/v1/unload_lora_adapter":
                if self.adapters.pop(body["lora_name"], None) is None:
                    raise Refused(404, "The lora adapter cannot be found.")
            case "/collective_rpc":
                self._show(**body["kwargs"])
            case "/update_weight_version":
                self.version = body["new_version"]
            case "/init_weight_transfer_engine":
                meeting, gpus = (body["init_info"].get(name) for name in ("meeting", "gpus"))
                self.wire = Wire.join(Meeting(**meeting), 1, torch.device("cpu")) if meeting else None
                if gpus:
                    write_receipt(Path(gpus), {"gpu": self.gpu})
            case _:
                raise Refused(404, "Not Found")
        return {}

    def _must_be(self, updating: bool, path: str) -> None:
        if self.updating is not updating:
            raise Refused(500, f"{path} called while a weight update is {'not ' * updating}active")

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.sleeps:
            raise Refused(500, "The engine sleeps")
        if self.failing:
            raise self.failing.pop(0)
        self._resumed.wait()
        same = {name: body[name] for name in ("temperature", "top_p", "top_k", "min_p", "stop", "repetition_penalty")}
        sampling: SamplingSection = SamplingSection(max_new_tokens=body["max_tokens"], **same)
        if body["logprobs"]:
            assert body["return_tokens_as_token_ids"], "names of tokens are not unique"
            if body["logprobs"] > MAX_LOGPROBS:
                words = f"Requested sample logprobs of {body['logprobs']}, which is greater than max allowed: {MAX_LOGPROBS}"
                raise Refused(400, words)
            sampling = reported(sampling, body["logprobs"])
        sampler = self.sampler if body["model"] == "tiny" else self.adapters.get(body["model"])
        if sampler is None:
            raise Refused(404, f"The model `{body['model']}` does not exist.")
        with self._turn:
            [found] = sampler.generate([body["prompt"]], sampling, [body["seed"]])
        self.holding.wait()
        return {
            "token_ids": found.ids,
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": found.logps, "top_logprobs": _named(found)},
            "finish_reason": "stop" if found.finished else "length",
        }

    def _load(self, info: dict[str, Any]) -> None:
        seen, missing = self.taken
        if "ipc_handles" in info:
            source = iter(self._copied(info))
        else:
            source = self.wire.receive(info["tensors"]) if self.wire is not None else read_weights(Path(info["path"]))
        with self._turn, torch.no_grad():
            _, unknown = self.model.load_state_dict(dict(noted(source, seen)), strict=False)
        if unknown:
            raise Refused(500, f"There is no module or parameter named {unknown[0]!r} in the model")
        if info.get("more"):
            return
        receipt = receipt_of(seen, "float32", sorted(missing - set(seen)))
        if self.wire is not None:
            self.wire.report(info["receipts"], 1, receipt)
        else:
            write_receipt(Path(info["receipts"]), receipt)

    def _copied(self, info: dict[str, Any]) -> list[tuple[str, torch.Tensor]]:
        """As vLLM's `packed_ipc_consumer`, which has no room between two tensors."""
        memory = rebuild_cuda_tensor(*arguments_of(info["ipc_handles"][self.gpu]))
        parts = memory[: sum(info["tensor_sizes"])].split(info["tensor_sizes"])
        described = zip(info["names"], info["dtype_names"], info["shapes"], parts, strict=True)
        return [(name, part.view(getattr(torch, dtype)).view(shape).clone()) for name, dtype, shape, part in described]

    def _adapt(self, name: str, folder: Path) -> None:
        config = json.loads((folder / ADAPTER_CONFIG).read_text())
        config = LoraConfig(**{key: config[key] for key in ("r", "lora_alpha", "target_modules")})
        adapted = get_peft_model(copy.deepcopy(self.model), config)
        set_peft_model_state_dict(adapted, load_file(folder / ADAPTER))
        self.adapters[name] = HFSampler(adapted, self.sampler.tokenizer)

    def _show(self, folder: str, receipts: str) -> None:
        """Of the adapter that was loaded last."""
        sent, newest = load_file(Path(folder) / ADAPTER), [*self.adapters.values()][-1]
        seen = get_peft_model_state_dict(newest.model)
        lost = [name for name in seen if name not in sent]
        shown = {name: held(seen[name]) for name in sent if name in seen}
        write_receipt(Path(receipts), receipt_of(shown, "float32", lost))


def _named(found: Completion) -> list[dict[str, float]]:
    """As vLLM has them: the token that was drawn, then the likeliest; tokens that cannot be drawn are there too."""
    told: list[dict[str, float]] = []
    for place, (token, logp) in enumerate(zip(found.ids, found.logps, strict=True)):
        told.append({f"token_id:{token}": logp})
        if found.likeliest_ids:
            beside = zip(found.likeliest_ids[place], found.likeliest_logps[place], strict=True)
            told[-1] |= {f"token_id:{one}": own for one, own in beside if one >= 0}
            told[-1] |= {f"token_id:{900 + n}": -9999.0 for n, one in enumerate(found.likeliest_ids[place]) if one < 0}
    return told
