"""Whole runs of several turns: what is trained on is what was sampled, and code that a config names is code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy import HERE, online
from runs import MakeConfig, ledger

import burnish
from burnish.config import custom_values, load_config
from burnish.errors import BurnishError, ConfigError
from burnish.registry import load
from burnish.rollout.journal import Journal
from burnish.testing import tiny_model, tiny_tokenizer

ROWS = [{"prompt": [{"role": "user", "content": f"q {number}"}], "level": number} for number in range(8)]
GAME = '''
class Game:
    """Three turns, of which each earns its number."""

    def __init__(self, base: float = 0.0):
        self.base, self.turn = base, 0

    def reset(self, level: int) -> str:
        return f"level {level}"

    def step(self, said: str):
        self.turn += 1
        return f"turn {self.turn}", self.base + self.turn, self.turn == 3


def ask(text: str) -> str:
    """Ask."""
    return text


def always(text):
    from burnish.rollout.environments.calls import ToolCall
    return [ToolCall(name="ask", arguments={"text": "why"})]
'''


@pytest.fixture
def game(tmp_path: Path) -> str:
    """A file with a class and a tool."""
    path = tmp_path / "game.py"
    path.write_text(GAME)
    return str(path)


def journal(config: dict[str, Any], number: int = 0) -> Any:
    return Journal(Path(config["output"]) / "rollouts").read(number)


def test_a_class_of_ones_own_is_played(make_config: MakeConfig, game: str) -> None:
    """Rewards 1, 2, 3 with base 0; the log-probabilities, drawn turn by turn, are the trainer's of the whole. Turns end at stop
    strings, which most bytes are here."""
    stops = [chr(byte) for byte in range(33, 127)]
    section = {"environment": {f"{game}:Game": {"base": 0.0}}, "rewards": [], "advantage": {"step": {"scale": "none"}}}
    config = make_config(**online(**section, sampling={"max_new_tokens": 6, "temperature": 1.0, "stop": stops}))
    config["train"] = {"batch_size": 4, "steps": 4}
    burnish.train(config, data=ROWS)
    ended = [one for one in journal(config) if one.outcome == "ok"]
    assert ended
    for one in ended:
        places = np.flatnonzero(one.own)
        turns = np.split(places, np.flatnonzero(np.diff(one.tokens["steps"][places])) + 1)
        earned = [one.earned["turns"][turn].tolist() for turn in turns]
        assert earned == [[0.0] * (len(turn) - 1) + [place + 1.0] for place, turn in enumerate(turns)]
        assert one.reward == 6.0
        np.testing.assert_allclose(one.tokens["old"][one.own], one.tokens["behaviour"][one.own], atol=1e-4)
    assert ledger(Path(config["output"]))[0]["rewards/turns/mean"] > 0


def test_sources_are_played_in_environments_of_their_own(make_config: MakeConfig, game: str) -> None:
    """Rows of `games` in turns, the others once; batches have both, evaluations play both."""
    section = {"prompts": 4, "sources": ["main", "games"]}
    config = make_config(**online(**section))
    config["data"]["main"] = {**config["data"]["main"], "weight": 1.0, "holdout": 0.5}
    config["data"]["games"] = {**config["data"]["main"], "environment": {f"{game}:Game": {}}}
    config["objective"] += [{f"{HERE}:Gradient": {"source": "games", "name": "games"}}]
    config["train"] = {"batch_size": 16, "steps": 1}
    config["evaluate"] = {"at_start": True, "sampling": {"max_new_tokens": 4}}
    result = burnish.train(config, data={"main": ROWS, "games": ROWS})
    turned = {(one.origin.source, "turns" in one.notes) for one in journal(config)}
    assert turned == {("main", False), ("games", True)}  # an answer that is cut off ends its game
    assert "eval/environment/turns" in result.evaluation


def test_an_environment_of_a_source_that_is_not_played_is_refused(make_config: MakeConfig, game: str) -> None:
    config = make_config(**online())
    config["data"]["other"] = {**config["data"]["main"], "environment": {f"{game}:Game": {}}}
    with pytest.raises(ConfigError, match=r"data.other.environment: rows of 'other' are read, not played; add it to rollout"):
        burnish.train(config, data={"main": ROWS, "other": ROWS})


def test_tools_are_called_in_a_run(make_config: MakeConfig, game: str) -> None:
    """Whatever the policy writes is read as a call; the third turn is one too many."""
    tools = {"tools": [f"{game}:ask"], "parser": f"{game}:always", "max_turns": 2}
    config = make_config(**online(environment={"tools": tools}))
    config["rollout"]["sampling"] |= {"stop": [chr(byte) for byte in range(33, 127)]}
    config["train"] = {"batch_size": 8, "steps": 1}
    burnish.train(config, data=ROWS)
    played = journal(config)
    assert {one.outcome for one in played} == {"truncated"}
    assert {one.notes["turns"] for one in played} >= {2.0}
    line = ledger(Path(config["output"]))[0]
    assert 1.0 <= line["tools/call_frequency"] <= 2.0
    assert line["tools/failure_frequency"] == 0.0


def test_tools_that_a_config_names_are_code(make_config: MakeConfig, game: str) -> None:
    config = make_config(**online(environment={"tools": {"tools": [f"{game}:ask", "math:floor", "no such: thing"]}}))
    found = custom_values(load_config(config, registry=load()))
    assert {f"{game}:ask", "math:floor", f"{HERE}:small"} - found.keys() <= {"math:floor"}  # built in: it has no file
    before = found[f"{game}:ask"]
    Path(game).write_text(GAME + "\n")
    assert custom_values(load_config(config, registry=load()))[f"{game}:ask"] != before


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": {"tools": ["./nowhere.py:ask"]}}, "names code that is not there"),
        ({"GAME:Game": {"bass": 1.0}}, "Did you mean 'base'"),
        ({"GAME:Game": {"max_turns": 0}}, "at least 1"),
    ],
)
def test_what_cannot_be_played_is_refused_before_a_weight_is_read(
    make_config: MakeConfig, game: str, environment: dict[str, Any], said: str
) -> None:
    given = {name.replace("GAME", game): options for name, options in environment.items()}
    with pytest.raises(BurnishError, match=said):
        burnish.train(make_config(**online(environment=given), model={"name": "/no/such/model"}), data=ROWS)


def test_held_out_rows_are_played_to_their_end(make_config: MakeConfig, tmp_path: Path) -> None:
    """Games of two turns that nothing but the environment judges, before and after a step, with the best kept by it."""
    path = tmp_path / "counted.py"
    path.write_text(
        "class Counted:\n"
        "    def reset(self, level):\n"
        "        self.turn = 0\n"
        "    def step(self, said):\n"
        "        self.turn += 1\n"
        "        return 'on', float(self.turn), self.turn == 2\n"
    )
    config = make_config(**online(environment=f"{path}:Counted", rewards=[], epochs=1))
    stops = [chr(byte) for byte in range(256) if chr(byte).isprintable()]
    sampling = {"max_new_tokens": 8, "temperature": 1.0, "stop": stops}
    config["rollout"]["sampling"] = sampling
    config["data"]["main"] = {"source": "given", "holdout": 0.5}
    evaluate = {"at_start": True, "sampling": sampling, "metric": "eval/rewards/turns/mean", "greater_is_better": True}
    config |= {"train": {"batch_size": 8, "steps": 1}, "evaluate": evaluate, "checkpoint": {"best": True}}
    result = burnish.train(config, data=ROWS)
    for found in (result.before, result.evaluation):
        assert 1.0 <= found["eval/environment/turns"] <= 2.0
        assert found["eval/rewards/turns/mean"] == found["eval/reward"] > 0


def test_tools_alone_judge_nothing(make_config: MakeConfig, game: str) -> None:
    config = make_config(**online(environment={"tools": {"tools": [f"{game}:ask"]}}))
    config["rollout"]["rewards"] = []
    with pytest.raises(ConfigError, match="nothing judges the completions"):
        burnish.train(config, data=ROWS)


def test_a_run_learns_from_what_turns_earn(make_config: MakeConfig, tmp_path: Path) -> None:
    """Each of two turns earns 1 when it ends with a digit; with `step` and gamma 0 a turn is credited with its own alone."""
    path = tmp_path / "digits.py"
    path.write_text(
        "class Digits:\n"
        "    def reset(self):\n"
        "        self.turn = 0\n"
        "    def step(self, said):\n"
        "        self.turn += 1\n"
        "        return 'on', float(said[-1:].isdigit()), self.turn == 2\n"
    )
    section = {"environment": f"{path}:Digits", "rewards": [], "advantage": {"step": {"gamma": 0.0}}, "epochs": 1}
    config = make_config(**online(**section, prompts=4, group_size=8))
    config["rollout"]["sampling"] = {"max_new_tokens": 6, "temperature": 1.0, "stop": [chr(byte) for byte in range(33, 127)]}
    config |= {"train": {"batch_size": 32, "steps": 16}, "optimizer": {"lr": 0.02}}
    model = tiny_model(initializer_range=0.1)
    burnish.train(config, data=ROWS, model=model, tokenizer=tiny_tokenizer())
    earned = [line["rewards/turns/mean"] for line in ledger(Path(config["output"]))]
    assert sum(earned[-4:]) / 4 > sum(earned[:4]) / 4 + 0.3
