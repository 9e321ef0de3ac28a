"""Source files of modules, found and hashed without importing anything. Knows paths, not plugins.

`importlib.util.find_spec("a.b")` imports `a`, which may import torch; only top-level names are asked of it here.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path


def _top_level(module: str) -> tuple[Path | None, bool]:
    """File or folder of the top-level package of `module`, and whether it is a folder."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except ValueError:  # a module put into sys.modules by hand, without a spec
        spec = None
    if spec is None:
        return None, False
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))), True
    return (Path(spec.origin), False) if spec.origin else (None, False)


def source_file(module: str) -> Path | None:
    """The file that `import module` would run, or None when it cannot be told without importing."""
    top, is_package = _top_level(module)
    if top is None or not is_package:
        return top
    path = top.joinpath(*module.split(".")[1:])
    candidates = (path / "__init__.py", path.with_name(f"{path.name}.py")) if path != top else (path / "__init__.py",)
    return next((file for file in candidates if file.is_file()), None)


def file_hash(file: Path) -> str:
    """Hash of one file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def package_hash(module: str, targets: Iterable[str]) -> str:
    """Hash of all Python files of the package that `module` is in, and of the files of `targets` outside it."""
    top, is_package = _top_level(module)
    files = {str(path.relative_to(top)): path for path in top.rglob("*.py")} if top and is_package else {}
    if top and not is_package:
        files[top.name] = top
    name = module.partition(".")[0]
    for target in targets:
        other = target.partition(":")[0]
        if other.partition(".")[0] != name and (file := source_file(other)):
            files[other] = file
    digest = hashlib.sha256()
    for key in sorted(files):
        digest.update(f"{key}\0{file_hash(files[key])}\n".encode())
    return digest.hexdigest()[:16]
