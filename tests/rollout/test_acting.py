"""Episodes with tools and with classes, played by a policy that says what the test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.data.examples import Prompt, Side
from burnish.errors import ConfigError, InfrastructureError, RewardError
from burnish.registry import load
from burnish.rollout.contract import Episode, Task
from burnish.rollout.environments.classes import environment_of, is_played
from burnish.rollout.environments.tools import Tools
from burnish.rollout.judge import Judge
from burnish.rollout.rewards import Reward, load_reward
from burnish.rollout.sampler import Completion
from burnish.rollout.single_turn import SingleTurn
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.testing import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
USER = ({"role": "user", "content": "2 + 2?"},)
CALL = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 2}}</tool_call><|im_end|>'


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def fail(a: int) -> int:
    """Fail."""
    raise LookupError("no such number")


def down() -> str:
    """Be away."""
    raise InfrastructureError("no answer")


def play(environment: Any, *turns: str, room: int | None = None, prompt: Any = USER, **columns: Any) -> Episode:
    """An episode; the policy's last turn does not end where it ends with `...`."""
    script = list(turns)

    async def generate(ids: Sequence[int]) -> Completion:
        text = script.pop(0)
        written = TOKENIZER(text.removesuffix("..."), add_special_tokens=False)["input_ids"]
        return Completion(written, [-1.0] * len(written), finished=not text.endswith("..."))

    text = prompt
    if not isinstance(prompt, str):
        text = TOKENIZER.apply_chat_template(list(prompt), add_generation_prompt=True, tokenize=False)
    ids = tuple(TOKENIZER(text)["input_ids"])
    task = Task(ids=ids, tokenizer=TOKENIZER, prompt=prompt, room=room, columns=columns, side=Side(columns=columns))
    episode: Episode = asyncio.run(environment(task, generate))
    assert episode.outcome == "truncated" or not script
    return episode


