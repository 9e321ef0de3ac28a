"""`python -m burnish_vllm.serve MODEL [vLLM's options]`: a vLLM server that takes weights. Runs in vLLM's environment.

What is given is passed on to vLLM's own server, with what the backend needs of it: the routes for weights, the file transfer,
and log-probabilities of the distribution that tokens are drawn from.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading

import torch

from burnish_vllm.exchange import TRANSFER

ADAPTERS = "--enable-lora"
FOR_ADAPTERS = {
    "--worker-extension-cls": "burnish_vllm.holding.Holding",
    "--max-loras": "2",  # so that completions of the adapter before can end beside those of the new one
}
OWNED = "BURNISH_VLLM_OWNED"
"""Set for a server that ends when nothing holds the other end of its standard input any more."""
IN_CHUNKS, WHOLE_PROMPTS = "--enable-chunked-prefill", "--no-enable-chunked-prefill"
"""On a CPU, vLLM 0.32 ends when it reads a part of a prompt whose request has a seed: it turns back a generator that cannot."""
NEEDED = {
    "--weight-transfer-config": json.dumps({"backend": TRANSFER}),
    "--logprobs-mode": "processed_logprobs",
    "--host": "127.0.0.1",
    "--generation-config": "vllm",
}


def arguments(given: list[str], on_gpu: bool) -> list[str]:
    """vLLM's arguments: those given, and those needed that were not."""
    named = {word.partition("=")[0] for word in given}
    needed = NEEDED | FOR_ADAPTERS if ADAPTERS in named else NEEDED
    whole = [] if on_gpu or {WHOLE_PROMPTS, IN_CHUNKS} & named else [WHOLE_PROMPTS]
    return ["--model", *given, *(word for name, value in needed.items() if name not in named for word in (name, value)), *whole]


def end_with_owner() -> None:
    """End this process and those that it has started when whoever started it does, in whatever way."""

    def wait() -> None:
        while sys.stdin.buffer.read(1):
            pass
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=wait, name="burnish owner", daemon=True).start()


def main() -> None:
    """Become a vLLM server."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m burnish_vllm.serve MODEL [--port 8000 and other options of vLLM's server]")
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # the routes for weights
    os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1" if ADAPTERS in sys.argv else "0"  # and those for adapters
    if os.environ.get(OWNED):
        end_with_owner()
    sys.argv = ["vllm", *arguments(sys.argv[1:], torch.cuda.is_available())]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")


if __name__ == "__main__":
    main()
