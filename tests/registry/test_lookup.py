"""From names to objects, and what identifies the set of plugins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import PluginError
from burnish.registry import FormatRecord, LossRecord, PluginInfo, custom_hash, differences, is_custom, load
from burnish.registry.inspection import problems, target_problems

Install = Callable[..., Path]

PLUGIN = """
from burnish import LossRecord, hookimpl

@hookimpl
def burnish_losses():
    return [LossRecord(name="mine", target="fake_mine.loss:Mine", summary="s", data="sequence", reduction="token_mean", api=1)]
"""
GOOD = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Mine:
    beta: float = 0.1
    def signals(self): return frozenset()
    def __call__(self, batch): return None
"""


def test_a_target_is_imported_when_asked_for(install: Install) -> None:
    install("mine", PLUGIN, {"loss": GOOD})
    registry = load()
    assert registry.find(LossRecord, "mine").__name__ == "Mine"
    assert list(problems(registry)) == []


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("import no_such", "cannot be imported: ModuleNotFoundError: No module named 'no_such'"),
        ("raise KeyError('x')", "cannot be imported: KeyError: 'x'"),
        ("class Mien: pass", "has no 'Mine'. Did you mean 'Mien'?"),
    ],
)
def test_a_target_that_cannot_be_had_names_the_plugin(install: Install, module: str, said: str) -> None:
    install("mine", PLUGIN, {"loss": module}, version="2.5")
    registry = load()
    with pytest.raises(PluginError) as error:
        registry.find(LossRecord, "mine")
    assert str(error.value).startswith("loss 'mine' of burnish-mine 2.5 (fake_mine.loss:Mine)")
    assert said in str(error.value)
    assert said in "\n".join(problems(registry))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("@dataclass(frozen=True)", ""), "is not a dataclass"),
        (("(frozen=True)", ""), "must be a frozen dataclass"),
        (("def signals", "def signal"), "has no signals()"),
        (("def __call__", "def call"), "has no __call__()"),
    ],
)
def test_a_loss_must_be_what_the_core_calls(install: Install, change: tuple[str, str], said: str) -> None:
    install("mine", PLUGIN, {"loss": GOOD.replace(*change)})
    assert said in "\n".join(problems(load()))


def test_a_format_must_sniff_and_convert() -> None:
    assert list(target_problems(FormatRecord, object(), "it")) == ["it has no sniff()", "it has no convert()"]


def test_the_cores_own_records_keep_their_promises() -> None:
    assert list(problems(load())) == []


def test_the_fingerprint_follows_version_and_sources_without_importing_them(install: Install) -> None:
    folder = install("mine", PLUGIN, {"loss": "raise RuntimeError"})
    before = load().fingerprint()
    assert before["mine"]["distribution"] == "burnish-mine"
    assert before["mine"]["version"] == "1.0"
    (folder / "loss.py").write_text("raise RuntimeError  # changed")
    now = load().fingerprint()
    assert before["mine"]["hash"] != now["mine"]["hash"]
    assert differences(before, now) == [
        f"mine: burnish-mine 1.0 {before['mine']['hash']} -> burnish-mine 1.0 {now['mine']['hash']}"
    ]
    assert "fake_mine.loss" not in sys.modules


def test_the_fingerprint_covers_targets_outside_the_plugins_package(install: Install) -> None:
    outside = install("lib", "raise RuntimeError", {"loss": "x = 1"}).joinpath("loss.py")
    plugin = install("mine", PLUGIN.replace("fake_mine.loss", "fake_lib.loss"))
    before = load(disabled=["lib"]).fingerprint()
    outside.write_text("x = 2")
    assert [line.partition(":")[0] for line in differences(before, load(disabled=["lib"]).fingerprint())] == ["mine"]
    assert plugin.is_dir()


def test_a_failed_plugin_is_part_of_the_fingerprint(install: Install) -> None:
    folder = install("mine", PLUGIN)
    before = load().fingerprint()
    (folder / "plugin.py").write_text("import no_such")
    sys.modules.pop("fake_mine.plugin")
    now = load().fingerprint()
    assert "ModuleNotFoundError" in now["mine"]["error"]
    assert len(differences(before, now)) == 1


def test_differences_name_what_came_and_went() -> None:
    assert differences({"a": {"version": "1"}, "b": "x"}, {"b": "x", "c": "y"}) == ["a: 1 -> absent", "c: absent -> y"]


def test_which_values_are_code() -> None:
    assert all(map(is_custom, ("package.module:attr", "./loss.py:Mine", "/abs/dir.d/loss.py:Mine", "../x y.py:f")))
    assert not any(map(is_custom, ("dpo", "org/model", "data.jsonl", "./data.py", "https://x.y/z", "org/name:rev")))


def test_code_is_run_only_where_allowed(tmp_path: Path) -> None:
    file = tmp_path / "mine_alone.py"
    file.write_text("ran = True\ndef reward(): return 1")
    with pytest.raises(PluginError, match="only `burnish train` and `burnish plugins check` run such code"):
        load().custom(f"{file}:reward")
    assert not [name for name in sys.modules if name.startswith("burnish_custom_mine_alone")]
    assert load(run_code=True).custom(f"{file}:reward")() == 1


def test_a_changed_file_is_run_again(tmp_path: Path) -> None:
    file, registry = tmp_path / "mine.py", load(run_code=True)
    file.write_text("value = 1")
    before = custom_hash(f"{file}:value")
    assert registry.custom(f"{file}:value") == 1
    file.write_text("value = 2")
    assert registry.custom(f"{file}:value") == 2
    assert custom_hash(f"{file}:value") != before


def test_dataclasses_work_in_custom_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from __future__ import annotations\n" + GOOD)
    assert load(run_code=True).find(LossRecord, f"{file}:Mine")().beta == 0.1


@pytest.mark.parametrize(
    ("text", "attribute", "said"),
    [
        ("value = 1", "valeu", "has no 'valeu'. Did you mean 'value'?"),
        ("import no_such", "value", "ModuleNotFoundError: No module named 'no_such'"),
        ("1 / 0", "value", "ZeroDivisionError"),
        ("raise SystemExit(1)", "value", "SystemExit: 1"),
    ],
)
def test_custom_code_that_fails_says_how(tmp_path: Path, text: str, attribute: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(PluginError) as error:
        load(run_code=True).custom(f"{tmp_path / 'mine.py'}:{attribute}")
    assert said in str(error.value)


def test_custom_code_that_is_not_there() -> None:
    with pytest.raises(PluginError, match=r"there is no file .*gone\.py"):
        custom_hash("./gone.py:x")
    with pytest.raises(PluginError, match=r"write './no_such/mod.py:...'"):
        custom_hash("no_such.mod:x")
    with pytest.raises(PluginError, match="no module 'no_such' is on the import path"):
        load(run_code=True).custom("no_such:x")


def test_a_modules_hash_is_found_without_importing_its_package(install: Install) -> None:
    install("lib", "", {"__init__": "raise RuntimeError", "code": "x = 1"})
    assert len(custom_hash("fake_lib.code:x")) == 16
    assert "fake_lib" not in sys.modules


def test_a_plugin_names_itself_in_messages() -> None:
    assert PluginInfo("dpo", "burnish-dpo", "0.1.0", "burnish_dpo.plugin").provider == "burnish-dpo 0.1.0"
