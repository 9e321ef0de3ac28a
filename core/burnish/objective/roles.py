"""What losses read beside the policy, against what the config gives them. In: a config and its entries. Out: at most a
refusal.
"""

from __future__ import annotations

from collections.abc import Sequence

from burnish.config import Config
from burnish.errors import ConfigError
from burnish.model.signals import Role
from burnish.objective.compose import Objective
from burnish.objective.entries import Entry


def roles_read(config: Config, objective: Objective) -> frozenset[Role]:
    """The models that a run needs: what the objective reads, and what rewards are shaped by."""
    shaped: frozenset[Role] = frozenset({"reference"}) if _is_shaped(config) else frozenset()
    return objective.roles | shaped


def check_roles(config: Config, entries: Sequence[Entry]) -> None:
    """ConfigError when a part of the objective reads a model that the config rules out, or none one that it asks for."""
    read: set[str | None] = set()
    with config.located():
        for place, entry in enumerate(entries):
            signals = entry.signals() | entry.derived_signals()
            roles = {role for signal in signals for role in (signal.role, signal.beside)}
            read |= roles
            path = f"objective.{place}: {entry.name}"
            if "reference" in roles and config.reference.model == "none":
                raise ConfigError(
                    f"{path} compares with a reference, but {config.origin('reference.model')} says `reference.model: none`. "
                    "Drop that line (the model before training is then the reference), or choose a loss without one"
                )
            if "teacher" in roles and config.teacher.model is None:
                raise ConfigError(f"{path} learns from a teacher, but there is none; say which with `teacher.model`")
        _check_value(config, any(signal.name == "value" for entry in entries for signal in entry.signals()))
        if _is_shaped(config) and config.reference.model == "none":
            raise ConfigError(
                "rollout.kl_in_reward: the reward compares with a reference, but "
                f"{config.origin('reference.model')} says `reference.model: none`. Drop one of the two"
            )
        compares = "reference" in read or _is_shaped(config)
        if config.reference.sync is not None:
            _check_sync(config, compares)
        if config.reference.model not in ("auto", "none") and not compares:
            raise ConfigError("reference.model: no part of the objective compares with a reference; drop it")
        if config.teacher.model is not None and "teacher" not in read:
            raise ConfigError("teacher.model: no part of the objective learns from a teacher; drop it, or add `divergence`")


def _is_shaped(config: Config) -> bool:
    return config.rollout is not None and config.rollout.kl_in_reward is not None


def _check_value(config: Config, is_read: bool) -> None:
    name = config.value.model
    if name != "shared" and not is_read:
        raise ConfigError("value.model: no part of the objective reads values; drop it, or add `value` to the objective")
    if name not in ("shared", "copy") and config.model.quantize is not None:
        raise ConfigError(
            f"value.model: '{name}' would be read in {config.model.quantize} (model.quantize) and could not be trained; `copy` "
            "trains adapters of its own"
        )


def _check_sync(config: Config, is_read: bool) -> None:
    if not is_read:
        raise ConfigError("reference.sync: no part of the objective compares with a reference; drop `sync`")
    if config.model.quantize is not None:
        raise ConfigError(
            f"reference.sync: a copy beside weights in {config.model.quantize} is not supported; drop it or `model.quantize`"
        )
