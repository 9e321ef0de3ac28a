"""Kill a run anywhere and it goes on to the same weights, bit for bit; change it, and it refuses."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from policy import HERE, online
from runs import LORA, PAIRS, TEXTS, MakeConfig, assert_same, ledger, weights, write_rows

from burnish.api import train
from burnish.engine.interrupts import Interrupted
from burnish.errors import RunError
from burnish.testing import live

DROPOUT = {"lora": {**LORA["lora"], "dropout": 0.2}}
SFT: list[Any] = [{"sft": {}}]
MIXTURE = [{"dpo": {}}, {"sft": {"source": "texts"}}]


SCENARIOS: dict[str, dict[str, Any]] = {
    "dpo, mid-epoch": {},
    "dpo, adapter with dropout": {"model": {"adapter": DROPOUT}},
    "dpo, reference mixed with the policy": {"reference": {"sync": {"mix": {"every": 2}}}},
    "dpo, adapter, reference its corrected average": {
        "model": {"adapter": LORA},
        "reference": {"sync": {"bema": {"every": 2, "after": 1}}},
    },
    "dpo, a continued adapter": {},
    "sft, streamed": {"objective": SFT, "data": {"main": {"streaming": True, "shuffle_buffer": 7}}},
    "sft, adapter, evaluated": {
        "objective": SFT,
        "model": {"adapter": LORA},
        "data": {"main": {"holdout": 0.2}},
        "evaluate": {"every": 2},
    },
    "online": online(),
    "online, filtered, likeliest tokens compared": {
        **online(filter=True, max_refills=2, rewards=[f"{HERE}:begins_small"]),
        "objective": [{"dppo": {"divergence": "topk_tv", "top_k": 4, "threshold": 1e-4}}],
    },
    "online, adapter, beside a source that is read": {
        **online(epochs=1),
        "model": {"adapter": LORA},
        "data": {"texts": {"source": "texts.jsonl"}},
        "objective": [*online()["objective"], {"sft": {"source": "texts"}}],
    },
    "mixture with a state, best kept": {
        "objective": [*MIXTURE, {"sft": {"on": "chosen"}}],
        "data": {"main": {"holdout": 0.2, "weight": 2.0}, "texts": {"source": "texts.jsonl", "streaming": True}},
        "optimizer": {"name": "adafactor"},
        "evaluate": {"every": 1},
        "checkpoint": {"best": True},
    },
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_anywhere_it_ends_with_the_same_weights(
    scenario: str, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "pairs.jsonl", PAIRS if "dpo" in scenario or "mixture" in scenario else TEXTS)
    config = make_config(**SCENARIOS[scenario])
    config["checkpoint"] = {**config.get("checkpoint", {}), "every": 2}
    if "continued" in scenario:
        grown = make_config(model={"adapter": LORA}, train={"steps": 2}, output=str(tmp_path / "grown"))
        live(grown)
        config["model"]["adapter"] = {"path": str(tmp_path / "grown" / "model")}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    num_events = live(config | {"output": str(whole)})
    assert num_events is not None

    config["output"] = str(killed)
    draw = random.Random(scenario)
    assert live(config, draw.randrange(num_events // 2, 3 * num_events // 4)) is None
    assert list((killed / "checkpoints").glob("step-*[0-9]"))  # so that there is something to go on from
    for _ in range(2):
        live(config, draw.randrange(2, num_events // 2), resume=True)
    live(config, resume=True)
    assert_same(weights(whole), weights(killed))
    assert ledger(whole) == ledger(killed)


def stopped_at(make_config: MakeConfig, step: int, **changes: Any) -> dict[str, Any]:
    """The config of a run that was stopped by Ctrl-C in `step`, and so saved after it."""

    class CtrlC:
        def step_finished(self, run: Any, step: Any) -> None:
            if step.step == number:
                os.kill(os.getpid(), signal.SIGINT)

    number = step
    config: dict[str, Any] = make_config(**changes)
    with pytest.raises(Interrupted) as caught:
        train(config, observers=[CtrlC()])
    assert caught.value.code == 130
    return config


def test_ctrl_c_saves_and_the_run_goes_on(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config(output=str(tmp_path / "whole")))
    config = stopped_at(make_config, 4)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000004"]
    result = train(config, resume=True)
    assert_same(weights(tmp_path / "whole"), weights(result.path))
    assert ledger(tmp_path / "whole") == ledger(result.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": {"lr": 0.5}}, r"config: optimizer.lr: 0.01 -> 0.5"),
        ({"objective": [{"dpo": {"beta": 0.2}}]}, r"config: objective"),
        ({"plugins": {"disable": ["bco"]}}, r"plugins: bco: burnish-bco \S+ \S+ -> absent"),
    ],
)
def test_a_changed_run_is_refused_unless_told(make_config: MakeConfig, changes: dict[str, Any], message: str) -> None:
    stopped_at(make_config, 2)
    with pytest.raises(RunError, match=message):
        train(make_config(**changes), resume=True)
    assert train(make_config(**changes), resume=True, allow_changes=True).metrics["step"] == 6


def test_changed_data_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    config = stopped_at(make_config, 2)
    write_rows(tmp_path / "pairs.jsonl", [*PAIRS[:-1], PAIRS[-1] | {"chosen": " another"}])
    with pytest.raises(RunError, match="data: main"):
        train(config, resume=True)


CODE = """
from dataclasses import dataclass

from burnish import Sequences, Terms, logp


@dataclass(frozen=True, kw_only=True)
class Mine:
    def signals(self):
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp)
"""


def test_changed_code_is_refused(make_config: MakeConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(CODE)
    config = stopped_at(make_config, 2, objective=[{f"{file}:Mine": {"on": "chosen"}}])
    train(config, resume=True)
    assert f"code of this run: {file}:Mine" in capfd.readouterr().err
    file.write_text("raise AssertionError('changed code was run')")
    with pytest.raises(RunError, match=r"code: .*mine.py:Mine"):
        train(config, resume=True)


def test_a_damaged_checkpoint_is_refused_and_the_one_before_used_on_request(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config(output=str(tmp_path / "whole"), checkpoint={"every": 2}))
    config = make_config(checkpoint={"every": 2})
    train(config)
    damaged = tmp_path / "run" / "checkpoints" / "step-000006" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"\x00\x00\x00\x01")
    with pytest.raises(RunError, match=r"optimizer.safetensors is damaged.*--step 4"):
        train(config, resume=True)
    train(config, resume=True, step=4)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_finished_run_is_left_as_it_is(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config())
    with pytest.raises(RunError, match="is finished, and has no checkpoint"):
        train(make_config(), resume=True)


def test_without_a_checkpoint_it_begins_anew(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config(output=str(tmp_path / "whole")))
    config = make_config()
    assert live(config, 9) is None
    assert ledger(tmp_path / "run")
    train(config, resume=True)
    assert ledger(tmp_path / "run") == ledger(tmp_path / "whole")
