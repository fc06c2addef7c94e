"""The heartbeat task: who is silent, whose token ends, and the first step after a close."""

from typing import Protocol

import trio

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.messages.answers import TokenExpiring
from tidings.server.edge.alarms import Sleeper
from tidings.server.edge.context import Context
from tidings.server.edge.engines.seam import WebSocket
from tidings.server.edge.session import Answer, Session
from tidings.server.edge.transport import Transport

# Pings are spread over the last fifth of the interval, so that connections made together do not beat
# together. Only ever earlier: the bound `ping_interval + pong_timeout` holds.
SPREAD = 0.2

# How many seconds before its end a token's end is announced: time enough to fetch another.
TOKEN_WARNING = 60.0


class Beating(Session, Protocol):
    """What the heartbeat needs to know of a connection beside its session."""

    handling: bool

    @property
    def is_ending(self) -> bool:
        """Whether nothing can be sent any more."""

    handled_at: float
    """When the last message was handled, or the connection began."""

    @property
    def silence_seconds(self) -> float | None:
        """For how long it may say nothing; None for as long as it answers pings."""

    sleeper: Sleeper
    """Woken when it is closed, or has another identity."""

    def answer(self, answer: Answer, command_id: str | None = None) -> None:
        """Send an answer, or a word unasked."""

    def depart(self) -> None:
        """Leave the hub. Idempotent."""


def _is_over(connection: Beating) -> bool:
    """Whether looking at it has closed it: by a verdict, or by a ping too many for its outbox."""
    return connection.is_closing


class Heartbeat:
    """Watches one connection.

    Any inbound byte proves life, so a ping is sent only into silence, and a busy connection costs
    nothing but this task's waking. Times are monotonic; only the token's end follows the wall clock.
    """

    __slots__ = (
        "_authenticate_by",
        "_connection",
        "_context",
        "_interval",
        "_pinged",
        "_transport",
        "_warned",
        "_websocket",
    )

    def __init__(
        self, connection: Beating, websocket: WebSocket, transport: Transport, context: Context
    ) -> None:
        self._connection = connection
        self._websocket = websocket
        self._transport = transport
        self._context = context
        self._pinged: float | None = None
        """When a ping went out that nothing has followed yet."""
        self._interval = self._draw()
        self._authenticate_by = trio.current_time() + context.config.heartbeat.authenticate_timeout
        self._warned = 0
        """The expiry that was announced."""

    async def run(self) -> None:
        """Watch until a close is recorded, then take the connection out of the hub at once."""
        connection = self._connection
        while not connection.is_closing:
            wake = float("inf")
            if not connection.is_ending:
                wake = min(self._authentication(), self._silence(), self._words(), self._token())
                if _is_over(connection):
                    break
            await connection.sleeper.sleep_until(wake)
        connection.depart()

    def _authentication(self) -> float:
        """Close who has not said in time who it is; when to look again."""
        if self._connection.is_authenticated:
            return float("inf")
        if trio.current_time() >= self._authenticate_by:
            self._connection.close(CloseCode.NOT_AUTHENTICATED)
        return self._authenticate_by

    def _silence(self) -> float:
        """Ping into silence, close on longer silence; when to look again."""
        now = trio.current_time()
        # While a handler runs nobody reads: the silence is ours, and the clock stands still.
        busy = self._connection.handling
        alive = now if busy else max(self._transport.last_received, self._connection.handled_at)
        timeout = self._context.config.heartbeat.pong_timeout
        if self._pinged is not None and alive >= self._pinged:
            self._pinged = None
            self._interval = self._draw()
        if self._pinged is None:
            if now < alive + self._interval:
                return alive + self._interval
            self._pinged = now
            self._websocket.ping()
        elif now >= self._pinged + timeout:
            self._connection.close(CloseCode.NO_PONG)
        # An answered ping is followed by the next after the interval, also where that is the shorter time.
        again = self._pinged + self._interval
        return min(self._pinged + timeout, again) if now < again else self._pinged + timeout

    def _words(self) -> float:
        """Close whose program says nothing, though the machine under it answers pings; when to look again."""
        seconds = self._connection.silence_seconds
        if seconds is None or not self._connection.is_authenticated:
            return float("inf")
        now = trio.current_time()
        if self._connection.handling:
            return now + seconds
        until = self._connection.handled_at + seconds
        if now >= until:
            self._connection.close(CloseCode.NO_PONG, f"no message within {seconds:g} s")
        return until

    def _token(self) -> float:
        """Announce the token's end, close at it; when to look again."""
        if not self._connection.is_authenticated:
            return float("inf")
        expires_at = self._connection.identity.expires_at
        left = expires_at - self._context.wall_clock()
        if left <= 0:
            self._connection.close(CloseCode.TOKEN_EXPIRED)
        elif left <= TOKEN_WARNING and self._warned != expires_at:
            self._warned = expires_at
            self._connection.answer(Answer("token_expiring", TokenExpiring(expires_at)))
        return trio.current_time() + (left if left <= TOKEN_WARNING else left - TOKEN_WARNING)

    def _draw(self) -> float:
        interval = self._context.config.heartbeat.ping_interval
        return interval * (1 - SPREAD * self._context.jitter())
