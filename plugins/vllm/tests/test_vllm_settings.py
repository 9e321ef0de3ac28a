"""What a run says of sampling reaches the server, every word of it."""

from __future__ import annotations

import asyncio

import pytest
from burnish_vllm.backend import VLLM
from conftest import Start

from burnish.config.sections import SamplingSection

PLAIN = {"max_new_tokens": 6, "temperature": 1.0}


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.6},
        {"top_k": 3},
        {"top_p": 0.5},
        {"min_p": 0.4},
        {"repetition_penalty": 3.0},
        {"stop": [chr(byte) for byte in range(32, 127)]},
        {"max_new_tokens": 2},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_setting_reaches_the_server(start: Start, settings: dict[str, object]) -> None:
    """What comes back is what the sampler behind the server makes of it, and not what it makes of the plain settings."""
    server = start()
    changed, plain = (SamplingSection.model_validate({**PLAIN, **more}) for more in (settings, {}))
    found = asyncio.run(VLLM(servers=[server.url]).generate([1, 2, 3], changed, seed=7))
    [expected], [other] = (server.sampler.generate([[1, 2, 3]], sampling, [7]) for sampling in (changed, plain))
    assert (found.ids, found.finished) == (expected.ids, expected.finished)
    assert found.logps == pytest.approx(expected.logps, abs=1e-6)
    assert found.ids != other.ids or found.logps != pytest.approx(other.logps, abs=1e-3)
