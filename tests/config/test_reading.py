"""YAML is read by YAML 1.2's core schema, with the line of every value."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.config.reading import read_file, read_value
from burnish.errors import ConfigError

Write = Callable[[str], Path]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),  # YAML 1.1: text
        ("1.5e3", 1500.0),
        ("-.5", -0.5),
        ("010", 10),  # YAML 1.1: 8
        ("1:30", "1:30"),  # YAML 1.1: 90
        ("on", "on"),  # YAML 1.1: true
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),  # YAML 1.1: a date
        ("true", True),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("'1'", "1"),
        ("[1, a]", [1, "a"]),
        ("{a: null}", {"a": None}),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("1_000", "1_000"),
        ("0.9.1", "0.9.1"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = read_value(text, "override").plain()
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(read_value(".nan", "override").plain())


def test_every_value_knows_the_line_of_its_key(write: Write) -> None:
    text = "# comment\ntrain:\n  seed: 3\ndata:\n  main:\n    source:\n      a.jsonl\nobjective:\n- dpo: {on: x}\n"
    tree = read_file(write(text))
    assert tree.origin_of("train.seed") == "run.yaml:3"
    assert tree.origin_of("data.main.source") == "run.yaml:6"
    assert tree.origin_of("objective.0.dpo.on") == "run.yaml:9"
    assert tree.origin_of("train.epochs") == "default"
    assert tree.origin_of("model") == "default"


def test_anchors_and_merge_keys(write: Write) -> None:
    tree = read_file(write("base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\nagain: *base\n"))
    assert tree.plain() == {"base": {"a": 1, "b": 2}, "use": {"a": 1, "b": 3}, "again": {"a": 1, "b": 2}}


def test_of_several_merged_the_first_wins(write: Write) -> None:
    tree = read_file(write("one: &one {a: 1}\ntwo: &two {a: 2, b: 2}\nuse: {<<: [*one, *two]}\n"))
    assert tree.plain()["use"] == {"a": 1, "b": 2}


def test_texts_that_begin_with_a_dot_are_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "run.yaml"
    file.write_text("a: ./x.jsonl\nb: ../y.py:f\nc: data/z.jsonl\nlist: [{./mine.py:Loss: {k: .5}}]\n")
    tree = read_file(file).plain()
    assert tree["a"] == str(tmp_path / "sub" / "x.jsonl")
    assert tree["b"] == str(tmp_path / "y.py:f")
    assert tree["c"] == "data/z.jsonl"
    assert tree["list"] == [{str(tmp_path / "sub" / "mine.py:Loss"): {"k": 0.5}}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1,\n", "run.yaml:3: not YAML"),
        ("a: 1\nb: 2\na: 3\n", "run.yaml:3: a: said twice, first at run.yaml:1"),
        ("a: &x\n  b: *x\n", "run.yaml:1: an alias refers to what it is part of"),
        ("a: 1\nb: !include other.yaml\n", "run.yaml:2: a config is plain data, found the tag !include"),
        ("a: !!python/object:os.system {}\n", "found the tag"),
        ("? [1, 2]\n: x\n", "run.yaml:1: a key must be text"),
        ("- dpo\n", "a config is a mapping of sections"),
        ("a: &x 1\nb: {<<: *x}\n", "`<<` takes in mappings"),
    ],
)
def test_what_is_no_config(write: Write, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_file(write(text))
    assert said in str(error.value)


def test_a_missing_file_names_its_neighbours(write: Write) -> None:
    write("{}")
    with pytest.raises(ConfigError, match=r"there is no config file rnu\.yaml\. .* holds run\.yaml\."):
        read_file(Path("rnu.yaml"))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path / "run.yaml")


def test_an_empty_file_is_an_empty_config(write: Write) -> None:
    assert read_file(write("# nothing\n")).plain() == {}
