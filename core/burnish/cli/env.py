"""`burnish env`: what this machine and installation have, for a bug report or a first look."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import typer

from burnish import __version__

app = typer.Typer(add_completion=False, rich_markup_mode=None)

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "datasets", "pydantic", "pluggy", "typer")
OPTIONAL = ("bitsandbytes", "deepspeed", "vllm", "flash_attn", "liger_kernel", "tensorboard", "wandb", "trackio", "mlflow")
VARIABLES = ("BURNISH_CACHE", "BURNISH_DISABLE_PLUGINS", "HF_HOME", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
WIDTH = max(map(len, VARIABLES))


@app.command()
def env() -> None:
    """Say what this machine and installation have."""
    for name, value in _facts():
        typer.echo(f"{name:<{WIDTH}}  {value}")


def _facts() -> Iterator[tuple[str, str]]:
    from burnish.registry import load

    yield "burnish", __version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for library in LIBRARIES:
        yield library, _version(library)
    for library in OPTIONAL:
        yield library, _version(library) if find_spec(library) else "not installed"
    yield from _devices()
    yield "memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB, {os.cpu_count()} processors"
    yield "cache", str(Path(os.environ.get("BURNISH_CACHE", "~/.cache/burnish")).expanduser())
    for variable in VARIABLES:
        if variable in os.environ:
            yield variable, os.environ[variable]
    registry = load()
    yield "plugins", ", ".join(plugin.name for plugin in registry.plugins if not plugin.error)
    for problem in registry.problems():
        yield "problem", problem


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    yield "devices", f"{torch.cuda.device_count()} CUDA, {'' if torch.backends.mps.is_available() else 'no '}MPS"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB, compute {device.major}.{device.minor}"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
