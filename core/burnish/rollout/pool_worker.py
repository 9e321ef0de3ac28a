"""A process that asks one reward, from inside: `python -m burnish.rollout.pool_worker`, spoken to by `pool.py`.

Its own standard output is for answers; what the reward prints goes to standard error.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import replace
from typing import IO, Any

from burnish.errors import BurnishError, RewardError, raised
from burnish.registry import load
from burnish.rollout.asking import Answer, Call, Failure
from burnish.rollout.pool import receive, send
from burnish.rollout.rewards import Reward, ask_directly, load_reward


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until there are no more questions."""
    label, made = receive(questions)
    try:
        registry = load(made.disabled, run_code=made.run_code)
        reward = replace(load_reward(made.name, registry, options=made.options, processes=0), name=label)
    except BurnishError as error:
        send(answers, RewardError(str(error)))
        return
    send(answers, "ready")
    while True:
        try:
            call = receive(questions)
        except EOFError:
            return
        send(answers, _answer(reward, call))


def _answer(reward: Reward, call: Call) -> Any:
    """An answer that survives the way back: exceptions stay here, as text."""
    try:
        answer = ask_directly(reward, call)
    except RewardError as error:
        return RewardError(str(error))
    values = [replace(value, error=None) if isinstance(value, Failure) else value for value in answer.values]
    answer = replace(answer, values=values)
    try:
        pickle.dumps(answer)
    except Exception as error:
        sentence = f"what the reward '{reward.name}' logged cannot leave its process: {raised(error)}"
        return Answer.failed(Failure("reward_error", sentence), call.size)
    return answer


def main() -> None:
    """The process. Ctrl-C is for the run, which ends this by closing its input."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
