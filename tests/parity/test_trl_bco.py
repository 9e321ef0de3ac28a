"""`bco` and the bounds of `udm` against TRL 1.4.0, the last to have them, in a folder that BURNISH_OLDER_TRL names."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from burnish_bco.loss import BCO
from burnish_udm.source import UDM

from burnish.testing import sequences, values_of

FOLDER = os.environ.get("BURNISH_OLDER_TRL", "")
THEIRS = """
import json, sys
from types import SimpleNamespace
import torch
from trl.experimental.bco import bco_trainer
batches = json.load(sys.stdin)
alone = SimpleNamespace(use_distributed=False)
trainer = SimpleNamespace(beta=0.3, running=bco_trainer.RunningMoments(alone), match_underlying_distribution=True)
trainer.args = SimpleNamespace(min_density_ratio=0.5, max_density_ratio=10.0)
trainer._get_chosen_prob = lambda points: points
trainer._get_udm_weight = lambda points: bco_trainer.BCOTrainer._get_udm_weight(trainer, points)
found = []
for good, bad, probabilities in batches:
    good, bad = torch.tensor(good, dtype=torch.float64), torch.tensor(bad, dtype=torch.float64)
    given = (good, bad, torch.zeros_like(good), torch.zeros_like(bad), None, torch.tensor(probabilities))
    losses, *_, delta = bco_trainer.BCOTrainer.bco_loss(trainer, *given)
    found.append([losses.mean().item(), float(delta)])
print(json.dumps(found))
"""
# Log-ratios of good and of bad answers, and the probability that each bad one's prompt is of a good answer.
BATCHES = [([1.0, -0.5], [0.3, -2.0, 0.1], [0.5, 0.9, 0.1]), ([2.0], [1.5, -1.0], [0.97, 0.3])]


@pytest.mark.skipif(not FOLDER, reason="BURNISH_OLDER_TRL does not name a folder with TRL 1.4.0")
def test_bco_with_density_ratios() -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {FOLDER!r})\n{THEIRS}"]
    done = subprocess.run(command, input=json.dumps(BATCHES), capture_output=True, text=True, check=True)
    expected = json.loads(done.stdout.splitlines()[-1])
    loss, state = BCO(beta=0.3), None
    for (good, bad, probabilities), (value, delta) in zip(BATCHES, expected, strict=True):
        rows = [[ratio] for ratio in (*good, *bad)]
        given = {"reference": [[0.0] for _ in rows], "scalars": {"label": [1.0] * len(good) + [0.0] * len(bad)}}
        with torch.no_grad():
            found, state = loss.statistic(sequences(rows, **given), state)
        ratios = torch.tensor([p / (1 - p) for p in probabilities], dtype=torch.float64).clamp(UDM.low, UDM.high)
        weights = torch.cat([torch.ones(len(good), dtype=torch.float64), ratios])
        terms = values_of(loss(sequences(rows, **given, statistic=found)), "sequence")
        assert float(found["m"]) == pytest.approx(delta, rel=1e-6)
        assert float((weights * terms).mean()) == pytest.approx(value, rel=1e-6)
