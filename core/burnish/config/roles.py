"""What losses read beside the policy, against what the config gives them. In: a config and signals. Out: nothing, or a
refusal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from burnish.config.load import Config
from burnish.errors import ConfigError

if TYPE_CHECKING:
    from burnish.model.signals import Signal


def check_roles(config: Config, reads: Mapping[str, Iterable[Signal]]) -> None:
    """ConfigError when a part of the objective reads a model that the config rules out. reads: path of the part -> its
    signals."""
    with config.located():
        for path, signals in reads.items():
            roles = {signal.role for signal in signals}
            if "reference" in roles and config.reference.model == "none":
                raise ConfigError(
                    f"{path}: compares with a reference, but {config.origin('reference.model')} says `reference.model: none`. "
                    "Drop that line (the model before training is then the reference), or choose a loss without one"
                )
            if "teacher" in roles and config.teacher.model is None:
                raise ConfigError(f"{path}: learns from a teacher, but there is none; say which with `teacher.model`")
