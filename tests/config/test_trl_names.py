"""Keys that people bring from TRL are answered with what does the same here."""

from __future__ import annotations

import pytest

from burnish.config import load_config
from burnish.config.messages import known_keys, sections_in
from burnish.config.sections import Sections
from burnish.config.trl_names import KEYS, NEEDLESS
from burnish.errors import ConfigError


@pytest.mark.parametrize("path", sorted(set(KEYS.values())))
def test_what_is_named_exists(path: str) -> None:
    section = Sections
    *parents, last = [part for part in path.split(".") if part != "main"]
    for part in parents:
        section = sections_in(section)[part]  # type: ignore[assignment]
    assert last in known_keys(section)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"learning_rate": 1e-5}, "learning_rate: unknown key. What TRL calls so is `optimizer.lr` here."),
        ({"train": {"num_train_epochs": 3}}, "train.num_train_epochs: unknown key. What TRL calls so is `train.epochs` here."),
        ({"train": {"packing": 1}}, "train.packing: unknown key. It is TRL's, and needless here: batches are always packed."),
        ({"gradient_checkpointing": True}, "gradient_checkpointing: unknown key. Did you mean"),
    ],
)
def test_the_message_says_what_to_use(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(given)
    assert said in str(caught.value)


def test_trl_has_these_arguments() -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    configs = [trl.SFTConfig, trl.DPOConfig, trl.GRPOConfig, trl.ScriptArguments, trl.ModelConfig]
    known = {name for config in configs for name in config.__dataclass_fields__}
    of_trainers = {"train_dataset", "eval_dataset", "peft_config", "ref_model", "reward_funcs"}
    of_old = {"max_seq_length", "warmup_ratio"}
    assert {*KEYS, *NEEDLESS} - known - of_trainers - of_old == set()
