"""Importing peft fetches nothing and says nothing, also where bitsandbytes would take a kernel from a hub."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import burnish

# What bitsandbytes 0.49 does on processors with bfloat16 instructions, here on any; and the package that fetches.
BITSANDBYTES = """
import logging
try:
    from kernels import get_kernel
    get_kernel("bitsandbytes")
except ImportError as error:
    logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Failed to load: %s", error)
"""
KERNELS = "def get_kernel(name): print('fetched for', name)"
DOOR = Path(burnish.__file__).parent / "model" / "peft_without_hub.py"


def test_nothing_is_fetched_and_nothing_said(tmp_path: Path) -> None:
    for name, text in (("bitsandbytes", BITSANDBYTES), ("kernels", KERNELS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import burnish.model.adapters, bitsandbytes"
    program += "; import kernels; kernels.get_kernel('whoever asks')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("fetched for whoever asks\n", "")


def test_a_broken_bitsandbytes_is_left_to_peft(tmp_path: Path) -> None:
    (tmp_path / "bitsandbytes").mkdir()
    (tmp_path / "bitsandbytes" / "__init__.py").write_text("raise ImportError('no library')")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import burnish.model.adapters"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_peft_has_one_door() -> None:
    for path in DOOR.parents[1].rglob("*.py"):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        froms = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        taken = [name for name in froms if name.split(".")[0] == "peft"]
        assert not taken or path == DOOR, path
