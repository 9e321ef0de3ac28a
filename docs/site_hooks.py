"""Builds the site's pages that live in packages: each method's page is its plugin's README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Adds plugins/NAME/README.md as plugins/NAME.md, so that a package's page is written once, in the package."""
    for readme in sorted((ROOT / "plugins").glob("*/README.md")):
        text = readme.read_text(encoding="utf-8")
        files.append(File.generated(config, f"plugins/{readme.parent.name}.md", content=text))
    return files
