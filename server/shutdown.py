"""Ending gracefully: every client told, nothing acknowledged lost, within the drain."""

import random
import signal
from collections.abc import Callable

import structlog
import trio

from tidings.protocol.close_codes import CloseCode
from tidings.server.edge.context import Context
from tidings.server.edge.front import Front

# Connections told in one turn: some 3 ms of work.
CLOSES_PER_TURN = 100

_log = structlog.get_logger("tidings.shutdown")


class Stop:
    """Whether the server shall end, and how."""

    def __init__(self) -> None:
        self._asked = trio.Event()
        self.abort = trio.CancelScope()
        """Around the whole server: cancelled, it ends at once."""

    def request(self, why: str) -> None:
        """Begin a graceful shutdown; a second request cuts it short."""
        if self._asked.is_set():
            _log.warning("shutdown cut short", why=why)
            self.abort.cancel()
        else:
            _log.info("shutdown begins", why=why)
            self._asked.set()

    async def wait(self) -> None:
        """Wait until the end is asked for."""
        await self._asked.wait()


async def watch_signals(
    stop: Stop,
    reload: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """SIGTERM and SIGINT end the server, SIGHUP reads the certificate again; until cancelled."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP:
                reload()
            else:
                stop.request(signal.Signals(number).name)


async def drain(context: Context, front: Front) -> None:
    """Refuse newcomers, tell every client and close it, and wait for the last to go.

    Takes at most `drain_seconds`; what is left then is the caller's to cancel. The listeners stay open
    meanwhile, so that whoever comes is answered 503 and not left to a time-out.
    """
    seconds = context.config.server.drain_seconds
    context.draining = True
    # One look is enough: nobody comes in from here on.
    connections = list(front.connections)
    told = 0
    with trio.move_on_after(seconds) as scope:
        for first in range(0, len(connections), CLOSES_PER_TURN):
            for connection in connections[first : first + CLOSES_PER_TURN]:
                # Each returns at its own time, or the next server meets them all in one second.
                told += connection.close(CloseCode.SHUTDOWN, delay=random.uniform(0, seconds))  # noqa: S311
            await trio.lowlevel.checkpoint()
        # Not for every socket: one that has asked for nothing yet would be waited for in vain.
        await front.busy.wait_empty()
    _log.info("drained", told=told, left=front.busy.inside, in_time=not scope.cancelled_caught)
