"""The model card: what the model is, what it was trained on and with, and what to cite. Knows a run; writes Markdown."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import TYPE_CHECKING

import yaml

from burnish.config.custom import named_values
from burnish.config.show import to_yaml
from burnish.registry import FormatRecord, LossRecord, is_custom

if TYPE_CHECKING:
    from burnish.engine.run import Run
    from burnish.registry.discovery import PluginInfo

LIBRARIES = ("burnish", "torch", "transformers", "accelerate", "peft", "datasets")


def model_card(run: Run) -> str:
    """The text of RUN/model/README.md."""
    is_adapter = hasattr(run.model, "peft_config")
    front = {
        "base_model": run.config.model.name,
        "library_name": "peft" if is_adapter else "transformers",
        "tags": ["burnish", *(part.name for part in run.objective.entries)],
    }
    parts = ", ".join(f"`{part.name}`" for part in run.objective.entries)
    sections = {
        "Data": "\n".join(f"    {line}" for line in run.data.report.lines()),
        "Result": "\n".join(_results(run)),
        "Configuration": f"```yaml\n{to_yaml(run.config).rstrip()}\n```",
        "Versions": "\n".join(_versions(run)),
        "Methods": "\n".join(_methods(run)),
    }
    what = "A LoRA adapter for" if is_adapter else "A fine-tuned version of"
    head = f"{what} `{run.config.model.name}`, trained with burnish on {parts} for {run.state.step} steps."
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# {run.path.name}\n\n{head}\n\n{body}\n"


def _results(run: Run) -> Iterator[str]:
    if run.state.evaluation:
        yield "| metric | value |\n|---|---|"
        yield from (f"| {name} | {value:.4f} |" for name, value in run.state.evaluation.items())


def _versions(run: Run) -> Iterator[str]:
    for name in LIBRARIES:
        yield f"- {name} {importlib.metadata.version(name)}"
    yield from (f"- plugin {plugin.name}: {plugin.provider}" for plugin in _used(run))


def _used(run: Run) -> Iterator[PluginInfo]:
    """The plugins that had a part: the config or a source's rows name what they give, or they give observers alone."""
    named = {(one.names.kind, one.value) for one in named_values(run.config)}
    named |= {(FormatRecord, source.format) for source in run.data.report.sources.values()}
    for plugin in run.registry.plugins:
        given = {(type(record), record.name) for record in plugin.records}
        if plugin.name != "burnish" and not plugin.error and (given & named or not given):
            yield plugin


def _methods(run: Run) -> Iterator[str]:
    for key in dict.fromkeys(key for item in run.config.objective for key in item):
        if is_custom(key):
            yield f"- `{key}`: code of this run"
            continue
        record = run.registry.get(LossRecord, key)
        yield f"- `{key}`: {record.summary}" + (f" ({record.paper})" if record.paper else "")
