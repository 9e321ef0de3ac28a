"""`burnish env`: versions, devices, what optional parts are there."""

from __future__ import annotations

import torch
from typer.testing import CliRunner

from burnish import __version__
from burnish.cli.env import WIDTH
from burnish.cli.main import app


def test_env_says_what_is_there() -> None:
    result = CliRunner(env={"BURNISH_CACHE": "/some/where"}).invoke(app, ["env"])
    assert result.exit_code == 0, result.output
    facts = {line[:WIDTH].strip(): line[WIDTH + 2 :] for line in result.stdout.splitlines()}
    assert facts["burnish"] == __version__
    assert facts["torch"] == torch.__version__
    assert {"bitsandbytes", "vllm", "deepspeed", "devices", "memory", "plugins"} <= set(facts)
    assert facts["cache"] == "/some/where"
