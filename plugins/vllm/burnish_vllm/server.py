"""One vLLM server: what is asked of it over HTTP, and what its answers mean. Knows neither other servers nor when to try again.

In: token ids, a file of weights. Out: completions, what its workers say they loaded. Everything that may pass is `Unreachable`;
everything that will not is a `ModelError` in the server's own words.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch
from torch import Tensor

from burnish.config.sections import SamplingSection
from burnish.errors import ModelError
from burnish.rollout.contract import Held, Receipt
from burnish.rollout.sampler import Completion
from burnish.rollout.waiting import in_thread
from burnish_vllm.exchange import SHOW, read_receipts, read_weights
from burnish_vllm.ipc import lent, own_gpus, taken_back
from burnish_vllm.wire import Lost, Wire, announcement, reached_at

START = "start the server with `python -m burnish_vllm.serve MODEL`"
UNIX = "unix:"
PASSING = ("/v1/completions", "/v1/models", "/weight_info")
"""Where a failure inside the server may pass; a failed update stays failed."""
FAILED = "failed"
"""The tag of weights that came only in part."""
MINUS_INFINITY = -9999.0  # what vLLM writes for it, JSON having no such number
NAMED = "token_id:"  # what comes before an id where tokens are named by them


class Unreachable(Exception):
    """The server is not there, or not itself: it may be again."""


class OtherWeights(Unreachable):
    """The server holds other weights than it was sent: it was started again, or somebody else sent it some."""


@dataclass
class Server:
    """url: without a path, or `unix:` and the path of a socket. name: of the model in requests; asked of the server when None.
    tag: of the weights that it was last sent, None before; coming: of those that it is being sent. adapter: what requests name
    instead of the model, and its tag. drawing: completions that are being drawn, by the name that was asked. transfer: how
    weights go there, `file`, `ipc` or a kind of wire; wire: where there is one; timeout: seconds for which its ends wait;
    device: the trainer's GPU, where it sends from one. gpus: those that its workers share with this process, which lends them
    memory there."""

    url: str
    name: str | None = None
    tag: str | None = None
    coming: str | None = None
    adapter: tuple[str, str] | None = None
    drawing: Counter[str] = field(default_factory=Counter)
    transfer: str = "file"
    wire: Wire | None = None
    timeout: float = 600.0
    device: torch.device = torch.device("cpu")
    gpus: dict[str, torch.device] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """What stands for a socket in requests."""
        return f"{hashlib.blake2b(self.url.encode(), digest_size=8).hexdigest()}.socket"

    @property
    def socket(self) -> str | None:
        """The path of its socket, where it has one."""
        return self.url.removeprefix(UNIX) if self.url.startswith(UNIX) else None

    async def is_ready(self, client: httpx.AsyncClient) -> bool:
        """Whether it answers."""
        try:
            await self._send(client, "GET", "/health", None)
        except (Unreachable, ModelError):
            return False
        return True

    async def sleep(self, client: httpx.AsyncClient) -> None:
        """Let it give the memory of its devices back; its weights wait in the host's."""
        await self._tell(client, "/sleep?level=1&mode=wait", {})

    async def wake(self, client: httpx.AsyncClient) -> None:
        """Let it take the memory again. ModelError where it goes on sleeping."""
        answer = await self._post(client, "/wake_up", None)
        if answer.get("status") != "awake":
            raise ModelError(f"{self.url} was woken and is {answer.get('status')}")

    async def complete(
        self, client: httpx.AsyncClient, ids: Sequence[int], sampling: SamplingSection, seed: int, in_flight: bool
    ) -> Completion:
        """One completion. in_flight: whether the weights may change while it is drawn; its tokens then count as of the older.

        OtherWeights when the server does not hold what it was sent.
        """
        before = await self.require_own(client)
        model, tag = self.adapter or (await self._model(client), before)
        self.drawing[model] += 1
        try:
            answer = await self._post(client, "/v1/completions", self._request(ids, sampling, seed, model))
        finally:
            self.drawing[model] -= 1
        after = await self.version(client)
        if after != before and not (in_flight and after in (self.tag, self.coming)):
            raise OtherWeights(f"{self.url} drew a completion while its weights changed from {before} to {after}")
        return _completion(self.url, ids, answer, tag, getattr(sampling, "likeliest", 0))

    async def push(
        self,
        client: httpx.AsyncClient,
        path: Path,
        receipts: Path,
        tag: str,
        keep: bool,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Receipt:
        """Let it load a file; what its workers say they loaded. keep: requests are frozen meanwhile, and go on with the new
        weights; else they are waited for. weights: what the file holds, to be lent from where they lie. ModelError where the
        server refuses or its workers disagree."""
        if self.tag is None:
            await self._meet(client, receipts)
        await self._post(client, f"/pause?mode={'keep' if keep else 'wait'}", None)
        try:
            await self._open(client)
            self.coming = tag
            try:
                await self._transfer(client, path, receipts, weights)
            except BaseException:
                await self._give_up(client)
                raise
            await self._post(client, "/finish_weight_update", {"weight_version": tag})
            answer = await self._post(client, "/reset_prefix_cache?reset_running_requests=true", None)
            if answer.get("success") is False:
                raise ModelError(f"{self.url} did not drop its prefix cache, which was made with the weights before")
        finally:
            await self._post(client, "/resume", None)
            self.coming = None
            if self.transfer == "ipc":
                taken_back()
        self.tag, self.adapter = tag, None
        return await self._receipt(client, read_receipts(receipts) if self.wire is None else self.wire.reports(receipts.name))

    async def _meet(self, client: httpx.AsyncClient, receipts: Path) -> None:
        """Make the connection for weights, where they need one."""
        self.wire = None
        if self.transfer == "file":
            await self._begin(client, {})
        elif self.transfer == "ipc":
            self.gpus = await self._shared_gpus(client, receipts / "gpus")
        else:
            workers = await self._workers(client)
            meeting, store = Wire.listen(reached_at(self.url), self.transfer, workers, self.timeout)
            joined = in_thread(lambda: Wire.join(meeting, 0, self.device, store))
            _, self.wire = await asyncio.gather(self._begin(client, {"meeting": asdict(meeting)}), joined)

    async def _begin(self, client: httpx.AsyncClient, info: dict[str, Any]) -> None:
        await self._post(client, "/init_weight_transfer_engine", {"init_info": info})

    async def _shared_gpus(self, client: httpx.AsyncClient, folder: Path) -> dict[str, torch.device]:
        """The workers' GPUs, which are this process' own too; ModelError where one is not."""
        await self._begin(client, {"gpus": str(folder)})
        own, theirs, workers = own_gpus(), [one["gpu"] for one in read_receipts(folder)], await self._workers(client)
        if len(theirs) != workers:
            raise ModelError(f"{self.url} has {workers} workers, of which {len(theirs)} say on which GPU they are; {START}")
        for gpu in theirs:
            if gpu not in own:
                raise ModelError(
                    f"{self.url} has a worker on {f'the GPU {gpu}' if gpu else 'a CPU'}; `ipc` lends it memory of a GPU that "
                    f"this process sees too, and that sees {', '.join(own) or 'none'} (CUDA_VISIBLE_DEVICES): use `nccl` or "
                    "`file`"
                )
        return {gpu: own[gpu] for gpu in theirs}

    async def _open(self, client: httpx.AsyncClient) -> None:
        """Begin an update; one that a trainer has left open, because it was killed, is ended first."""
        try:
            await self._post(client, "/start_weight_update", None)
        except ModelError:
            await self._give_up(client)
            await self._post(client, "/start_weight_update", None)

    async def _give_up(self, client: httpx.AsyncClient) -> None:
        """End an update that failed, so that the next one can begin; what it has left is not taken for whole weights."""
        for path, body in (("/finish_weight_update", {}), ("/update_weight_version", {"new_version": FAILED})):
            with suppress(ModelError, Unreachable):  # it may have ended by itself
                await self._post(client, path, body)

    async def _transfer(
        self, client: httpx.AsyncClient, path: Path, receipts: Path, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Weights, by their path, over the wire or out of lent memory."""
        wire = self.wire
        if self.transfer == "ipc":
            chunks = lent(read_weights(path) if weights is None else weights.items(), self.gpus)
            while (chunk := await in_thread(lambda: next(chunks, None))) is not None:
                await self._post(client, "/update_weights", {"update_info": {"receipts": str(receipts), **chunk}})
            return
        if wire is None:
            await self._post(client, "/update_weights", {"update_info": {"path": str(path), "receipts": str(receipts)}})
            return
        info = {"tensors": announcement(read_weights(path)), "receipts": receipts.name}
        try:
            await asyncio.gather(
                self._post(client, "/update_weights", {"update_info": info}), in_thread(lambda: wire.send(read_weights(path)))
            )
        except (ModelError, Unreachable, Lost) as error:
            self.tag = None  # whatever hangs on the wire now, the next update goes over a new one
            wire.cut()
            if isinstance(error, Lost):
                raise Unreachable(f"{self.url} let go of the wire over which it was sent weights ({error})") from error
            raise

    async def load_adapter(self, client: httpx.AsyncClient, folder: Path, receipts: Path, tag: str) -> Receipt:
        """Let it load an adapter, under a name of its own, so that nothing cached or begun with another is mistaken for it:
        completions that are being drawn end with the adapter that they began with. As `push` otherwise."""
        name, before = f"{folder.name}-{uuid.uuid4().hex[:8]}", self.adapter
        await self._tell(client, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        asked = {"method": SHOW, "kwargs": {"folder": str(folder), "receipts": str(receipts)}}
        await self._tell(client, "/collective_rpc", asked)
        self.coming = tag
        try:
            await self._post(client, "/update_weight_version", {"new_version": tag})
            self.tag, self.adapter = tag, (name, tag)
        finally:
            self.coming = None
        if before is not None:
            with suppress(ModelError):  # after a restart it has none
                await self._tell(client, "/v1/unload_lora_adapter", {"lora_name": before[0]})
        return await self._receipt(client, read_receipts(receipts))

    def uses(self, folder: Path) -> bool:
        """Whether it may still read an adapter from this folder."""
        return any(count and name.startswith(folder.name) for name, count in self.drawing.items())

    async def require_own(self, client: httpx.AsyncClient) -> str:
        """The tag of its weights; OtherWeights where they are not those that it was sent."""
        version = await self.version(client)
        if self.tag is not None and version not in (self.tag, self.coming):
            raise OtherWeights(f"{self.url} holds the weights '{version}', not '{self.tag}' as it was sent: was it restarted?")
        return version

    async def require_all(self, client: httpx.AsyncClient) -> None:
        """OtherWeights where it does not hold what it was sent, the adapter included."""
        await self.require_own(client)
        listed = (await self._get(client, "/v1/models"))["data"] if self.adapter else []
        if self.adapter and self.adapter[0] not in {model["id"] for model in listed}:
            raise OtherWeights(f"{self.url} has lost the adapter {self.adapter[0]}")

    async def version(self, client: httpx.AsyncClient) -> str:
        """The tag of the weights that it holds."""
        return str((await self._get(client, "/weight_info"))["weight_version"])

    async def _workers(self, client: httpx.AsyncClient) -> int:
        """How many hold its weights."""
        return int((await self._get(client, "/get_world_size"))["world_size"])

    async def _receipt(self, client: httpx.AsyncClient, found: list[dict[str, Any]]) -> Receipt:
        """What all of its workers say that they hold. found: by each that said something."""
        workers, version = await self._workers(client), await self.version(client)
        if len(found) != workers:
            raise ModelError(f"{self.url} has {workers} workers, of which {len(found)} say what they loaded; {START}")
        for one in found:
            if one["missing"]:
                shown = ", ".join(one["missing"][:3])
                raise ModelError(f"{self.url}: {len(one['missing'])} parameters were not in what was sent, for example {shown}")
            if one["tensors"] != found[0]["tensors"]:
                raise ModelError(f"{self.url}: its workers loaded different weights")
            for name, tensor in one["tensors"].items():
                if tensor["dtype"].startswith(("float", "bfloat")) and tensor["dtype"] != one["dtype"]:
                    raise ModelError(
                        f"{self.url} holds its weights in {one['dtype']}, and was sent '{name}' in {tensor['dtype']}; start it "
                        f"with `--dtype {tensor['dtype']}`, or set `rollout.backend.vllm.dtype: {one['dtype']}`"
                    )
        tensors = {
            name: Held(shape=tuple(one["shape"]), dtype=one["dtype"], hash=one["hash"])
            for name, one in found[0]["tensors"].items()
        }
        return Receipt(version=number(version), tensors=tensors)

    def _request(self, ids: Sequence[int], sampling: SamplingSection, seed: int, model: str) -> dict[str, Any]:
        """Everything that changes a distribution is said, so that no default of the server or of the model does."""
        likeliest = getattr(sampling, "likeliest", 0)
        return {
            "model": model,
            "prompt": list(map(int, ids)),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop": list(sampling.stop),
            "seed": seed,
            "logprobs": likeliest,
            "return_token_ids": True,
            **({"return_tokens_as_token_ids": True} if likeliest else {}),
        }

    async def _model(self, client: httpx.AsyncClient) -> str:
        if self.name is None:
            models = (await self._get(client, "/v1/models"))["data"]
            self.name = str(models[0]["id"])
        return self.name

    async def _get(self, client: httpx.AsyncClient, path: str) -> dict[str, Any]:
        return await self._ask(client, "GET", path, None)

    async def _post(self, client: httpx.AsyncClient, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        return await self._ask(client, "POST", path, body)

    async def _tell(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
        """For routes that do not answer in JSON."""
        await self._send(client, "POST", path, body)

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        answer = await self._send(client, method, path, body)
        try:
            found = answer.json()
        except json.JSONDecodeError as error:
            raise ModelError(f"{self.url}{path} did not answer in JSON: {answer.text[:80]!r}; is it a vLLM server?") from error
        return found if isinstance(found, dict) else {}

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            base = self.url if self.socket is None else f"http://{self.host}"
            # After a failure inside, vLLM closes the connection without a word: what is asked once only has one of its own.
            headers = {} if path in PASSING else {"connection": "close"}
            answer = await client.request(method, f"{base}{path}", json=body, headers=headers)
        except httpx.TimeoutException as error:
            raise Unreachable(f"{self.url}{path} did not answer in time ({type(error).__name__})") from error
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} cannot be reached: {error or type(error).__name__}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            if path == "/v1/completions" and self.adapter:
                raise OtherWeights(f"{self.url} has no {body and body['model']}: {_words(answer)}")
            if path == "/v1/load_lora_adapter":
                raise ModelError(f"{self.url} takes no adapters: {START.rstrip('`')} --enable-lora`")
            if not path.startswith("/v1"):
                raise ModelError(f"{self.url} has no {path.partition('?')[0]}: {START}")
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and path in PASSING:
            raise Unreachable(f"{self.url}{path} failed with {answer.status_code}: {_words(answer)}")
        if answer.is_error:
            raise ModelError(f"{self.url}{path} refused with {answer.status_code}: {_words(answer)}")
        return answer


def number(tag: str) -> int:
    """The version in a tag, such as 7 of `4f1c:7`; -2 for tags of others."""
    _, _, version = tag.partition(":")
    return int(version) if version.lstrip("-").isdigit() else -2


def _completion(url: str, ids: Sequence[int], answer: dict[str, Any], tag: str, likeliest: int) -> Completion:
    [choice] = answer["choices"]
    if choice.get("token_ids") is None or choice.get("logprobs") is None:
        raise ModelError(f"{url} gives no token ids or log-probabilities: it must be vLLM 0.32 or later")
    tokens, logps = [int(one) for one in choice["token_ids"]], [float(one) for one in choice["logprobs"]["token_logprobs"]]
    asked = choice.get("prompt_token_ids")
    if asked is not None and list(asked) != list(map(int, ids)):
        raise ModelError(f"{url} answered another prompt than it was asked: {_differ(ids, asked)}")
    if choice["finish_reason"] not in ("stop", "length"):
        raise Unreachable(f"{url} broke a completion off ({choice['finish_reason']})")
    if len(tokens) != len(logps) or not tokens:
        raise ModelError(f"{url} gave {len(logps)} log-probabilities for {len(tokens)} tokens")
    if strange := [one for one in logps if not MINUS_INFINITY < one <= 0]:
        raise ModelError(f"{url} says that it drew a token of log-probability {strange[0]}")
    versions = [number(tag)] * len(tokens) if number(tag) > -2 else []
    reported = [_likeliest(one, likeliest) for one in choice["logprobs"]["top_logprobs"]] if likeliest else []
    beside = [one for one, _ in reported], [one for _, one in reported]
    return Completion(tokens, logps, choice["finish_reason"] == "stop", versions, *beside)


def _likeliest(told: dict[str, float], count: int) -> tuple[list[int], list[float]]:
    """Ids and log-probabilities of so many tokens, likeliest first. told: theirs by `token_id:ID`, and that of the token that
    was drawn, which may be another one."""
    ranked = sorted(
        ((logp, int(name.removeprefix(NAMED))) for name, logp in told.items() if logp > MINUS_INFINITY), reverse=True
    )
    missing = count - len(ranked[:count])
    return [one for _, one in ranked[:count]] + [-1] * missing, [one for one, _ in ranked[:count]] + [0.0] * missing


def _differ(ids: Sequence[int], asked: Sequence[int]) -> str:
    if len(ids) != len(asked):
        return f"{len(asked)} ids instead of {len(ids)}"
    place = next(place for place, (one, other) in enumerate(zip(ids, asked, strict=True)) if one != other)
    return f"at place {place} id {asked[place]} instead of {ids[place]}"


def _words(answer: httpx.Response) -> str:
    """What the server says went wrong."""
    try:
        body = answer.json()
    except json.JSONDecodeError:
        return answer.text.strip()[:300] or "no word"
    error = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
    return str(error.get("message", error) if isinstance(error, dict) else error)[:600]
