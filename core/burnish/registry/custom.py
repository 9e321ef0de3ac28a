"""Values that name code directly: `module:attr` and `./file.py:attr`. A config that holds one is code.

In: the text of a value. Out: whether it names code, a hash of that code found without running it, or the object itself.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from burnish.errors import PluginError, did_you_mean, raised
from burnish.registry.records import TARGET
from burnish.registry.sources import file_hash, source_file

CUSTOM = "burnish_custom_"  # begins the name of a module that is a file's
FILE_TARGET = re.compile(r"(?P<file>.+\.py):(?P<attribute>[A-Za-z_]\w*)")


def is_custom(value: str) -> bool:
    """Whether `value` names code rather than something registered."""
    return bool(FILE_TARGET.fullmatch(value) or TARGET.fullmatch(value))


def custom_hash(value: str) -> str:
    """Hash of the file that `value` would run; PluginError when there is none."""
    file, _, module = _split(value)
    found = file if module is None else source_file(module)
    if found is None or not found.is_file():
        raise PluginError(f"'{value}' names code that is not there: {_where(value)}")
    return file_hash(found)


def import_custom(value: str) -> Any:
    """The object that `value` names. Runs its file."""
    file, attribute, name = _split(value)
    try:
        module = importlib.import_module(name) if name else _import_file(file)
    except (Exception, SystemExit) as error:
        if _is_absent(error, file, name):
            raise PluginError(f"'{value}' names code that is not there: {_where(value)}") from error
        raise PluginError(f"'{value}' cannot be imported: {raised(error)}") from error
    return attribute_of(module, attribute, f"'{value}'")


def attribute_of(module: ModuleType, attribute: str, what: str) -> Any:
    """`module.attribute`; PluginError names the nearest public one."""
    if hasattr(module, attribute):
        return getattr(module, attribute)
    public = [name for name in vars(module) if not name.startswith("_")]
    place = module.__file__ if module.__name__.startswith(CUSTOM) else f"module {module.__name__}"
    raise PluginError(f"{what}: {place} has no '{attribute}'. {did_you_mean(attribute, public)}")


def _split(value: str) -> tuple[Path, str, str | None]:
    """File, attribute, and the module's name when the value has one instead of a file."""
    if match := FILE_TARGET.fullmatch(value):
        return Path(match["file"]).expanduser(), match["attribute"], None
    module, _, attribute = value.partition(":")
    return Path(), attribute, module


def _is_absent(error: BaseException, file: Path, module: str | None) -> bool:
    """Whether the named code itself is missing, not something that it imports."""
    if module is None:
        return not file.is_file()
    return isinstance(error, ModuleNotFoundError) and error.name is not None and f"{module}.".startswith(f"{error.name}.")


def _where(value: str) -> str:
    file, _, module = _split(value)
    if module is None:
        return f"there is no file {file.absolute()}."
    path = module.replace(".", "/")
    return f"no module '{module}' is on the import path; for a file beside the config write './{path}.py:...'."


def _import_file(file: Path) -> ModuleType:
    """Run a file as a module of its own name, once per process and content."""
    path = file.resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    identity = hashlib.sha256(f"{path}\0{file_hash(path)}".encode()).hexdigest()[:12]
    name = f"{CUSTOM}{path.stem}_{identity}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
