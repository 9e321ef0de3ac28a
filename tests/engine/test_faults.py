"""What goes wrong around an online run, whoever is to blame: one clear message, and the run goes on, or ends with a valid
checkpoint, as its config says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from policy import HERE, online
from runs import MakeConfig, ledger

import burnish
from burnish.engine.manifest import verify_folder
from burnish.errors import BurnishError, ConfigError, ModelError, RewardError, RunError
from burnish.rollout.journal import Journal

QUESTIONS = [{"prompt": f"q {number}: "} for number in range(12)]
FAULTS = '''
import asyncio

TURNS = []
GOOD = lambda completions: [float(len(one)) for one in completions]


def raises(completions):
    raise ValueError("no more")


def no_number(completions):
    return [float("nan"), *GOOD(completions)[1:]]


def too_few(completions):
    return [1.0]


async def hangs(completions):
    await asyncio.sleep(60)


def nothing(completions):
    return [None] * len(completions)


def turn_of(completions):
    """Which rollout batch it is, of eight completions; one that is asked about again alone is of the last."""
    TURNS.extend([1] * (len(completions) == 8))
    return len(TURNS)


async def every_fault(completions, **_):
    """In the batches 1 to 4; then it is good."""
    await asyncio.sleep(0)
    faults = {1: raises, 2: no_number, 3: too_few, 4: hangs}
    found = faults.get(turn_of(completions), GOOD)(completions)
    return await found if asyncio.iscoroutine(found) else found


def later(fault):
    """Good once, then always with this fault."""
    return lambda completions, **_: (GOOD if turn_of(completions) == 1 else fault)(completions)


later_no_number, later_too_few, later_nothing = later(no_number), later(too_few), later(nothing)


class Dies:
    """An environment that fails in the rollout batches `first` to `last`."""

    judges = False

    def __init__(self, first: int = 2, last: int = 99):
        self.first, self.last, self.played = first, last, 0

    async def __call__(self, task, generate):
        from burnish.rollout.single_turn import SingleTurn
        self.played += 1
        if self.first <= (self.played + 7) // 8 <= self.last:
            raise LookupError("the level is gone")
        return await SingleTurn()(task, generate)
'''


@pytest.fixture
def faults(tmp_path: Path) -> str:
    """A file of faulty rewards and environments, new for every test."""
    path = tmp_path / "faults.py"
    path.write_text(FAULTS)
    return str(path)


def run_of(make_config: MakeConfig, steps: int = 2, **rollout: Any) -> dict[str, Any]:
    """Eight completions to a rollout batch, each batch one step."""
    config = make_config(**online(epochs=1, **rollout))
    config["train"] = {"batch_size": 8, "steps": steps}
    return config


def outcomes(config: dict[str, Any]) -> list[set[str]]:
    journal = Journal(Path(config["output"]) / "rollouts")
    return [{one.outcome for one in journal.read(number) or ()} for number in journal.numbers()]


def has_saved(config: dict[str, Any], step: int) -> bool:
    """Whether a whole checkpoint of that step is there: `verify_folder` raises for a damaged one."""
    folder = Path(config["output"]) / f"checkpoints/step-{step:06}"
    verify_folder(folder)
    return folder.is_dir()


def test_the_run_goes_on_whatever_a_reward_does(
    make_config: MakeConfig, faults: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_of(make_config, rewards=[{f"{faults}:every_fault": {"time_limit": 1.0}}], on_reward_error="drop")
    burnish.train(config, data=QUESTIONS)
    raised, no_number, too_few, hung, good = outcomes(config)
    assert (raised, too_few, hung) == ({"reward_error"}, {"reward_error"}, {"timeout"})
    assert no_number > {"reward_error"}
    assert good <= {"ok", "truncated"}
    assert [line["step"] for line in ledger(Path(config["output"]))] == [1, 2]
    said = " ".join("".join(capsys.readouterr()).split())
    assert said.count("ValueError: no more") == said.count("longer than its time limit of 1 s") == 1
    assert "nothing of this rollout batch can be trained on: its episodes ended as reward_error" in said


@pytest.mark.parametrize(
    ("reward", "error", "said"),
    [
        ("later_no_number", RewardError, r"the reward 'later_no_number' returned nan for row \d+ of main"),
        ("later_too_few", RewardError, r"the reward 'later_too_few' returned 1 values for 8 completions: \[1.0\]"),
        ("later_nothing", RunError, "every reward gave None for every completion; so did the 7 batches before it"),
    ],
)
def test_the_run_ends_with_what_it_has_learnt(
    make_config: MakeConfig, faults: str, reward: str, error: type[BurnishError], said: str
) -> None:
    config = run_of(make_config, rewards=[f"{faults}:{reward}"])
    with pytest.raises(error, match=said):
        burnish.train(config, data=QUESTIONS)
    assert has_saved(config, 1)


def test_an_environment_that_comes_back(make_config: MakeConfig, faults: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_of(make_config, environment={f"{faults}:Dies": {"last": 2}})
    burnish.train(config, data=QUESTIONS)
    assert outcomes(config)[1] == {"environment_error"}
    assert len(ledger(Path(config["output"]))) == 2
    said = " ".join("".join(capsys.readouterr()).split())
    assert said.count("the environment raised LookupError: the level is gone") == 1


def test_an_environment_that_stays_dead(make_config: MakeConfig, faults: str) -> None:
    config = run_of(make_config, environment={f"{faults}:Dies": {}})
    with pytest.raises(RunError, match="its episodes ended as environment_error; so did the 7 batches before it"):
        burnish.train(config, data=QUESTIONS)
    assert has_saved(config, 1)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("refuses", ModelError, "the server refused with 400"),
        ("foreign", ModelError, r"the backend drew the id 9999, and the vocabulary of the trained model has \d+ ids"),
        ("misses", ModelError, "the backend gave 5 log-probabilities for 6 tokens"),
        ("gone", RunError, "its episodes ended as infrastructure_error; so did the 7 batches before it"),
    ],
)
def test_a_backend_that_fails_for_good(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, fault: str, error: type[BurnishError], said: str
) -> None:
    monkeypatch.setattr("burnish.rollout.play.PAUSE_S", 0.0)
    with pytest.raises(error, match=said):
        burnish.train(config := failing(make_config, fault), data=QUESTIONS)
    assert has_saved(config, 1)


def test_a_backend_that_comes_back(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two requests fail; their episodes are begun again."""
    monkeypatch.setattr("burnish.rollout.play.PAUSE_S", 0.0)
    config = failing(make_config, "gone", times=2)
    burnish.train(config, data=QUESTIONS)
    assert all(found <= {"ok", "truncated"} for found in outcomes(config))
    assert ledger(Path(config["output"]))[1]["environment/retries"] == pytest.approx(2 / 8)
    said = " ".join("".join(capsys.readouterr()).split())
    assert "the server cannot be reached" in said
    assert "the episode is begun again, 2 times at most (infrastructure_error)" in said
    assert "left out" not in said


