"""The table of arguments in "Coming from TRL": both sides have what it names, and the defaults that it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from burnish.config.sections import MixSection, ReferenceSection, RolloutSection, Sections, SyncSection
from burnish.config.trl_names import KEYS as HERE

KEY = re.compile(rf"`((?:{'|'.join(Sections.model_fields)})\.[a-z_.]+)`(?:: ([\w-]+))?")
ARGUMENT = re.compile(r"`([a-z_]+)`(?:: ([\w-]+))?")
WORDS = {"none": None, "off": False, "on": True, "once": None}


@pytest.fixture
def rows(root: Path) -> list[tuple[str, str]]:
    page = (root / "docs/guide/from-trl.md").read_text(encoding="utf-8")
    table = page.partition("## Arguments")[2].partition("\n## ")[0]
    return [(left, right) for left, right in re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.MULTILINE) if "`" in left]


def default_of(key: str) -> Any:
    """The default of a key of the config."""
    value: Any = Sections(rollout=RolloutSection(), reference=ReferenceSection(sync=SyncSection(mix=MixSection())))
    for part in key.split("."):
        value = getattr(value, part)
    return value


def said(word: str) -> Any:
    """The value that a word of the table stands for."""
    try:
        return float(word)
    except ValueError:
        return WORDS.get(word, word)


def test_the_keys_exist_and_have_these_defaults(rows: list[tuple[str, str]]) -> None:
    found = [pair for _, right in rows for pair in KEY.findall(right)]
    assert len(found) > 20
    for key, word in found:
        value = default_of(key)
        assert not word or value == said(word), key


def test_what_messages_say_is_what_the_table_says(rows: list[tuple[str, str]]) -> None:
    lines = {name: right for left, right in rows for name, _ in ARGUMENT.findall(left)}
    both = HERE.keys() & lines.keys()
    assert len(both) > 10
    for name in sorted(both):
        assert f"`{HERE[name]}" in lines[name], name


def test_the_arguments_exist(rows: list[tuple[str, str]]) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    configs = [trl.SFTConfig, trl.DPOConfig, trl.GRPOConfig]
    known = {name: field.default for config in configs for name, field in config.__dataclass_fields__.items()}
    arguments = [pair for left, _ in rows for pair in ARGUMENT.findall(left)]
    assert len(arguments) > 30
    for name, word in arguments:
        assert name in known, name
        if word and name not in ("learning_rate", "bf16", "beta"):  # one for each trainer; decided when it is made
            assert known[name] == said(word), name
