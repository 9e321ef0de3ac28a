"""What `to_yaml` writes, any YAML 1.2 reader reads back, and PyYAML too."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.config import load_config, to_yaml
from burnish.config.reading import read_value
from burnish.registry import Registry
from burnish.registry.discovery import new_manager

NOTHING = Registry([], new_manager().hook)
KEYS = st.from_regex(r"[a-z][a-z .:#-]*[a-z]", fullmatch=True)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text().filter(lambda text: text[:1] != "."),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(options=st.dictionaries(st.sampled_from(["alpha", "on", "1", "no way", "null"]), PLAIN, max_size=3))
def test_any_plain_data_is_read_back(options: dict[str, object]) -> None:
    config = load_config({"data": {"main": {"source": "x", "options": options}}}, registry=NOTHING)
    text = to_yaml(config)
    assert read_value(text, "shown").plain()["data"]["main"]["options"] == options
    assert yaml.safe_load(text)["data"]["main"]["options"] == options


def test_numbers_that_are_not_finite(write: Callable[[str], Path]) -> None:
    file = write("data: {main: {source: x, options: {a: .inf, b: -.inf, c: .nan}}}")
    read = yaml.safe_load(to_yaml(load_config(file)))["data"]["main"]["options"]
    assert (read["a"], read["b"]) == (math.inf, -math.inf)
    assert math.isnan(read["c"])


def test_a_long_path_with_a_wildcard_is_shown_at_once(write: Callable[[str], Path]) -> None:
    # A pattern with two ways to read every letter once took minutes to find that an asterisk needs quotes.
    source = "/data/" + "a" * 60 + "/*.jsonl"
    config = load_config(write(f"data: {{main: {{source: '{source}'}}}}\n"))
    assert yaml.safe_load(to_yaml(config))["data"]["main"]["source"] == source
