"""The site builds without a warning, and holds a page for every package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_site_builds_strictly(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ".mkdocs.yml", "-d", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    pages = {path.parent.name for path in (tmp_path / "site/plugins").glob("*/index.html")}
    assert pages == {path.parent.name for path in root.glob("plugins/*/README.md")}
