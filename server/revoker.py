"""Revoking tokens: put in force, stored, told to the other nodes, and whoever lives by them is closed."""

import math
import secrets
import time
from collections.abc import Callable, Iterator

import msgspec
import structlog
import trio

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.brokers.base import Broker, BrokerUnavailable
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.hub import Hub
from tidings.server.revocations import (
    WHENEVER_MS,
    Kind,
    NotStored,
    Revocation,
    Revocations,
    RevocationStore,
    revocation,
)

REASON = "token revoked"
"""What the close frame says, with 3500."""

# Looking at a connection takes about a microsecond and closing one some 30: a turn of the event loop is worth a
# quarter of a millisecond, whatever it is spent on.
_LOOKS_PER_TURN = 250
_CLOSING_COSTS = 30

# Revocations whose connections are still to be closed. Past it, requests wait their turn; what other nodes say
# is in force all the same, and one walk through everybody closes whom it concerns.
_WAITING = 1_000

_log = structlog.get_logger("tidings.revocations")


class Revoked(msgspec.Struct, frozen=True):
    """A revocation is in force."""

    closed: int
    """Connections of this node that it ended."""
    accepted_from: int | None
    """The Unix second from which on new tokens are accepted, whoever issues them; None: never."""


class _Told(msgspec.Struct, frozen=True, tag="revoked"):
    """What nodes tell each other, as JSON."""

    origin: str
    revocation: Revocation


class _Work:
    """Connections to close. Whoever waits for it may go: it is done all the same."""

    __slots__ = ("closed", "done", "revocation")

    def __init__(self, revocation: Revocation) -> None:
        self.revocation = revocation
        self.done = trio.Event()
        self.closed = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Told).decode


