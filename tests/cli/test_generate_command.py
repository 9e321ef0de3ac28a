"""`burnish generate`: one prompt, standard input, a conversation; from a model folder, a run, an adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from burnish.cli.generate import Speaker, converse
from burnish.cli.main import app
from burnish.config.sections import SamplingSection
from burnish.model.adapters import add_lora
from burnish.rollout.sampler import HFSampler
from burnish.testing.tiny import tiny_model, tiny_tokenizer

BRINGS_CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({mark!r}).touch()
class Config(LlamaConfig):
    model_type = "brings_code"
class Model(LlamaForCausalLM):
    config_class = Config
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny chat model in Hugging Face form."""
    path = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def invoke(*arguments: object, **kwargs: Any) -> Any:
    return CliRunner().invoke(app, ["generate", *map(str, arguments)], **kwargs)


def expected(text: str, chat: bool = True, **sampling: Any) -> str:
    """What the tiny model says to one prompt."""
    speaker = Speaker(
        HFSampler(tiny_model("llama"), tiny_tokenizer()), tiny_tokenizer(), SamplingSection(**sampling), chats=chat
    )
    return speaker.answer(text)


def test_one_prompt(folder: Path) -> None:
    result = invoke(folder, "--prompt", "2 + 2", "--max-new-tokens", 6)
    assert result.exit_code == 0, result.output
    assert result.stdout == expected("2 + 2", max_new_tokens=6) + "\n"


def test_standard_input_is_one_prompt(folder: Path) -> None:
    result = invoke(folder, "--max-new-tokens", 6, input="two\nlines\n")
    assert result.stdout == expected("two\nlines", max_new_tokens=6) + "\n"


def test_raw_completes_the_text_itself(folder: Path) -> None:
    result = invoke(folder, "-p", "2 + 2 =", "--raw", "--max-new-tokens", 6)
    assert result.stdout == expected("2 + 2 =", chat=False, max_new_tokens=6) + "\n"
    assert result.stdout != invoke(folder, "-p", "2 + 2 =", "--max-new-tokens", 6).stdout


def test_what_would_do_nothing_is_refused(folder: Path) -> None:
    result = invoke(folder, "-p", "a", "--raw", "--system", "Be kind.")
    assert result.exit_code == 2
    assert "--system begins a conversation, but --raw completes the text alone; leave it out" in result.stderr
    result = invoke(folder, "-p", "a", "--top-p", 0)
    assert result.exit_code == 2
    assert "Invalid value for '--top-p'" in result.stderr


def test_a_seed_and_a_temperature(folder: Path) -> None:
    warm = [invoke(folder, "-p", "a", "--temperature", 2, "--seed", seed, "--max-new-tokens", 8).stdout for seed in (0, 0, 1)]
    assert warm[0] == warm[1] != warm[2]


def test_an_adapter_folder_and_a_run(folder: Path, tmp_path: Path) -> None:
    adapted = add_lora(tiny_model("llama"), r=2)
    adapted.base_model.model.name_or_path = str(folder)
    adapted.peft_config["default"].base_model_name_or_path = str(folder)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.5)
    run = tmp_path / "run"
    adapted.save_pretrained(run / "model")
    tiny_tokenizer().save_pretrained(run / "model")
    (run / "run.yaml").write_text(
        f"model: {{name: '{folder}', adapter: {{lora: {{r: 2}}}}}}\n"
        "data: {main: {source: nowhere.jsonl}}\nobjective: [./gone.py:Loss]\n"
    )
    base = invoke(folder, "-p", "hello", "--max-new-tokens", 6).stdout
    from_adapter = invoke(run / "model", "-p", "hello", "--max-new-tokens", 6)
    from_run = invoke(run, "-p", "hello", "--max-new-tokens", 6)
    assert from_adapter.exit_code == from_run.exit_code == 0, from_run.output
    assert from_adapter.stdout == from_run.stdout != base


def test_what_is_not_there_is_one_sentence(tmp_path: Path, folder: Path) -> None:
    result = invoke(tmp_path / "nothing", "-p", "x")
    assert result.exit_code == 2
    assert "there is no such folder" in result.stderr
    result = invoke(folder, "-p", "x", "--step", 3)
    assert result.exit_code == 2
    assert "only a run has steps" in result.stderr


class Recorder:
    """Stands for a sampler: remembers the prompts that it was given."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def generate(self, prompts: list[list[int]], sampling: SamplingSection, seed: int) -> Any:
        from burnish.rollout.sampler import Completion

        self.prompts.append(tiny_tokenizer().decode(prompts[0]))
        return [Completion(tiny_tokenizer()("yes")["input_ids"], [0.0] * 3, True)]


def test_a_conversation_remembers_until_an_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    recorder: Any = Recorder()
    speaker = Speaker(recorder, tiny_tokenizer(), SamplingSection(), system="be brief")
    converse(speaker, ["first", "second", "", "third"])
    assert capsys.readouterr().out == "yes\nyes\nyes\n"
    assert recorder.prompts[1] == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nfirst<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
        "<|im_start|>user\nsecond<|im_end|>\n<|im_start|>assistant\n"
    )
    assert recorder.prompts[2] == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nthird<|im_end|>\n<|im_start|>assistant\n"
    )


def test_code_that_comes_with_a_model_runs_where_the_user_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the config of a run does, which may have been sent by anybody."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    base, run, mark = tmp_path / "base", tmp_path / "run", tmp_path / "mark"
    tiny_model("llama").save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "brings_code", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (base / "config.json").write_text(json.dumps(config))
    (base / "code.py").write_text(BRINGS_CODE.format(mark=str(mark)))
    add_lora(tiny_model("llama"), r=2).save_pretrained(run / "model")
    tiny_tokenizer().save_pretrained(run / "model")
    (run / "run.yaml").write_text(f"model: {{name: '{base}', trust_remote_code: true, adapter: {{lora: {{r: 2}}}}}}\n")
    asked: list[list[object]] = [["generate", run, "-p", "a"], ["export", run, tmp_path / "out"], ["score", run, "rows.jsonl"]]
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.chdir(tmp_path)
    for command in asked:
        result = CliRunner().invoke(app, [*map(str, command)])
        assert "comes with Python code of its own" in result.output
    assert not mark.exists()
    assert invoke(run, "-p", "a", "--max-new-tokens", 1, "--trust-remote-code").exit_code == 0
    assert mark.exists()
