"""What a person sees while a run goes: a live line on a terminal, plain lines elsewhere; nothing on ranks other than the first.

In: the numbers of a step, and sentences. Out: text on standard error's console. Knows nothing of how the numbers came about.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from transformers.utils import logging

FIRST_LINES = 5
EVERY_S = 10.0
SILENT_S = 60.0  # so long nothing is said at most, where there is something to count


class Progress:
    """Shows sentences and, within `with`, the steps: loss and its parts, tokens per second, time left."""

    def __init__(self, *, shown: bool = True, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, soft_wrap=True, highlight=False, quiet=not shown)
        self._live = Live(console=self.console, transient=True) if shown and self.console.is_terminal else None
        self._num_steps = self._began_at = self._lines = 0
        self._began = self._last_line = 0.0
        self._step, self._words = 0, ""

    def steps(self, num_steps: int, done: int = 0) -> Progress:
        """Get ready to show the steps after `done`."""
        self._num_steps, self._began_at, self._step = num_steps, done, done
        return self

    def __enter__(self) -> Progress:
        self._began = self._last_line = time.monotonic()
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def say(self, *sentences: RenderableType | None) -> None:
        """Print lines, or tables, that stay; None is nothing to say."""
        for sentence in sentences:
            if sentence is not None:
                self.console.print(sentence, markup=False)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the step just finished."""
        losses = [(name.removeprefix("loss/"), value) for name, value in metrics.items() if name.startswith("loss/")]
        parts = ", ".join(f"{name} {value:.4g}" for name, value in losses)
        speed = metrics.get("tokens_per_s", 0.0)
        earned = f"reward {metrics['reward']:.3f}  " if "reward" in metrics else ""
        words = f"{earned}loss {metrics['loss']:.4f}" + (f" ({parts})" if parts else "")
        left = self._left(step)
        self._step, self._words = step, f"{words}  {speed:,.0f} tokens/s  {left} left"
        if self._live:
            self._live.update(_bar(step, self._num_steps, self._words))
            return
        now = time.monotonic()
        if self._lines < FIRST_LINES or step == self._num_steps or now - self._last_line >= EVERY_S:
            self._lines, self._last_line = self._lines + 1, now
            rate = metrics["learning_rate"]
            self.say(f"step {step}/{self._num_steps}  {words}  lr {rate:.2e}  {speed:,.0f} tokens/s  {left} left")

    def counting(self, what: str) -> Callable[[int, int], None]:
        """What is told how much of something between the steps is done, of how much: it shows that in the live line, elsewhere
        after a minute of silence."""

        def count(done: int, of: int) -> None:
            counted = f"{what} {done} of {of}"
            if self._live:
                self._live.update(_bar(self._step, self._num_steps, f"{self._words}  {counted}".strip()))
            elif (now := time.monotonic()) - self._last_line >= SILENT_S:
                self._last_line = now
                self.say(f"step {self._step}/{self._num_steps}  {counted}")

        return count

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the numbers of an evaluation that matter most."""
        shown = [f"{name} {value:.4f}" for name, value in metrics.items() if is_headline(name)]
        self.say(f"step {step}/{self._num_steps}  " + "  ".join(shown))

    def compare(self, first: Mapping[str, float], last: Mapping[str, float]) -> None:
        """Show those numbers before and after."""
        for name, value in last.items():
            if is_headline(name) and name in first:
                self.say(f"{name}: {first[name]:.4f} -> {value:.4f}")

    def _left(self, step: int) -> str:
        a_step_s = (time.monotonic() - self._began) / max(step - self._began_at, 1)
        seconds = round(a_step_s * (self._num_steps - step))
        return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within it, no library draws progress bars, which are noise in a file; on a terminal they stay (a download takes long)."""
    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def is_headline(name: str) -> bool:
    """Whether a metric is shown, not only written: losses, rewards of what was generated, how often the chosen answer wins."""
    return name.startswith("eval/loss") or name == "eval/reward" or name.endswith(("/mean", "/accuracies", "/accuracy"))


def _bar(step: int, num_steps: int, words: str) -> Table:
    filled = round(24 * step / num_steps)
    row = Table.grid(padding=(0, 1))
    row.add_row(Text("━" * filled, style="green") + Text("━" * (24 - filled), style="dim"), f"{step}/{num_steps}", words)
    return row