def failing(make_config: MakeConfig, fault: str, times: int = 9999) -> dict[str, Any]:
    """A run whose backend fails from the second rollout batch on, so many times."""
    backend = {f"{HERE.with_name('faulty.py')}:Failing": {"fault": fault, "times": times}}
    config = run_of(make_config, backend=backend, receipts={"handshake": False})
    [options] = backend.values()
    options["model"] = config["model"]["name"]
    return config


def test_prompts_that_leave_no_room_are_left_out_or_refused(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 512 positions; the tokenizer has one id to a byte."""
    rows = [*QUESTIONS[:3], {"prompt": "long " * 120}]
    config = run_of(make_config, prompts=4, group_size=2)
    burnish.train(config, data=rows)
    assert all("filtered" in found and found <= {"ok", "truncated", "filtered"} for found in outcomes(config))
    said = " ".join("".join(capsys.readouterr()).split())
    assert said.count("row 3 of main is left out (filtered)") == 1
    assert "the model's positions leave room for 506 before an answer of 6" in said
    config |= {"render": {"overlength": "error"}, "output": config["output"] + "2"}
    with pytest.raises(ConfigError, match=r"the prompt of row 3 of main has 60\d tokens, and with 6 more"):
        burnish.train(config, data=rows)


def test_a_batch_of_which_all_was_cut_teaches_nothing_and_the_run_goes_on(make_config: MakeConfig) -> None:
    config = run_of(make_config, sampling={"max_new_tokens": 2, "temperature": 1.0}, environment=f"{HERE}:Cut")
    config["objective"] = [{"grpo": {"weights": ["overlong_filter"]}}]
    burnish.train(config, data=QUESTIONS)
    lines = ledger(Path(config["output"]))
    assert [line["completions/clipped_ratio"] for line in lines] == [1.0, 1.0]
    assert [line["grad_norm"] for line in lines] == [0.0, 0.0]
