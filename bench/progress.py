"""Progress of a scenario on standard error: a bar on a terminal, a line for each step elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_begun = time.monotonic()


class _Display:
    """What stands on standard error now."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._expected = 0

    def expect(self, steps: int) -> None:
        """Show that so many steps are to come, behind those already expected."""
        if not sys.stderr.isatty():
            return
        self._expected += steps
        if self._bar is None:
            self._bar = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.add_task("starting", total=self._expected)
            self._bar.start()
        else:
            self._bar.update(self._bar.task_ids[0], total=self._expected)

    def step(self, text: str) -> None:
        """Show what is being done now; it is one of the steps."""
        if self._bar is None:
            print(f"[{time.monotonic() - _begun:6.1f} s] {text}", file=sys.stderr, flush=True)
        else:
            self._bar.update(self._bar.task_ids[0], advance=1, description=text)

    def end(self) -> None:
        """Leave the terminal as it was. Idempotent."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._expected = 0


_display = _Display()

expect = _display.expect
progress = _display.step
end = _display.end