class Revoker:
    """Revokes. Belongs to one server; `run` is a task of it."""

    def __init__(
        self,
        revocations: Revocations,
        store: RevocationStore,
        hub: Hub,
        broker: Broker,
        *,
        longest: int,
        leeway: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the longest life of a token and the leeway after its end, in seconds, and the wall clock."""
        self._revocations = revocations
        self._store = store
        self._hub = hub
        self._broker = broker
        self._longest = longest
        self._leeway = leeway
        self._clock = clock
        self._origin = secrets.token_hex(8)
        self._send, self._receive = trio.open_memory_channel[_Work](_WAITING)
        self._everybody = False
        """Whether somebody's connections could not be put on the list: then all are looked at."""

    async def load(self) -> int:
        """Put what is stored in force, before the first connection; returns how many. Raises NotStored."""
        stored = await self._store.load()
        for each in stored:
            self._revocations.apply(each)
        return len(stored)

    async def revoke(
        self,
        kind: Kind,
        value: str,
        *,
        issued_before: float | None = None,
        expires_at: int | None = None,
        reserve: int = 0,
    ) -> Revoked | Refusal:
        """Revoke a token, a login or a user's tokens (`value` is its id); all times are Unix seconds.

        `issued_before` spares what was issued then or later; without it a user loses what exists now, and a token
        or a login is revoked for good. `expires_at` is when the last token concerned ends, where that is known: it
        is remembered no longer than needed. `reserve` is how many are to have room after this one.

        In force on this node from the first step on; when it returns it is stored, every node is told, and this
        node has closed whom it concerns. Idempotent. Refused with `limit_reached` where no more can be remembered,
        and with `unavailable` where it could not be stored or told: it is in force here until the server is
        started again, and has to be repeated. Refused with `invalid_data`, and nothing done, where `expires_at`
        has passed, and for the user id of a service with a key, which is no token. Cancelled, it is in force
        here, and perhaps neither stored nor told.
        """
        now = self._clock()
        refusal = self._judge(kind, value, expires_at, now)
        if refusal is not None:
            return refusal
        asked = revocation(
            kind,
            value,
            now=now,
            issued_before=issued_before,
            expires_at=expires_at,
            longest=self._longest,
            leeway=self._leeway,
        )
        if not self._revocations.has_room(kind, value, reserve=reserve):
            return Refusal(
                ErrorCode.LIMIT_REACHED,
                "as many revocations are in force as are kept: give expires_at, so that they end sooner, or "
                "change auth.secret, which ends every token",
            )
        # In one step, which nothing can cancel in the middle: nobody new gets in, and the walk finds who is in.
        holds = self._revocations.apply(asked)
        work = _Work(asked)
        if not self._hand_over(work):
            await self._send.send(work)
        try:
            await self._store.add(asked)
            await self._broker.tell_nodes(_encode(_Told(self._origin, asked)))
        except (NotStored, BrokerUnavailable) as error:
            _log.error("revocation not stored", kind=kind, error=str(error))
            return Refusal(
                ErrorCode.UNAVAILABLE, f"in force here, but not kept for a restart or other nodes: {error}"
            )
        await work.done.wait()
        _log.info("revoked", kind=kind, user=value if kind == "user" else None, closed=work.closed)
        # Who issues a token when this has returned shall be believed: its millisecond is not the revoked one.
        left = (asked.before_ms - asked.doubt_ms) / 1000 - self._clock()
        if issued_before is None and 0 < left <= 0.002:
            await trio.sleep(left)
        # Of what holds, which an earlier revocation may have made more.
        from_second = None if holds.before_ms == WHENEVER_MS else math.ceil(holds.before_ms / 1000)
        return Revoked(work.closed, from_second)

    def _judge(self, kind: Kind, value: str, expires_at: int | None, now: float) -> Refusal | None:
        if expires_at is not None and expires_at <= now:
            # No fault of the form: at another time it would have been right.
            return Refusal(
                ErrorCode.CONFLICT,
                "expires_at lies in the past: give the Unix second at which the last of these tokens ends, or "
                "leave it out - at `$.expires_at`",
            )
        if kind == "user" and value in self._revocations.keys:
            return Refusal(
                ErrorCode.INVALID_DATA,
                f"{value} has a key, and keys are not revoked: take it out of auth.service_keys and start the "
                "server again; tokens of that name are revoked by token_id or session_id - at `$.user_id`",
            )
        return None

    def told(self, sender: str, message: bytes) -> None:  # noqa: ARG002  of the kind NodeMessage
        """Take what a node says, and put a revocation in force. Never raises.

        The node that was asked has stored it, where all nodes find it when they start. Messages of another kind
        are left alone, and so are our own: what they say is in force already.
        """
        try:
            said = _decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if said.origin == self._origin:
            return
        self._revocations.apply(said.revocation)
        self._hand_over(_Work(said.revocation))

    async def run(self) -> None:
        """Close whom revocations concern, until cancelled."""
        async for work in self._receive:
            if self._everybody:
                self._everybody = False
                await self._close(self._all())
            work.closed = await self._close(self._concerned(work.revocation))
            work.done.set()

    def _hand_over(self, work: _Work) -> bool:
        """Have connections closed; False where the list is full: then everybody will be looked at."""
        try:
            self._send.send_nowait(work)
        except trio.WouldBlock:
            self._everybody = True
            return False
        return True

    async def _close(self, connections: Iterator[Subscriber]) -> int:
        """Close who is revoked of some, in turns; how many they were.

        Whoever comes in between two turns has been asked about at the door, since the revocation is in force.
        """
        closed = spent = 0
        for connection in connections:
            spent += 1
            if self._revocations.is_revoked(connection.identity):
                closed += connection.close(CloseCode.INVALID_TOKEN, REASON)
                spent += _CLOSING_COSTS
            if spent >= _LOOKS_PER_TURN:
                spent = 0
                await trio.lowlevel.checkpoint()
        return closed

    def _concerned(self, asked: Revocation) -> Iterator[Subscriber]:
        return iter(self._hub.connections_of(asked.value)) if asked.kind == "user" else self._all()

    def _all(self) -> Iterator[Subscriber]:
        """Everybody who was connected at the beginning and still is when asked for."""
        for user_id in self._hub.online_users():
            yield from self._hub.connections_of(user_id)
