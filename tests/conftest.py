"""Fixtures for the whole suite: where the shared data lies, quiet and offline libraries."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core: more threads would only wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("BURNISH_SHARED_DATA", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long profiles run only when asked for (`.ci/run --full` sets BURNISH_FULL). Without the shared data sets, one test
    of each file that reads them stands for all, and says so by being skipped."""
    left_out = [] if os.environ.get("BURNISH_FULL") else [item for item in items if item.get_closest_marker("slow")]
    if not SHARED.is_dir():
        standing: set[Path] = set()
        for item in items:
            if "shared_data" in getattr(item, "fixturenames", ()) and item not in left_out:
                if item.path in standing:
                    left_out.append(item)
                standing.add(item.path)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data sets, which lies beside the checkout or where BURNISH_SHARED_DATA says."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data sets are not at {SHARED}; no test of this file that reads them runs")
    return SHARED


class Installer:
    """Writes distributions with a burnish plugin into a folder, as pip would, and hides all others.

    Call it with the plugin's name, the text of its `plugin.py` and of further modules; the import package is `fake_NAME`.
    """

    def __init__(self, site: Path) -> None:
        self.site = site

    def __call__(
        self,
        name: str,
        plugin: str,
        modules: Mapping[str, str] | None = None,
        *,
        package: str | None = None,
        distribution: str | None = None,
        version: str = "1.0",
    ) -> Path:
        package = package or f"fake_{name.replace('-', '_')}"
        distribution = distribution or f"burnish-{name}"
        folder = self.site / package
        folder.mkdir()
        for module, text in {"__init__": "", "plugin": plugin, **(modules or {})}.items():
            (folder / f"{module}.py").write_text(text)
        info = self.site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[burnish]\n{name} = {package}.plugin\n")
        return folder

    def entry_points(self, group: str) -> list[importlib.metadata.EntryPoint]:
        """What the folder provides."""
        found = importlib.metadata.distributions(path=[str(self.site)])
        return [point for each in found for point in each.entry_points if point.group == group]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """An `Installer` whose plugins are the only ones, until the test ends."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    installer = Installer(site)
    monkeypatch.setattr("burnish.registry.discovery.entry_points", installer.entry_points)
    before = set(sys.modules)
    yield installer
    for module in set(sys.modules) - before:
        if (getattr(sys.modules[module], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[module]


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Tensors that offloading has copied to the host's memory, as they were on their device."""
    import torch

    found: list[Tensor] = []
    like = torch.empty_like

    def noted(tensor: Tensor, **keywords: Any) -> Tensor:
        if "pin_memory" in keywords:
            found.append(tensor)
        return like(tensor, **keywords)

    monkeypatch.setattr(torch, "empty_like", noted)
    return found
