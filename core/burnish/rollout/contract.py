"""What an advantage, an environment and a backend are: the members that the online half calls. No base class to inherit:
protocols, and the frozen values that pass between them.

In: token ids, rewards, weights. Out: episodes, advantages, receipts. Text is never encoded again after it was sampled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor

from burnish.data.examples import Message, Said, Side
from burnish.errors import RewardError
from burnish.model.hashing import tensor_hash
from burnish.objective.ragged import Ragged
from burnish.rollout.sampler import Completion

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection

Outcome = Literal["ok", "truncated", "timeout", "environment_error", "infrastructure_error", "reward_error", "filtered"]
"""How an episode ended. Only `ok` and `truncated` enter a baseline; the others are retried or dropped, never scored zero."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The completions of a rollout batch as an advantage sees them: group after group. A group is what ragged values call a
    sequence: `rewards.mean()` is one number per group, `rewards.per_token(x)` gives it to each of the group's completions.

    Groups differ in size, since only completions with an outcome of `ok` or `truncated` are here, and an empty one is possible.

    rewards: what each completion is worth, after shaping; finite, since a completion that no reward applies to is not here.
    parts: every reward and shaping alone, by name, NaN where it does not apply. weights: by name, its share in the sum that
    `rewards` is, 1 where none is named. lengths: tokens that the policy wrote.

    The others are there for advantages that ask in `needs`. Three have a number for each of those tokens, [tokens] in
    [completions], in the order of `rewards`. values: what the value head gave before it. token_rewards: what it earned by
    itself (a step's reward, at the step's last token; a penalty), which `rewards` then leaves out; for an advantage that does
    not ask, they are summed into `rewards`. steps: the step or turn that it belongs to, from 0, never falling. greedy:
    [groups], the reward of the prompt's most likely completion. opponents: [opponents] in [groups], the rewards of completions
    that were drawn beside the group (`rollout.opponents`).
    """

    rewards: Ragged
    parts: Mapping[str, Ragged]
    lengths: Ragged
    weights: Mapping[str, float] = field(default_factory=dict)
    values: Ragged | None = None
    token_rewards: Ragged | None = None
    steps: Ragged | None = None
    greedy: Tensor | None = None
    opponents: Ragged | None = None

    def need(self, name: str) -> Any:
        """What an advantage asked for; RewardError where it is missing."""
        found = getattr(self, name)
        if found is None:
            raise RewardError(f"the advantage reads `{name}`, which these groups do not have: its `needs` must name it")
        return found


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What a reward may give for a completion instead of one number: a number for each of its steps.

    ends: place of each step's last token among the completion's ids, rising. rewards: one finite number each. No step at all
    means that the reward does not apply.
    """

    ends: tuple[int, ...]
    rewards: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.ends) != len(self.rewards) or list(self.ends) != sorted({*self.ends}) or min(self.ends, default=0) < 0:
            raise RewardError(f"steps end at rising places and have a reward each, got {self.ends} with {self.rewards}")
        if not all(math.isfinite(reward) for reward in self.rewards):
            raise RewardError(f"the reward of a step is a finite number, got {self.rewards}")


class Advantage(Protocol):
    """A pure function of the rewards of groups: a frozen dataclass whose fields are its options.

    Optional members. needs: a frozenset of the names among `values`, `token_rewards`, `steps`, `greedy` and `opponents` that it
    reads. keeps(groups) -> bool [completions]: those that are trained on; the others count as filtered. returns(groups) ->
    Ragged [tokens] in [completions]: what a value head learns, for advantages that read `values`.
    """

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion, shaped like `groups.rewards`; or one per token, [tokens] in [completions]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """A prompt row as an environment gets it. ids: the rendered prompt; prompt: the same as the row has it, for an environment
    that adds to it before anything is sampled. columns: what else the row holds, side: what its rendering needs. tokenizer:
    for what the environment itself says, and to read what the policy said. room: ids that an episode may have before the policy
    goes on, since one more turn could else leave the model's positions; None where that is not known."""

    ids: tuple[int, ...]
    tokenizer: Any
    columns: Mapping[str, Any] = field(default_factory=dict)
    prompt: Said = ""
    side: Side = field(default_factory=Side)
    room: int | None = None


