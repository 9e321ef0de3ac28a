"""README's table of methods is what the registry says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from burnish.registry import DATA_KINDS, LossRecord, load


def test_the_table_is_that_of_the_registry(root: Path) -> None:
    spec = importlib.util.spec_from_file_location("methods_table", root / "docs/methods_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    [written] = module.PLACE.findall((root / "README.md").read_text(encoding="utf-8"))
    assert written == module.table(load()), "run: python docs/methods_table.py"
    assert {record.data for record in load().records(LossRecord)} <= set(module.LOSSES) <= {"sequence", *DATA_KINDS}
