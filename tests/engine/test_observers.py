"""Plugins and live objects watch a run, and may ask for three things."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from burnish.engine.observers import Observers
from burnish.errors import PluginError
from burnish.registry import hookimpl
from burnish.registry.discovery import new_manager
from burnish.registry.lookup import Registry


class Plugin:
    @hookimpl
    def burnish_step_finished(self, run: Any, step: Any) -> str | None:
        return "evaluate" if step == 1 else None


class Live:
    def __init__(self, answer: str | None) -> None:
        self.answer = answer

    def step_finished(self, run: Any, step: Any) -> str | None:
        return self.answer


def registry() -> Registry:
    manager = new_manager()
    manager.register(Plugin())
    return Registry([], manager.hook)


def test_requests_are_collected() -> None:
    observers = Observers(registry(), [Live("stop"), Live(None)])
    assert observers.tell("step_finished", run=None, step=1) == {"stop", "evaluate"}
    assert observers.tell("step_finished", run=None, step=2) == {"stop"}
    assert observers.tell("run_started", run=None) == set()


def test_unknown_request_is_refused() -> None:
    with pytest.raises(PluginError, match=r"asked for 'halt'"):
        Observers(registry(), [Live("halt")]).tell("step_finished", run=None, step=1)


def test_an_object_that_watches_nothing_is_refused() -> None:
    with pytest.raises(PluginError, match="none of the methods run_started"):
        Observers(registry(), [object()])


class Raises:
    @hookimpl
    def burnish_run_started(self, run: Any) -> None:
        raise KeyError("plugin")

    def run_finished(self, run: Any) -> None:
        raise KeyError("live")


@pytest.mark.parametrize(("event", "who"), [("run_started", "plugin"), ("run_finished", "live")])
def test_one_that_raises_is_named_with_its_line(event: str, who: str) -> None:
    manager = new_manager()
    manager.register(Raises())
    said = rf"an observer of {event} failed: KeyError: '{who}' \(.*test_observers.py:\d+\)"
    with pytest.raises(PluginError, match=said):
        Observers(Registry([], manager.hook), [Raises()]).tell(event, run=None)


def test_a_run_that_stops_is_told_of_and_its_error_goes_on() -> None:
    said: list[str] = []
    run: Any = SimpleNamespace(progress=SimpleNamespace(say=said.append))

    class Told:
        def run_stopped(self, run: Any, error: BaseException) -> None:
            said.append(str(error))

    class Fails:
        def run_stopped(self, run: Any, error: BaseException) -> None:
            raise ValueError("not in the mood")

    with pytest.raises(KeyboardInterrupt, match="enough"), Observers(registry(), [Told(), Fails()]).told_of_errors(run):
        raise KeyboardInterrupt("enough")
    assert said[0] == "enough"
    assert said[1].startswith("an observer of run_stopped failed: ValueError: not in the mood")
    assert len(said) == 2
