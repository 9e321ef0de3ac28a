"""A record that breaks a rule is refused where it is written, in words."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import PluginError
from burnish.registry import FormatRecord, LossRecord, ModelRecord, Record, RewardRecord, serves

LOSS: dict[str, Any] = {
    "name": "dpo",
    "target": "burnish_dpo.loss:DPO",
    "summary": "direct preferences",
    "data": "preference",
    "reduction": "pair_mean",
    "api": 1,
}


def test_a_good_record_is_a_value() -> None:
    assert LossRecord(**LOSS) == LossRecord(**LOSS)
    assert len({LossRecord(**LOSS), LossRecord(**LOSS)}) == 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "DPO", "lower-case words"),
        ("name", "dpo:norm", "lower-case words"),
        ("name", "", "lower-case words"),
        ("target", "burnish_dpo.loss", "'package.module:attribute'"),
        ("target", "./loss.py:DPO", "'package.module:attribute'"),
        ("summary", " ", "summary of one line"),
        ("summary", "two\nlines", "summary of one line"),
        ("data", "preferences", "Did you mean 'preference'?"),
        ("reduction", "pairs_mean", "Did you mean 'pair_mean'?"),
        ("targets", "step", "Did you mean 'steps'?"),
        ("api", 2, "version 2 of the plugin interface; this burnish speaks version 1"),
    ],
)
def test_a_broken_rule_is_named(field: str, value: object, said: str) -> None:
    with pytest.raises(PluginError) as error:
        LossRecord(**{**LOSS, field: value})
    assert said in str(error.value)
    assert "LossRecord" in str(error.value)


def test_the_version_of_the_interface_must_be_said() -> None:
    with pytest.raises(TypeError, match="api"):
        RewardRecord(name="exact", target="a.b:c", summary="s")  # type: ignore[call-arg]


def test_a_format_gives_a_known_kind_and_has_examples() -> None:
    common: dict[str, Any] = {"name": "x", "target": "a.b:c", "summary": "s", "api": 1}
    with pytest.raises(PluginError, match="Did you mean 'preference'"):
        FormatRecord(**common, kind="preferences", examples="a.b:ROWS")
    with pytest.raises(PluginError, match="needs examples as"):
        FormatRecord(**common, kind="preference", examples="rows.json")


def test_models_may_have_dots_in_their_names_and_losses_may_not() -> None:
    common: dict[str, Any] = {"target": "a.b:c", "summary": "s", "api": 1}
    assert ModelRecord(name="qwen2.5-0.5b", **common).name == "qwen2.5-0.5b"
    with pytest.raises(PluginError):
        RewardRecord(name="qwen2.5", **common)


def test_every_kind_of_record_has_a_word_of_its_own() -> None:
    kinds = Record.__subclasses__()
    assert len({kind.word for kind in kinds}) == len(kinds)


def test_what_serves_what() -> None:
    assert serves("preference", "preference")
    assert serves("triple", "preference")  # a triple holds a pair
    assert serves("chat", "sequence")
    assert not serves("preference", "triple")
    assert not serves("unpaired", "preference")
