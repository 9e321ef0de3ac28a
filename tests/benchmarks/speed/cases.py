"""What is measured: rows of a global batch, the loss in both frameworks' words.

In: the folder of the shared data sets and a tokenizer. Out: rows that both frameworks read unchanged. Every step of a run is
the same global batch, so that runs, and steps of a run, can be compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ANSWER_TOKENS = 96


@dataclass(frozen=True)
class Case:
    """One line of the table. rows: (data folder, tokenizer) -> a stream, of which a global batch takes `batch_size`.

    objective: burnish's; kind: which of TRL's trainers; theirs: further options of it; warm: the reference's log-probabilities
    are known before the first measured step; smallest: rows that TRL's trainer needs per device.
    """

    name: str
    kind: str
    rows: Callable[[Path, Any], Iterator[Row]]
    objective: dict[str, Any]
    batch_size: int
    max_length: int = 1024
    warm: bool = False
    theirs: dict[str, Any] = field(default_factory=dict)
    smallest: int = 1


def lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def message(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def alpaca(data: Path, _: Any) -> Iterator[Row]:
    for row in lines(data / "instruct_alpaca" / "train.jsonl"):
        asked = f"{row['instruction']}\n{row['input']}".strip()
        yield {"prompt": [message("user", asked)], "completion": [message("assistant", row["output"])]}


def long_chats(data: Path, _: Any) -> Iterator[Row]:
    """The last answer of conversations of at least four messages and 2,000 characters."""
    for row in lines(data / "oasst_trees" / "conversations_train.jsonl"):
        chat = row["messages"]
        if len(chat) >= 4 and sum(len(turn["content"]) for turn in chat) >= 2000:
            yield {"prompt": chat[:-1], "completion": chat[-1:]}


def sharegpt_pairs(data: Path, _: Any) -> Iterator[Row]:
    names = {"human": "user", "gpt": "assistant", "system": "system"}
    for row in lines(data / "pref_sharegpt" / "train.jsonl"):
        prompt = [message(names[turn["from"]], turn["value"]) for turn in row["conversations"]]
        yield {"prompt": prompt, **{side: [message("assistant", row[side]["value"])] for side in ("chosen", "rejected")}}


def transcript(text: str) -> list[Row]:
    pieces = re.split(r"\n\n(Human|Assistant): ?", text)[1:]
    names = {"Human": "user", "Assistant": "assistant"}
    return [message(names[who], said.strip()) for who, said in zip(pieces[::2], pieces[1::2], strict=True)]


def long_dialogues(data: Path, _: Any) -> Iterator[Row]:
    """Pairs whose prompt has at least three questions and outweighs the two answers together."""
    for row in lines(data / "hh_rlhf_harmless" / "train.jsonl"):
        chosen, rejected = transcript(row["chosen"]), transcript(row["rejected"])
        prompt = chosen[:-1]
        answers = chosen[-1]["content"], rejected[-1]["content"]
        size = sum(len(turn["content"]) for turn in prompt)
        if prompt == rejected[:-1] and len(prompt) >= 5 and size > sum(map(len, answers)) and all(answers):
            yield {"prompt": prompt, "chosen": chosen[-1:], "rejected": rejected[-1:]}


def marked(data: Path, _: Any) -> Iterator[Row]:
    """Good and bad answers in turn."""
    rows = list(lines(data / "kto_unpaired" / "train.jsonl"))
    for good, bad in zip(*([row for row in rows if row["label"] is label] for label in (True, False)), strict=False):
        for row in (good, bad):
            yield {"prompt": row["messages"][:-1], "completion": row["messages"][-1:], "label": row["label"]}


def num_tokens(row: Row, tokenizer: Any) -> int:
    """Of the longest sequence of a row."""
    if "prompt_ids" in row:
        return len(row["prompt_ids"]) + len(row["completion_ids"])
    chats = [row["prompt"] + row[side] for side in ("completion", "chosen", "rejected") if side in row]
    return max(len(tokenizer.apply_chat_template(chat)["input_ids"]) for chat in chats)


def completions(prompts: int, group: int, length: int | None) -> Callable[[Path, Any], Iterator[Row]]:
    """Groups of answers of 96 tokens to GSM8K questions; length: tokens of a prompt, None for one question as it is."""

    def rows(data: Path, tokenizer: Any) -> Iterator[Row]:
        questions = list(lines(data / "gsm8k" / "train.jsonl"))

        def ids(texts: Iterator[str], size: int) -> list[int]:
            found: list[int] = []
            while len(found) < size:
                found += tokenizer(next(texts) + "\n", add_special_tokens=False)["input_ids"]
            return found[:size]

        asked, answered = (iter([row[side] for row in questions]) for side in ("question", "answer"))
        for _ in range(prompts):
            if length is None:
                prompt = tokenizer.apply_chat_template([message("user", next(asked))], add_generation_prompt=True)["input_ids"]
            else:
                prompt = ids(asked, length)
            for member in range(group):
                advantage = (2 * member - group + 1) / group
                yield {"prompt_ids": prompt, "completion_ids": ids(answered, ANSWER_TOKENS), "advantages": advantage}

    return rows


DPO: dict[str, Any] = {"dpo": {"beta": 0.1}}
PRECOMPUTED = {"precompute_ref_log_probs": True}
CASES = [
    Case("SFT instruct_alpaca", "sft", alpaca, {"sft": {}}, 32),
    Case("SFT oasst_trees, long chats", "sft", long_chats, {"sft": {}}, 6),
    Case("DPO pref_sharegpt", "dpo", sharegpt_pairs, DPO, 8),
    Case("DPO hh_rlhf multi-turn", "dpo", long_dialogues, DPO, 8),
    Case("DPO pref_sharegpt, known reference", "dpo", sharegpt_pairs, DPO, 8, warm=True, theirs=PRECOMPUTED),
    Case("KTO kto_unpaired", "kto", marked, {"kto": {}}, 8, smallest=2),
    Case("reward model pref_sharegpt", "reward", sharegpt_pairs, {"bradley_terry": {}}, 8),
    Case("policy gradient 2 x 8", "policy", completions(2, 8, None), {"grpo": {}}, 16),
    Case("policy gradient 1 x 16, prompt 512", "policy", completions(1, 16, 512), {"grpo": {}}, 16),
]
