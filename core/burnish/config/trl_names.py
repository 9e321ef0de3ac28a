"""What arguments of TRL's configs are called here: for those who bring them along.

In: a key that no section has. Out: the key to use instead, or what to do without it.
"""

from __future__ import annotations

KEYS = {
    "bf16": "train.precision",
    "dataset_name": "data.main.source",
    "dataset_text_field": "data.main.columns",
    "eval_dataset": "data.main.holdout",
    "eval_steps": "evaluate.every",
    "fp16": "train.precision",
    "learning_rate": "optimizer.lr",
    "load_best_model_at_end": "checkpoint.best",
    "lr_scheduler_type": "schedule.name",
    "max_completion_length": "rollout.sampling.max_new_tokens",
    "max_grad_norm": "train.clip",
    "max_length": "render.max_length",
    "max_seq_length": "render.max_length",
    "max_steps": "train.steps",
    "metric_for_best_model": "evaluate.metric",
    "model_name_or_path": "model.name",
    "num_generations": "rollout.group_size",
    "num_iterations": "rollout.epochs",
    "num_train_epochs": "train.epochs",
    "optim": "optimizer.name",
    "output_dir": "output",
    "peft_config": "model.adapter",
    "per_device_train_batch_size": "train.batch_size",
    "ref_model": "reference.model",
    "report_to": "track",
    "reward_funcs": "rollout.rewards",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "train_dataset": "data.main.source",
    "warmup_ratio": "schedule.warmup",
    "warmup_steps": "schedule.warmup",
}
NEEDLESS = {
    "dataset_num_proc": "tokenised rows are kept on disk",
    "gradient_accumulation_steps": "`train.batch_size` is of all devices and micro-batches together",
    "logging_steps": "every step is in metrics.jsonl",
    "packing": "batches are always packed",
    "padding_free": "batches are always packed",
    "precompute_ref_log_probs": "the reference is asked once for each row",
}


def instead(key: str) -> str | None:
    """A sentence, where TRL has such an argument."""
    if key in KEYS:
        return f"What TRL calls so is `{KEYS[key]}` here."
    return f"It is TRL's, and needless here: {NEEDLESS[key]}." if key in NEEDLESS else None
