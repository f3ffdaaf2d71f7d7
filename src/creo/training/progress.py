"""What a person sees while a model trains: a bar with loss, bits per dimension, speed and time left.

On a terminal it is a live bar; elsewhere (a log file) it is a plain line at every tenth of the way. Both go to
standard error, so that standard output stays clean for results.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self


class Silent:
    """No progress at all."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, spent: float, step: int, values: dict[str, float]) -> None:
        """Show that the share `spent` of the budget is gone after `step` steps, with some values."""

    def say(self, line: str) -> None:
        """Show a line above the bar."""


def _text(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


class Lines(Silent):
    """A line at every tenth of the way, for logs."""

    def __init__(self, title: str, first: int = 0) -> None:
        self.title, self.start, self.tenth, self.first = title, time.perf_counter(), 0, first

    def show(self, spent: float, step: int, values: dict[str, float]) -> None:
        if int(spent * 10) > self.tenth:
            self.tenth = int(spent * 10)
            rate = (step - self.first) / max(time.perf_counter() - self.start, 1e-9)
            self.say(f"{self.title}  {100 * spent:3.0f}%  step {step}  {rate:.0f} steps/s  {_text(values)}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201


class Bar(Silent):
    """A live bar on a terminal."""

    def __init__(self, title: str, first: int = 0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[values]}"))  # fmt: skip
        self.live = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
        self.task = self.live.add_task(title, total=1.0, values="")
        self.start, self.first = time.perf_counter(), first

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.live.stop()

    def show(self, spent: float, step: int, values: dict[str, float]) -> None:
        rate = (step - self.first) / max(time.perf_counter() - self.start, 1e-9)
        text = f"step {step}  {rate:.0f}/s  {_text(values)}"
        self.live.update(self.task, completed=min(spent, 1.0), values=text)

    def say(self, line: str) -> None:
        self.live.console.print(line, highlight=False, markup=False)


def progress(title: str, shown: bool, first: int = 0) -> Silent:
    """The display that suits standard error; `first` is the step a resumed run starts from."""
    if not shown:
        return Silent()
    return Bar(title, first) if sys.stderr.isatty() else Lines(title, first)
