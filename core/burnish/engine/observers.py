"""Those who watch a run: plugins through hooks, live objects through methods of the same names without the prefix.

In: the run, and each finished step. Out: what they ask for. Knows nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

from burnish.errors import BurnishError, PluginError, did_you_mean, raised
from burnish.registry.hookspecs import Request

if TYPE_CHECKING:
    from burnish.engine.run import Run
    from burnish.registry import Registry

EVENTS = ("run_started", "step_finished", "run_finished", "run_stopped")


class Observers:
    """Asks plugins first, in order of name, then the live objects, in the order given."""

    def __init__(self, registry: Registry, live: Sequence[object] = ()) -> None:
        for observer in live:
            if not any(callable(getattr(observer, event, None)) for event in EVENTS):
                raise PluginError(f"the observer {observer!r} has none of the methods {', '.join(EVENTS)}")
        self._hooks = registry.hook
        self._live = tuple(live)

    def tell(self, event: str, **arguments: Any) -> set[Request]:
        """Call everyone who listens to `event`; returns what they asked for."""
        try:
            answers = [*getattr(self._hooks, f"burnish_{event}")(**arguments), *self._ask_live(event, arguments)]
        except BurnishError:
            raise
        except Exception as error:
            raise PluginError(f"an observer of {event} failed: {raised(error)}") from error
        return set(_checked(answers, event))

    @contextmanager
    def told_of_errors(self, run: Run) -> Iterator[None]:
        """Within it, what is raised is told as `run_stopped` and goes on; an observer that fails hides nothing."""
        try:
            yield
        except BaseException as error:
            try:
                self.tell("run_stopped", run=run, error=error)
            except PluginError as failure:
                run.progress.say(str(failure))
            raise

    def _ask_live(self, event: str, arguments: dict[str, Any]) -> Iterator[Any]:
        for observer in self._live:
            method = getattr(observer, event, None)
            if method is not None:
                yield method(**arguments)


def _checked(answers: Iterable[Any], event: str) -> Iterator[Request]:
    for answer in answers:
        if answer is None:
            continue
        if answer not in get_args(Request):
            raise PluginError(f"an observer of {event} asked for {answer!r}. {did_you_mean(str(answer), get_args(Request))}")
        yield answer
