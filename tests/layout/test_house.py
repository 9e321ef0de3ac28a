"""The house stays a house: sizes, names, directions of imports, one list of plugins, one version."""

from __future__ import annotations

import ast
import re
import statistics
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core" / "burnish"
FLOW = ("config", "data", "batch", "model", "objective", "rollout", "engine", "judging")
TENSOR_FREE = ("registry", "config", "errors.py", "data/examples.py", "model/signals.py")


def source_files() -> list[Path]:
    """Every Python file that is shipped: core and plugins without their tests."""
    packages = [package for folder in ("plugins", "contrib") for package in (ROOT / folder).glob("*/burnish_*/")]
    files = [file for place in (CORE, *packages) for file in place.rglob("*.py")]
    return [path for path in files if "build" not in path.relative_to(ROOT).parts]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.AST) -> Iterator[str]:
    """Absolute module names that a tree imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_at_load(tree: ast.Module) -> Iterator[str]:
    """Modules imported when the file is imported: not in functions, not under TYPE_CHECKING."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(ast.Module(body=[node], type_ignores=[]))
        pending.extend(ast.iter_child_nodes(node))


def plugin_folders() -> list[Path]:
    return sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))


def test_no_file_over_600_lines_and_the_median_below_120() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in source_files()}
    assert not {name: size for name, size in sizes.items() if size > 600}
    assert statistics.median(sizes.values()) < 120


def test_functions_are_short() -> None:
    sizes: dict[str, int] = {}
    for path in source_files():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                sizes[name] = (node.end_lineno or node.lineno) - node.lineno + 1
    assert not {name: size for name, size in sizes.items() if size > 100}
    long = {name: size for name, size in sizes.items() if size >= 50}
    assert len(long) <= 0.05 * len(sizes), long


def test_every_file_has_a_name_that_tells() -> None:
    nameless = {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert not [path for path in source_files() if path.name in nameless]


def test_core_imports_no_plugin() -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in CORE.rglob("*.py")
        for name in imports(parse(path))
        if re.match(r"burnish_\w+", name)
    }
    assert not found


def test_data_flows_one_way() -> None:
    """data -> batch -> model -> objective -> engine, rollouts between the last two, judges behind: a room imports only rooms
    before it, and config none of them."""
    rank = {name: place for place, name in enumerate(FLOW)}
    back = set()
    for room in FLOW:
        for path in (CORE / room).rglob("*.py"):
            for name in imports(parse(path)):
                parts = name.split(".")
                if parts[0] == "burnish" and len(parts) > 1 and rank.get(parts[1], -1) > rank[room]:
                    back.add(f"{path.relative_to(CORE)} imports {name}")
    assert not back


def test_registry_and_config_know_no_tensor() -> None:
    heavy = ("torch", "transformers", "datasets", "peft", "accelerate", "burnish.batch", "burnish.objective", "burnish.engine")
    found = set()
    for place in TENSOR_FREE:
        path = CORE / place
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            names = [name for name in imports_at_load(parse(file)) if name.startswith(heavy)]
            found |= {f"{file.relative_to(CORE)} imports {name}" for name in names}
    assert not found


def test_the_list_names_core_first_and_every_plugin_once() -> None:
    lines = [line for line in (ROOT / "plugins/requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "-e .[dev]"
    assert lines[1:] == [f"-e ./plugins/{folder.name}" for folder in plugin_folders()]


def test_one_version_for_all() -> None:
    files = [ROOT / "pyproject.toml", *(ROOT / "plugins").glob("*/pyproject.toml")]
    projects = [tomllib.loads(path.read_text())["project"] for path in files]
    assert {project["version"] for project in projects} == {projects[0]["version"]}
    version = re.search(r'__version__ = "(.+)"', (CORE / "__init__.py").read_text())
    assert version is not None
    assert version[1] == projects[0]["version"]


@pytest.mark.parametrize("folder", plugin_folders(), ids=lambda folder: folder.name)
def test_plugin_anatomy(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    package = "burnish_" + folder.name.replace("-", "_")
    assert project["project"]["name"] == f"burnish-{folder.name}"
    assert project["build-system"]["build-backend"] == "flit_core.buildapi"
    assert list(project["project"]["entry-points"]["burnish"].values()) == [f"{package}.plugin"]
    assert any(re.match(r"burnish[><=~]", need) for need in project["project"]["dependencies"]), "no range of the core"
    for name in ("README.md", f"{package}/__init__.py", f"{package}/plugin.py", f"{package}/py.typed"):
        assert (folder / name).is_file(), name
    assert list((folder / "tests").glob("test_*.py"))
    light = [name for file in ("plugin.py", "__init__.py") for name in imports_at_load(parse(folder / package / file))]
    assert not {name.split(".")[0] for name in light} & {"torch", "transformers", "datasets", "numpy"}


def test_installed_entry_points_equal_the_tree() -> None:
    declared = {}
    for folder in plugin_folders():
        declared |= tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["burnish"]
    ours = {
        point.name: point.value
        for point in metadata.entry_points(group="burnish")
        if point.dist is not None and re.fullmatch(r"burnish[-_].+", point.dist.name) and point.value.startswith("burnish_")
    }
    missing = declared.items() - ours.items()
    assert not missing, "run: pip install -r plugins/requirements.txt"


def test_top_level_holds_only_what_the_house_names() -> None:
    named = {"pyproject.toml", "core", "plugins", "contrib", "tests", "docs", "README.md", "LICENSE", "CHANGELOG.md"}
    generated = {"runs", "site", "uv.lock", "build", "dist"}
    assert not {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - named - generated


def test_contrib_packages_name_an_owner() -> None:
    for folder in (ROOT / "contrib").glob("*/pyproject.toml"):
        assert "owner" in (folder.parent / "README.md").read_text().lower(), folder.parent.name
