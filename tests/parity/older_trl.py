"""What an older TRL makes of some batches. Run by a test, in a process of its own: SITE FOLDER.

SITE holds the package. FOLDER holds `policy`, `cases.json` (name -> settings) and NAME.batch, and gets NAME.answer: loss and
gradients.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRL_EXPERIMENTAL_SILENCE="1", CI="1")
sys.path.insert(0, sys.argv[1])

from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig  # type: ignore[attr-defined]
from trl.experimental.dppo import DPPOConfig, DPPOTrainer
from trl.experimental.gspo_token import GRPOTrainer


def answer(folder: Path, name: str, settings: dict[str, Any]) -> None:
    """Loss and gradients of one case."""
    kind, config = (DPPOTrainer, DPPOConfig) if "divergence_type" in settings else (GRPOTrainer, GRPOConfig)
    level = settings.pop("importance_sampling_level", "token")
    arguments = config(
        output_dir=str(folder / "out"),
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        per_device_train_batch_size=4,
        num_generations=2,
        loss_type="dapo",
        **settings,
    )
    trainer = kind(
        model=AutoModelForCausalLM.from_pretrained(folder / "policy"),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 4),
        processing_class=AutoTokenizer.from_pretrained(folder / "policy"),
    )
    trainer.importance_sampling_level = level
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.eval()
    loss = trainer._compute_loss(trainer.model, load_file(folder / f"{name}.batch"))
    loss.backward()
    grads = {key: parameter.grad for key, parameter in trainer.model.named_parameters() if parameter.grad is not None}
    save_file({"loss": loss.detach(), **grads}, folder / f"{name}.answer")


def main() -> None:
    """All cases."""
    folder = Path(sys.argv[2])
    for name, settings in json.loads((folder / "cases.json").read_text()).items():
        answer(folder, name, settings)


if __name__ == "__main__":
    main()
