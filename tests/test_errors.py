"""Sentences of errors: near names, and where foreign code broke."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from burnish.errors import did_you_mean, nearest, raised

BROKEN = """import json

def outer():
    return inner()

def inner():
    return json.loads("{")
"""


def test_near_names() -> None:
    assert nearest("dpp", ["sft", "dpo"]) == "dpo"
    assert nearest("xyz", ["sft", "dpo"]) is None
    assert did_you_mean("dpp", ["sft", "dpo"]) == "Did you mean 'dpo'? Known: dpo, sft."
    assert did_you_mean("xyz", []) == "Known: none."


def test_one_slip_comes_before_what_shares_more_letters() -> None:
    assert nearest("dpp", ["dppo", "dpo"]) == "dpo"  # one letter wrong; dppo shares three of its letters
    assert nearest("dop", ["opo", "dpo"]) == "dpo"  # two letters swapped
    assert nearest("dppo", ["dpo", "dppo_norm"]) == "dpo"  # one letter too many
    assert nearest("template", ["temperature", "chat_template"]) == "chat_template"
    assert nearest("nosuch", ["oasst_chat"]) is None


def test_the_last_line_of_the_foreign_code_is_named_not_that_of_what_it_called(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    spec = importlib.util.spec_from_file_location("broken", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(json.JSONDecodeError) as caught:
        module.outer()
    frames = caught.value.__traceback__
    assert frames is not None
    error = caught.value.with_traceback(frames.tb_next)  # as the core sees it, from the call on
    assert raised(error) == f"JSONDecodeError: {error} ({file}:7)"


def test_an_exception_from_nowhere_has_no_place() -> None:
    assert raised(KeyError("x")) == "KeyError: 'x'"