@dataclass(frozen=True, kw_only=True)
class Span:
    """Consecutive ids of one author. sampled: the completion that they are, None where the policy did not write them. reward:
    what the policy earned with them alone, None where turns are not judged; it belongs to the last of them."""

    ids: tuple[int, ...]
    sampled: Completion | None = None
    reward: float | None = None

    def __post_init__(self) -> None:
        if self.sampled is not None and tuple(self.sampled.ids) != self.ids:
            raise ValueError("a sampled span holds exactly the ids that were sampled")
        if self.reward is not None and not (self.sampled is not None and math.isfinite(self.reward)):
            raise ValueError(f"only what the policy wrote earns a reward, and that is a finite number, got {self.reward}")


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A prompt row played to its end: a trajectory in the making. spans: in order, the prompt's first; the policy's own are
    scored. reward: what the environment itself gives for the whole, beside what turns earned; None where rewards judge. said:
    what came after the prompt as messages, for rewards and readers; empty where that is all the policy's. notes: numbers to be
    logged by their means. error: how it failed, in words. instance: the object that played it, for rewards that look at it."""

    spans: tuple[Span, ...]
    outcome: Outcome = "ok"
    reward: float | None = None
    said: tuple[Message, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    instance: Any = None

    def __post_init__(self) -> None:
        if self.reward is not None and not math.isfinite(self.reward):
            raise ValueError(f"the reward of an episode is a finite number, got {self.reward}")

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids, end to end."""
        return tuple(token for span in self.spans for token in span.ids)


class Generate(Protocol):
    """Lets the policy go on."""

    async def __call__(self, ids: Sequence[int]) -> Completion:
        """What the policy writes after `ids`, under the run's sampling settings."""
        ...


class Environment(Protocol):
    """A coroutine over token ids.

    Optional member. judges: false where it gives no rewards, so that others must. What it raises ends its episode: TimeoutError
    as `timeout`, ConnectionError (and `burnish.errors.InfrastructureError`) as `infrastructure_error`, anything else as
    `environment_error`; ConfigError and DataError end the run.
    """

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        """Play one prompt row; called once for each completion of a group."""
        ...


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend can do beyond its duties, and what it is. adapters: load an adapter alone, with `load_adapter`. mixture:
    draw from several models at once. in_flight: take new weights while completions are being drawn. live: it draws from the
    very weights that are trained, so nothing is sent. likeliest: report the likeliest tokens of the distribution that a token
    was drawn from, as many as `sampling.likeliest` says (`ReportedSection`). dtype: in which it holds weights (`bfloat16`),
    None for that of the trained ones; they are sent in it. replicas: samplers that it asks in turn, each of which the canaries
    must reach. on_device: take weights from the GPU that they are trained on, where they are not sharded; else they come on the
    CPU."""

    adapters: bool = False
    mixture: bool = False
    in_flight: bool = False
    live: bool = False
    likeliest: bool = False
    dtype: str | None = None
    replicas: int = 1
    on_device: bool = False


@dataclass(frozen=True, kw_only=True)
class Held:
    """One tensor as a backend holds it. hash: of its bytes."""

    shape: tuple[int, ...]
    dtype: str
    hash: str

    @classmethod
    def of(cls, tensor: Tensor) -> Held:
        """A tensor that is there, wherever it is."""
        return cls(shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."), hash=tensor_hash(tensor))


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Proof that a backend holds the weights of a version: what it holds, by name."""

    version: int
    tensors: Mapping[str, Held]

    @classmethod
    def of(cls, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """For weights as they are after loading; never for those that were sent."""
        return cls(version=version, tensors={name: Held.of(tensor) for name, tensor in weights.items()})


class Backend(Protocol):
    """What generates completions and takes new weights.

    Optional members. Asked of those that declare `adapters`: async load_adapter(version, weights, config) -> Receipt, like
    `update`, for the tensors of one LoRA adapter alone, named and configured as PEFT saves them (`adapter_config.json`); every
    later completion is drawn from the model that the backend began with and this adapter. Told where nothing is drawn beside
    training: async rest(), when a rollout batch is there; until something is asked again, memory may be given back.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beyond its duties."""
        ...

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """One completion of `ids`. Equal seeds give equal completions, whatever else is being generated."""
        ...

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """Take the weights; returns when every later completion is drawn from them. Version -1 is that of the handshake's
        perturbed weights; the true ones come right after them."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...
