"""A tokenizer of bytes, the installed plugins, sections with defaults, and a cache of its own for every test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from burnish import registry as plugins
from burnish.config.sections import RenderSection, Sections, SourceSection
from burnish.data.dataset import TrainData, build_dataset
from burnish.data.render import Renderer
from burnish.registry import Registry
from burnish.testing.tiny import tiny_tokenizer


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's tokens are cached."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture(scope="session")
def registry() -> Registry:
    return plugins.load()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Ids 0-255 are bytes; 256 is <|im_start|>, 257 <|im_end|>, which ends turns and texts. Carries ChatML, adds no BOS."""
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def renderer(tokenizer: Any) -> Renderer:
    return Renderer(tokenizer, RenderSection())


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """write_rows(rows, name="rows.jsonl") writes JSON lines and gives the path."""

    def write(rows: Iterable[Any], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def build(tokenizer: Any, registry: Registry) -> Callable[..., TrainData]:
    """build(main={...}, other={...}, render={...}, train={...}, rows={...}) builds the data of such a config."""

    def make(*, render: Any = None, train: Any = None, rows: Any = None, **sources: Any) -> TrainData:
        config = Sections.model_validate(
            {
                "data": {name: SourceSection(**{"source": "live", **values}) for name, values in sources.items()},
                "render": render or {},
                "train": train or {},
            }
        )
        return build_dataset(config, tokenizer, registry, rows)

    return make
