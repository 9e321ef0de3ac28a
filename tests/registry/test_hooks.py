"""Every hook has a specification with a complete example that works, and docs/extend/hooks.md shows the same."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.registry import Record, hookspecs, load
from burnish.registry.hookspecs import RECORD_HOOKS

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("burnish_"))
EXAMPLE = re.compile(r"\n\n(?= *from burnish import)")


def parts(hook: str) -> tuple[str, str]:
    """The words of a hook's docstring, and its example."""
    doc = inspect.getdoc(getattr(hookspecs, hook)) or ""
    words, example = EXAMPLE.split(doc, maxsplit=1)
    return words, textwrap.dedent(example).strip()


def test_every_kind_of_record_has_one_hook() -> None:
    assert list(RECORD_HOOKS.values()) == Record.__subclasses__()
    assert set(RECORD_HOOKS) < set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_have_no_defaults(hook: str) -> None:
    parameters = inspect.signature(getattr(hookspecs, hook)).parameters.values()
    assert all(parameter.default is parameter.empty for parameter in parameters)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_is_a_plugin(install: Callable[..., Path], hook: str) -> None:
    _, example = parts(hook)
    install("example", example)
    [_, plugin] = load().plugins
    assert plugin.error is None
    if hook in RECORD_HOOKS:
        assert [type(record) for record in plugin.records] == [RECORD_HOOKS[hook]]
        assert plugin.observes == ()
    else:
        assert plugin.observes == (hook,)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_page_shows_what_the_specification_says(root: Path, hook: str) -> None:
    page = (root / "docs" / "extend" / "hooks.md").read_text(encoding="utf-8")
    [section] = [section for section in page.split("\n## ") if section.startswith(f"`{hook}`\n")]
    words, example = parts(hook)
    assert words in section
    assert f"```python\n{example}\n```" in section
    if hook in RECORD_HOOKS:
        record = RECORD_HOOKS[hook]
        own = {field.name for field in dataclasses.fields(record)} - {field.name for field in dataclasses.fields(Record)}
        assert {f"`{name}`" for name in own | {record.__name__}} <= set(re.findall(r"`\w+`", section))


def test_the_page_has_no_other_hooks(root: Path) -> None:
    page = (root / "docs" / "extend" / "hooks.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^## `(\w+)`$", page, re.MULTILINE)) == HOOKS
