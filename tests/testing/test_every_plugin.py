"""Every loss, weight and format in the house is held to the kit: by its package's own tests, those of the core here."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.registry import FormatRecord, LossRecord, Record, WeightRecord, load
from burnish.testing import check_format

KITS: dict[type[Record], str] = {LossRecord: "check_loss", WeightRecord: "check_weight", FormatRecord: "check_format"}
CORE = "burnish"


def owners() -> list[tuple[str, str, str]]:
    """Plugin, name, and the kit's function, for all that the kit has checks for."""
    found = [(plugin.name, record) for plugin in load().plugins for record in plugin.records if type(record) in KITS]
    return [(plugin, record.name, KITS[type(record)]) for plugin, record in found]


@pytest.mark.parametrize("name", [name for plugin, name, kit in owners() if plugin == CORE and kit == "check_format"])
def test_a_format_of_the_core_conforms(name: str) -> None:
    check_format(name).raise_for_failures()


def test_every_package_calls_the_kit(root: Path) -> None:
    missing = []
    for plugin, name, kit in owners():
        folder = root / "plugins" / plugin / "tests"
        if plugin != CORE and folder.is_dir():
            tests = "".join(path.read_text(encoding="utf-8") for path in folder.glob("test_*.py"))
            if f"{kit}(" not in tests or f'"{name}"' not in tests:
                missing.append(f"{kit}({name!r}) in {plugin}")
    assert not missing