def test_a_tool_is_called_and_its_answer_read() -> None:
    episode = play(Tools(tools=(add,)), f"I add.{CALL}", "4<|im_end|>")
    assert (episode.outcome, episode.reward) == ("ok", None)
    assert [span.sampled is not None for span in episode.spans] == [False, True, False, True]
    told = TOKENIZER.decode(episode.spans[2].ids)
    assert told == "\n<|im_start|>tool\n4<|im_end|>\n<|im_start|>assistant\n"
    assert [one["role"] for one in episode.said] == ["assistant", "tool", "assistant"]
    assert episode.said[0]["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 2, "b": 2}}
    assert episode.said[-1] == {"role": "assistant", "content": "4"}
    assert episode.notes == {"tool_calls": 1, "tool_failures": 0, "turns": 2}


def test_mistakes_are_answered_and_counted() -> None:
    calls = "".join(
        f"<tool_call>{call}</tool_call>"
        for call in ('{"name": "fail", "arguments": {"a": 1}}', '{"name": "ad"}', "{", '{"name": "add", "arguments": {"a": 1}}')
    )
    episode = play(Tools(tools=(add, fail)), f"{calls}<|im_end|>", "sorry<|im_end|>")
    answers = [one["content"] for one in episode.said if one["role"] == "tool"]
    assert answers[0] == "Error: LookupError: no such number"
    assert answers[1].startswith("Error: no tool is called 'ad'. Did you mean 'add'?")
    assert answers[2].startswith("Error: the call is not valid JSON")
    assert answers[3].startswith("Error: add was called with wrong arguments: b: Field required")
    assert (episode.outcome, episode.notes["tool_failures"]) == ("ok", 4)


def test_what_is_down_is_no_zero() -> None:
    with pytest.raises(InfrastructureError):
        play(Tools(tools=(down,)), '<tool_call>{"name": "down"}</tool_call><|im_end|>')


def test_limits() -> None:
    assert play(Tools(tools=(add,), max_turns=2), CALL, CALL).outcome == "truncated"
    assert play(Tools(tools=(add,)), "let me..." ).outcome == "truncated"
    length = len(play(Tools(tools=(add,)), "4<|im_end|>").spans[0].ids)
    for room, turns in ((length - 1, 0), (length, 1)):
        episode = play(Tools(tools=(add,)), CALL, room=room)
        assert (episode.outcome, episode.notes["turns"]) == ("truncated", turns)
    slow = play(Tools(tools=(wait,), call_time_limit=0.05), '<tool_call>{"name": "wait"}</tool_call><|im_end|>', "4<|im_end|>")
    assert slow.said[1]["content"] == "Error: wait took longer than 0.05 s"


async def wait() -> None:
    """Wait."""
    await asyncio.sleep(60)


def test_tools_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text('def add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n')
    environment = environment_of(Tools, {"tools": [f"{tmp_path}/mine.py:add"], "max_turns": 2}, "rollout.environment.tools")
    assert play(environment, CALL, "4<|im_end|>").said[1]["content"] == "4"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tools": []}, "name at least one function"),
        ({}, "tools"),
        ({"tools": ["calculator"]}, "'calculator' names no function"),
        ({"tools": [3]}, "got 3"),
        ({"tools": ["json:dumps"]}, "tool 'dumps'"),
        ({"tools": ["math:floor"], "max_turn": 2}, "Did you mean 'max_turns'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        environment_of(Tools, options, "rollout.environment.tools")


class Guess:
    """A number is guessed; every guess earns minus its distance."""

    made: list[Guess] = []  # noqa: RUF012

    def __init__(self, top: int = 9) -> None:
        self.top, self.secret, self.closed = top, -1, False
        Guess.made.append(self)

    def reset(self, secret: int) -> str:
        self.secret = secret
        return f"Between 0 and {self.top}."

    def step(self, said: str) -> tuple[str, float, bool]:
        distance = abs(int(said) - self.secret)
        return ("warm" if distance < 3 else "cold"), -float(distance), distance == 0

    def reward(self) -> float:
        return 1.0

    def close(self) -> None:
        self.closed = True


def test_a_class_with_steps() -> None:
    environment = environment_of(Guess, {"top": 5, "max_turns": 3}, "rollout.environment.guess")
    episode = play(environment, "4<|im_end|>", "1<|im_end|>", secret=1)
    assert (episode.outcome, episode.reward) == ("ok", 1.0)
    assert [span.reward for span in episode.spans] == [None, -3.0, None, 0.0]
    assert TOKENIZER.decode(episode.spans[0].ids).startswith("<|im_start|>user\n2 + 2?\n\nBetween 0 and 5.<|im_end|>")
    assert episode.said[1] == {"role": "user", "content": "cold"}
    assert Guess.made[-1].closed
    assert environment.judges


def test_steps_over_plain_text() -> None:
    episode = play(environment_of(Guess, {}, "guess"), "4", "1", secret=1, prompt="Guess! ")
    assert TOKENIZER.decode(episode.ids) == "Guess! Between 0 and 9.4\ncold\n1"
    assert episode.said == ()


def test_limits_of_classes() -> None:
    environment = environment_of(Guess, {"max_turns": 1}, "guess")
    episode = play(environment, "4<|im_end|>", secret=1)
    assert (episode.outcome, [span.reward for span in episode.spans]) == ("truncated", [None, -3.0])
    with pytest.raises(ValueError, match="invalid literal"):
        play(environment, "four<|im_end|>", secret=1)
    assert Guess.made[-1].closed
    with pytest.raises(ConfigError, match="max_turns"):
        environment_of(Guess, {"max_turns": 0}, "guess")
    with pytest.raises(ConfigError, match="Did you mean 'top'"):
        environment_of(Guess, {"tpo": 3}, "guess")


def forms() -> list[Callable[[], Any]]:
    """What `step` may return: the first time it goes on with `on`, reward .5; then it is over."""

    class State:
        def __init__(self, observation: Any, reward: Any, done: bool) -> None:
            self.observation, self.reward, self.done = observation, reward, done

    return [
        lambda: iter([("on", 0.5, False), ("off", 1, True)]),
        lambda: iter([("on", 0.5, False, {}), (None, 1, True, {})]),
        lambda: iter([("on", 0.5, False, False, {}), ("off", 1, False, True, {})]),
        lambda: iter([State("on", 0.5, False), State("off", 1, True)]),
        lambda: iter([{"observation": "on", "reward": 0.5, "done": False}, {"observation": "", "reward": 1, "done": True}]),
    ]


@pytest.mark.parametrize("form", forms())
def test_what_a_step_may_return(form: Callable[[], Any]) -> None:
    class Game:
        async def reset(self, **columns: Any) -> None:
            self.left = form()

        async def step(self, said: str) -> Any:
            return next(self.left)

    episode = play(environment_of(Game, {}, "game"), "a<|im_end|>", "b<|im_end|>")
    assert [span.reward for span in episode.spans] == [None, 0.5, None, 1.0]
    assert (episode.outcome, episode.reward, episode.said[1]["content"]) == ("ok", None, "on")


def test_a_step_that_only_says_something() -> None:
    class Echo:
        def reset(self) -> None:
            self.times = 0

        def step(self, said: str) -> str | None:
            self.times += 1
            return said if self.times == 1 else None

    episode = play(environment_of(Echo, {}, "echo"), "a<|im_end|>", "b<|im_end|>")
    assert [span.reward for span in episode.spans] == [None, None, None, None]


class Counter:
    """In the shape of TRL's `environment_factory`: its methods are tools."""

    def __init__(self) -> None:
        self.count = 0

    def reset(self, prompt: Any, start: int = 0, **_: Any) -> str:
        assert prompt == list(USER)
        self.count = start
        return f"It stands at {start}."

    def increment(self, step: int) -> int:
        """Increment the counter.

        Args:
            step: by how much

        Returns:
            Where it stands then.
        """
        self.count += step
        return self.count

    def _hidden(self) -> None:
        """No tool."""

    def get_reward(self) -> float:
        return float(self.count == 7)


def test_a_class_whose_methods_are_tools() -> None:
    call = '<tool_call>{"name": "increment", "arguments": {"step": 2}}</tool_call><|im_end|>'
    environment = environment_of(Counter, {}, "counter")
    episodes = [play(environment, call, call, "done<|im_end|>", start=start) for start in (3, 1)]
    assert [one.reward for one in episodes] == [1.0, 0.0]
    assert [one["content"] for one in episodes[0].said if one["role"] == "tool"] == ["5", "7"]
    prompt = TOKENIZER.decode(episodes[0].spans[0].ids)
    assert '"name": "increment"' in prompt
    assert "by how much" in prompt
    assert "_hidden" not in prompt
    assert "get_reward" not in prompt
    assert "2 + 2?\n\nIt stands at 3.<|im_end|>" in prompt


def solved(environments: Sequence[Counter], **_: Any) -> list[float]:
    """As TRL's reward functions look at the environments of its `environment_factory`."""
    return [float(one.count) for one in environments]


def test_rewards_look_at_the_objects_that_played() -> None:
    """One to a completion, also where a reward is asked about some of them alone; afterwards nobody holds them."""
    call = '<tool_call>{"name": "increment", "arguments": {"step": 2}}</tool_call><|im_end|>'
    episodes = [play(environment_of(Counter, {}, "counter"), call, "done<|im_end|>", start=start) for start in (3, 1)]
    played = [Trajectory.of(Origin("main", 0, 0, 0, member), episode, 0) for member, episode in enumerate(episodes)]
    rows = [Prompt(USER), Prompt(USER)]
    judged = Judge([Reward("solved", solved)], TOKENIZER)(played, rows)
    assert [one.rewards["solved"] for one in judged] == [5.0, 3.0]
    assert [one.instance for one in judged] == [None, None]

    def picky(environments: Sequence[Counter]) -> list[float]:
        return [1 / (one.count - 3) for one in environments]

    good, bad = Judge([Reward("picky", picky)], TOKENIZER, on_error="drop", tells=lambda said: None)(played, rows)
    assert (good.rewards["picky"], bad.outcome) == (0.5, "reward_error")


def test_where_no_object_played_rewards_are_told(tmp_path: Path) -> None:
    single = Episode(spans=play(environment_of(Counter, {}, "counter"), "done<|im_end|>").spans)
    played = [Trajectory.of(Origin("main", 0, 0, 0, 0), single, 0)]
    with pytest.raises(RewardError, match=r"'solved' asks for the objects that played .* a class with `reset`"):
        Judge([Reward("solved", lambda environments: [0.0])], TOKENIZER)(played, [Prompt(USER)])
    (tmp_path / "mine.py").write_text("def looks(environments, **_):\n    return [1.0 for one in environments]\n")
    for given, said in (({"processes": 1}, "asked in other processes"), ({"cache": tmp_path}, "kept by content")):
        with pytest.raises(RewardError, match=said):
            load_reward(f"{tmp_path}/mine.py:looks", load(run_code=True), **given)


def test_a_hanging_step_ends_its_episode() -> None:
    class Hangs:
        def reset(self) -> None:
            self.closed = False

        async def step(self, said: str) -> None:
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        play(environment_of(Hangs, {"call_time_limit": 0.05}, "hangs"), "a<|im_end|>")


def test_so_many_instances_at_once() -> None:
    inside, most = 0, 0

    class Crowd:
        async def reset(self) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)

        async def step(self, said: str) -> tuple[None, float, bool]:
            return None, 1.0, True

        async def close(self) -> None:
            nonlocal inside
            inside -= 1

    environment = environment_of(Crowd, {"at_once": 2}, "crowd")

    async def everybody() -> None:
        async def generate(ids: Sequence[int]) -> Completion:
            return Completion([1], [-1.0], finished=True)

        task = Task(ids=(1,), tokenizer=TOKENIZER, prompt=USER)
        await asyncio.gather(*(environment(task, generate) for _ in range(6)))

    asyncio.run(everybody())
    assert most == 2


def test_which_classes_play_one_episode() -> None:
    assert is_played(Guess)
    assert is_played(Counter)
    assert not is_played(SingleTurn)
    assert not is_played(Tools)
    assert not is_played(add)
    made = environment_of(SingleTurn, {}, "single")
    assert isinstance(made, SingleTurn)
    assert not made.judges
