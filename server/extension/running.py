"""Apps at run time: their lifespans around the connections, their tasks beside them."""

from collections.abc import Sequence
from math import inf
from typing import Final

import structlog
import trio

from tidings.server.extension.app import App, Lifespan, Task
from tidings.server.push import Push

_log = structlog.get_logger("tidings.apps")

# To open a database, or to migrate it; past this a start that hangs is a start that failed, and says so.
ENTER_SECONDS: Final = 60.0

# The connections have ended, and process managers wait only a little longer than drain_seconds.
LEAVE_SECONDS: Final = 5.0


class AppFailed(Exception):
    """An app's lifespan did not begin, so the server does not start; the message names both and says why."""


class RunningApps:
    """The apps of one server: `run` is one of its services, and `end` is called after the last connection."""

    def __init__(self, apps: Sequence[App], push: Push) -> None:
        """Take the apps in the order in which they begin."""
        self.apps = apps
        self._push = push
        self._ended = trio.Event()
        self._left = trio.Event()

    def end(self) -> None:
        """Let the tasks be cancelled, then the lifespans be left. Idempotent; whoever runs `run` must call it."""
        self._ended.set()

    async def wait_left(self) -> None:
        """Wait until all lifespans are left; what they still publish needs the broker meanwhile."""
        await self._left.wait()

    async def run(
        self, *, task_status: trio.TaskStatus[AppFailed | None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Enter the lifespans one after another, run the tasks, and leave in the reverse order after `end`.

        Reports None once all lifespans are entered, else what failed. Cancelled while it enters them, it
        leaves those it has entered. Cancelled later, it still waits for `end` before it leaves. Each lifespan
        has LEAVE_SECONDS.
        """
        async with trio.open_nursery() as nursery:
            entered: list[_Living] = []
            try:
                failed: AppFailed | None = None
                for living in [_Living(app, lifespan) for app in self.apps for lifespan in app.lifespans]:
                    failed = await nursery.start(living.run, self._push)
                    if failed is not None:
                        break
                    entered.append(living)
                if failed is None:
                    await self._run_tasks(task_status)
                else:
                    task_status.started(failed)
            finally:
                with trio.CancelScope(shield=True):
                    for living in reversed(entered):
                        await living.leave()
                self._left.set()

    async def _run_tasks(self, task_status: trio.TaskStatus[AppFailed | None]) -> None:
        try:
            async with trio.open_nursery() as tasks:
                for app in self.apps:
                    for task in app.tasks:
                        tasks.start_soon(
                            _run_task, app, task, self._push, name=f"{app.name}: {_name(task)}"
                        )
                task_status.started(None)
                await self._ended.wait()
                tasks.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                # However this ends: a connection's last command may still need what a lifespan holds.
                await self._ended.wait()


class _Living:
    """One lifespan, in a task of its own: what it opens inside, a nursery too, begins and ends in one task."""

    def __init__(self, app: App, lifespan: Lifespan) -> None:
        self._app = app
        self._lifespan = lifespan
        self._leaving = trio.Event()
        self._left = trio.Event()

    async def leave(self) -> None:
        """Let it end, and wait until it has."""
        self._leaving.set()
        await self._left.wait()

    async def run(self, push: Push, *, task_status: trio.TaskStatus[AppFailed | None]) -> None:
        names = {"app": self._app.name, "lifespan": _name(self._lifespan)}
        entered = False
        failure: BaseException | None = None
        scope = trio.CancelScope(deadline=trio.current_time() + ENTER_SECONDS)
        try:
            with scope:
                async with self._lifespan(push):
                    # Entered, it is left by nobody's cancelling: `leave` always comes.
                    entered, scope.shield, scope.deadline = True, True, inf
                    task_status.started(None)
                    await self._leaving.wait()
                    scope.deadline = trio.current_time() + LEAVE_SECONDS
        except Exception as error:
            failure = error
            _log.exception("lifespan failed", **names)
        finally:
            self._left.set()
        if entered:
            if scope.cancelled_caught:
                _log.error("lifespan did not end in time", seconds=LEAVE_SECONDS, **names)
            return
        why = (
            f"did not begin within {ENTER_SECONDS:g} s"
            if failure is None
            else f"failed to begin: {type(failure).__name__}: {failure}"
        )
        told = AppFailed(f"app {names['app']!r}: its lifespan {names['lifespan']!r} {why}")
        told.__cause__ = failure
        task_status.started(told)


async def _run_task(app: App, task: Task, push: Push) -> None:
    try:
        await task(push)
    except* Exception as group:
        # A fault of the app: it must not cost the server. In a group it may stand beside a cancellation.
        _log.error("task failed", app=app.name, task=_name(task), exc_info=group)


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__
