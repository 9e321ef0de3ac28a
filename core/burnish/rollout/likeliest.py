"""The likeliest tokens beside each one that is drawn, for losses that compare whole distributions with the sampler's.

In: what an objective reads, a backend. Out: how many of them are asked for; a refusal where they cannot be had. Nothing is
asked for, and nothing costs more, where no loss on rollouts compares with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from burnish.data.units import LIKELIEST_IDS, LIKELIEST_LOGPS, Numbers
from burnish.errors import ConfigError
from burnish.model.signals import num_likeliest
from burnish.objective.compose import Objective
from burnish.rollout.contract import Backend, Span

if TYPE_CHECKING:
    from burnish.config.sections import RolloutSection, SamplingSection


NONE = {LIKELIEST_IDS: -1.0, LIKELIEST_LOGPS: 0.0}
"""What stands at a token of which nothing was reported, and where there are fewer than K."""


def asked_for(objective: Objective, section: RolloutSection) -> int:
    """How many the losses on what is played compare with; 0 for none."""
    return max((num_likeliest(one.signals()) for one in objective.entries if one.source in section.sources), default=0)


def check_likeliest(objective: Objective, section: RolloutSection, backend: Backend) -> None:
    """ConfigError where a loss compares with tokens that the backend does not report."""
    if backend.capabilities.likeliest:
        return
    for place, entry in enumerate(objective.entries):
        if entry.source in section.sources and (count := num_likeliest(entry.signals())):
            raise ConfigError(
                f"objective.{place}: {entry.name} compares with the {count} likeliest tokens of the sampler, which the backend "
                f"'{next(iter(section.backend))}' does not report; name one that does, such as `hf`, or a loss that needs none"
            )


def reported(sampling: SamplingSection, count: int) -> SamplingSection:
    """The same settings, with so many reported beside each token."""
    from burnish.config.sections import ReportedSection

    return ReportedSection(**sampling.model_dump(), likeliest=count)


def numbers_of(spans: Sequence[Span]) -> dict[str, Numbers]:
    """What was reported in an episode, by the names that sequences have for it: [T, K] each, none at tokens that the policy did
    not write; empty where nothing was reported."""
    widths = {len(row) for span in spans if span.sampled is not None for row in span.sampled.likeliest_ids}
    if not widths:
        return {}
    [width] = widths
    length = sum(len(span.ids) for span in spans)
    ids, logps = (np.full((length, width), none, np.float32) for none in NONE.values())
    start = 0
    for span in spans:
        end = start + len(span.ids)
        if span.sampled is not None and span.sampled.likeliest_ids:
            ids[start:end], logps[start:end] = span.sampled.likeliest_ids, span.sampled.likeliest_logps
        start = end
    return {LIKELIEST_IDS: ids, LIKELIEST_LOGPS: logps}
