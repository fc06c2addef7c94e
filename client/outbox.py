"""What an application wants sent, whether there is a connection or not: a bounded queue, sent in order."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import trio

from tidings.client.backoff import Uniform, full_jitter
from tidings.client.errors import CommandRefused, ConnectionLost, Disconnected, QueueFull
from tidings.client.events import SendFailed
from tidings.client.link import PASSING, Reply
from tidings.client.queued import Queued
from tidings.protocol.errors import ErrorCode

# Messages that may wait: a lively chat's of some hours away. At the server's bound of 64 KiB each, 64 MiB.
OUTBOX = 1000

# The server remembers a key for 5 minutes: later the same key would publish a second time.
REPEATABLE_SECONDS = 240.0

# Between two attempts at a message that was refused for now, unless the server names a longer time.
BASE_SECONDS = 0.5
CAP_SECONDS = 30.0

# A command's envelope beside its data: type, id, braces.
_ENVELOPE = 64


class Request(Protocol):
    """Gives a command as soon as there is a connection, and waits for its answer."""

    def __call__(
        self, kind: str, data: Callable[[], dict[str, Any]], *, on_sent: Callable[[], None]
    ) -> Awaitable[Reply]:
        """`data` is asked for when there is a connection; what it raises ends the request."""


class Outbox:
    """Sends one message after another, each once it is known what became of the one before.

    That keeps their order whatever the server refuses for now, at one message a round trip.
    """

    def __init__(
        self,
        limit: int,
        request: Request,
        tell: Callable[[SendFailed], None],
        *,
        message_bytes: int,
        uniform: Uniform,
    ) -> None:
        if limit < 1:
            raise ValueError(f"outbox is {limit}: at least 1 message must be able to wait")
        self._limit = limit
        self._request = request
        self._tell = tell
        self._most = message_bytes
        self._uniform = uniform
        self._waiting: deque[Queued] = deque()
        self._ended: Callable[[], Exception] | None = None
        self._changed = trio.Event()

    @property
    def unsent(self) -> list[Queued]:
        """What has not been answered yet, in order. The first one may be on its way, or have arrived."""
        return list(self._waiting)

    def put(self, message: Queued) -> Queued:
        """Take a message in. Raises QueueFull, CommandRefused where it is too long, Disconnected."""
        if self._ended is not None:
            raise self._ended()
        length = len(msgspec.json.encode(message.data)) + _ENVELOPE
        if length > self._most:
            raise CommandRefused(
                ErrorCode.TOO_LARGE, f"{message.kind}: {length} bytes; the server takes {self._most}", None
            )
        if len(self._waiting) >= self._limit:
            raise QueueFull(self._limit)
        self._waiting.append(message)
        self._change()
        return message

    async def flush(self) -> None:
        """Wait until nothing waits any more, sent or given up. Raises Disconnected with something left."""
        await trio.lowlevel.checkpoint()
        while self._waiting:
            if self._ended is not None:
                raise self._ended()
            await self._changed.wait()

    def end(self, error: Callable[[], Exception]) -> None:
        """Nothing is sent any more: what is unsent stays so."""
        self._ended = error
        self._change()

    async def run(self) -> None:
        """Send what waits, until the client ends."""
        while True:
            while not self._waiting:
                await self._changed.wait()
            message = self._waiting[0]
            try:
                await self._send(message)
            except Disconnected:
                return
            except (CommandRefused, ConnectionLost) as error:
                self._waiting.popleft()
                self._tell(SendFailed(message, error))
            else:
                self._waiting.popleft()
            self._change()

    async def _send(self, message: Queued) -> None:
        """Send one message, over as many connections and refusals as it takes.

        Raises CommandRefused, ConnectionLost where it may have arrived, Disconnected.
        """
        first_sent = 0.0
        doubt: ConnectionLost | CommandRefused | None = None
        """Why it may have arrived, where it may."""
        refusals = 0

        def data() -> dict[str, Any]:
            if doubt is not None and trio.current_time() - first_sent > REPEATABLE_SECONDS:
                raise doubt
            return message.data

        def on_sent() -> None:
            nonlocal first_sent
            if doubt is None:
                first_sent = trio.current_time()

        while True:
            try:
                await self._request(message.kind, data, on_sent=on_sent)
            except ConnectionLost as lost:
                if message.idempotency_key is None or lost is doubt:
                    raise
                doubt = lost
            except CommandRefused as refusal:
                if refusal is doubt or not _passes(refusal, message):
                    raise
                if refusal.code != ErrorCode.RATE_LIMITED:
                    doubt = refusal
                refusals += 1
                await trio.sleep(
                    (refusal.retry_after or 0.0)
                    + full_jitter(refusals, BASE_SECONDS, CAP_SECONDS, self._uniform)
                )
            else:
                return

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _passes(refusal: CommandRefused, message: Queued) -> bool:
    """Whether a message may be sent again: without a key, only where it surely was not carried out."""
    if message.idempotency_key is None:
        return refusal.code == ErrorCode.RATE_LIMITED
    # An internal error would be one again, for ever, in front of everything else.
    return refusal.code in PASSING and refusal.code != ErrorCode.INTERNAL
