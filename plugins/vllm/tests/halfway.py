"""A run that can be killed beside a server: everything that it reads lies in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STEPS = 6
HALFWAY = "burnish_vllm.server:Server._transfer"
"""Called when an update of the server has begun."""
ON_THE_WIRE = "burnish_vllm.wire:_bytes"
"""Called for every tensor that the trainer sends."""
SMALL = """
def small(completion_ids, **_):
    return [sum(one < 40 for one in ids) / len(ids) for ids in completion_ids]
"""


def killable(model: Path, url: str, folder: Path, ahead: int, **rollout: Any) -> dict[str, Any]:
    """One step to a rollout batch of two prompts, a checkpoint after every second; all of them kept."""
    questions, reward = folder / "questions.jsonl", folder / "small.py"
    questions.write_text("".join(json.dumps({"prompt": f"q {number}: "}) + "\n" for number in range(20)))
    reward.write_text(SMALL)
    return {
        "model": {"name": str(model)},
        "data": {"main": {"source": str(questions)}},
        "objective": [{"grpo": {}}],
        "rollout": {
            "prompts": 2,
            "group_size": 4,
            "rewards": [f"{reward}:small"],
            "sampling": {"max_new_tokens": 6},
            "backend": {"vllm": {"servers": [url], "dtype": "float32", "folder": str(folder / "weights")}},
            "max_staleness": ahead,
            **rollout,
        },
        "train": {"batch_size": 8, "steps": STEPS},
        "optimizer": {"lr": 0.01},
        "checkpoint": {"every": 2, "keep": STEPS},
        "output": str(folder / "run"),
    }
