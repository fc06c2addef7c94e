"""One WebSocket connection: the nursery that owns it, and its one recorded close reason."""

import itertools
import secrets
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import filterfalse

import msgspec
import structlog
import trio

from tidings.protocol.close_codes import REASONS, CloseCode, may_reconnect
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.frames import Framing, Opcode, build_frame
from tidings.protocol.messages.answers import (
    Connected,
    ConnectionStats,
    Disconnect,
    Error,
    Passed,
    Unsubscribed,
)
from tidings.server.brokers.base import BrokerUnavailable, TooManyDevices
from tidings.server.delivery.fanout import Offer
from tidings.server.delivery.inbox import Opened
from tidings.server.delivery.outbox import Outbox
from tidings.server.delivery.replay import Replay
from tidings.server.edge.alarms import Sleeper
from tidings.server.edge.context import Context
from tidings.server.edge.dispatch import MessageHandler, error_rate
from tidings.server.edge.engines.seam import Ended, EngineLimits, Upgrade, WebSocket
from tidings.server.edge.guests import Entrance, Visitor
from tidings.server.edge.heartbeat import Heartbeat
from tidings.server.edge.patience import Patience
from tidings.server.edge.session import Answer
from tidings.server.edge.transport import Transport
from tidings.server.identity import Identity
from tidings.server.limits import Rate, Verdict
from tidings.server.permissions import automatic_channels

_log = structlog.get_logger("tidings.connection")

# Unique over restarts, without asking the system for randomness at every handshake.
_run = secrets.token_hex(4)
_numbers = itertools.count(1)


class CloseReason(msgspec.Struct, frozen=True):
    """Why a connection ended. The first one recorded stands."""

    code: int
    reason: str
    by_peer: bool


class Connection:
    """Owned by the task that calls `run`: it reads, and its nursery holds the write and heartbeat tasks.

    Lives in the hub as a subscriber from `welcome` to its close. Whatever its peer sends ends in here.
    """

    __slots__ = (
        "_clock",
        "_commands",
        "_context",
        "_errors",
        "_gone",
        "_guest",
        "_identity",
        "_linger",
        "_messages",
        "_nursery",
        "_outbox",
        "_scope",
        "_started",
        "_transport",
        "_websocket",
        "closed",
        "command_rate",
        "connection_id",
        "device",
        "dialect",
        "direct",
        "entrance",
        "error_rate",
        "framing",
        "handled_at",
        "handling",
        "offer",
        "patience",
        "peer",
        "sleeper",
    )

    def __init__(
        self,
        context: Context,
        messages: MessageHandler,
        transport: Transport,
        dialect: Dialect,
        peer: str,
        device: str = "",
    ) -> None:
        """Own the transport. `peer` is the client's address, for logs; `device` what it calls itself."""
        limits = context.config.limits
        self._context = context
        self._messages = messages
        self._transport = transport
        self.dialect = dialect
        self.entrance: Entrance | None = context.doors.get(dialect.name) if dialect.by_door else None
        self._guest: Visitor | None = None
        """As its door's app knows it, while it is in."""
        self.framing: Framing = build_frame
        self.peer = peer
        self.device = device
        self.connection_id = f"{_run}-{next(_numbers)}"
        self.closed: CloseReason | None = None
        # trio.current_time, without looking up at each message which clock that is.
        self._clock = trio.lowlevel.current_clock().current_time
        self.command_rate = Rate(limits.command_rate, limits.command_burst, self._clock)
        self.error_rate = error_rate(self._clock)
        self.patience = Patience()
        self.sleeper = Sleeper(context.alarms)
        """The heartbeat's."""
        self.handling = False
        """Whether a command is being handled: the pong clock stops meanwhile."""
        self._started = self.handled_at = self._clock()
        self._outbox = Outbox(
            # The answer to a long message may be as long.
            max(limits.outbox_bytes, self._message_bytes),
            send=transport.send_nowait,
            on_overflow=self._overflowed,
            on_broken=self._broken,
            on_rerouted=self._rerouted,
        )
        self.direct = transport.send_nowait
        """Taken once: the hub uses it in place of `offer` while nothing waits."""
        # Taken once: the hub calls it for every delivery.
        self.offer: Offer = self._outbox.offer
        self._websocket: WebSocket | None = None
        self._identity: Identity | None = None
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        """Where what was missed is sent from, while it lives."""
        self._gone = False
        """Whether TCP has ended: what waits has no reader."""
        self._linger = False
        """Whether the peer may still be sending what nobody will read."""
        self._commands = self._errors = 0

    # --- as the hub and the handlers see it ----------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Who it is; only once it is authenticated."""
        assert self._identity is not None
        return self._identity

    @property
    def _message_bytes(self) -> int:
        """The longest message that it may send."""
        own = None if self.entrance is None else self.entrance.door.message_bytes
        return self._context.config.limits.message_bytes if own is None else own

    @property
    def silence_seconds(self) -> float | None:
        """For how long it may say nothing; None for as long as it answers pings."""
        return None if self.entrance is None else self.entrance.door.silence_seconds

    @property
    def is_authenticated(self) -> bool:
        """Whether it is known who it is."""
        return self._identity is not None

    @property
    def is_closing(self) -> bool:
        """Whether a close is recorded."""
        return self.closed is not None

    @property
    def is_ending(self) -> bool:
        """Whether nothing can be sent any more: closed, or the peer's close echoed and about to be read."""
        return self.closed is not None or self._outbox.sealed

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait in the outbox."""
        return self._outbox.pending_bytes

    @property
    def bytes_sent(self) -> int:
        """Bytes that the kernel has taken from the outbox."""
        return self._outbox.bytes_sent

    @property
    def is_queueing(self) -> bool:
        """Whether something waits to go out."""
        return self._outbox.is_queueing

    @property
    def took_all(self) -> bool:
        """Whether the kernel has taken everything that was offered."""
        return not self._outbox.pending_bytes and not self._outbox.lost

    @property
    def has_room(self) -> bool:
        """Whether at most half of what may wait does."""
        return self._outbox.has_room

    async def wait_room(self) -> None:
        """Wait until it has room, or takes nothing any more."""
        await self._outbox.wait_room()

    def fell_short(self, data: bytes, sent: int | None) -> None:
        """Take over what `direct` left."""
        self._outbox.fell_short(data, sent)

    async def welcome(self, identity: Identity) -> Answer | None:
        """Register under an identity and join its channels; None when that closed the connection.

        Cancelling leaves it unregistered.
        """
        context = self._context
        channels: Sequence[str] = (
            automatic_channels(identity) if self.entrance is None else self.entrance.door.channels(identity)
        )
        # What the connection says of itself goes before what its login said.
        self.device = self.device or identity.device
        # Before the broker is asked, too: who is turned away must not enrol a device.
        if not self._may_enter(identity):
            return None
        with context.hub.holding(channels):
            opened = await self._open(identity, channels)
            # No await from here on: two handshakes of one user must not both pass as the last one
            # allowed, a token must not be revoked between the look and the registration, and nothing may
            # be published between registering and the word that says so.
            if opened is None or not self._may_enter(identity):
                return None
            self._identity = identity
            self.sleeper.wake()
            context.hub.connect(self)
            joined = {
                channel: context.hub.subscribe(self, channel, position)
                for channel, position in opened.positions
            }
            inbox, then = None, None
            if opened.inbox is not None:
                inbox, then = context.inboxes.take_seat(self, opened.inbox)
            greeting = None if self.entrance is None else self._enter(self.entrance)
        _log.info(
            "connected",
            connection=self.connection_id,
            user=identity.user_id,
            device=self.device or None,
            peer=self.peer,
            dialect=self.dialect.name,
            connections=context.hub.connections,
            users=context.hub.users,
        )
        if greeting is not None:
            return greeting
        heartbeat = context.config.heartbeat
        return Answer(
            "connected",
            Connected(
                connection_id=self.connection_id,
                user_id=identity.user_id,
                username=identity.username,
                ping_interval=heartbeat.ping_interval,
                pong_timeout=heartbeat.pong_timeout,
                expires_at=identity.expires_at,
                inbox=inbox,
                channels=joined,
            ),
            at_once=True,
            then=then,
        )

    def _may_enter(self, identity: Identity) -> bool:
        """Whether the user may have another connection, and the token is in force; if not, this one is closed."""
        limit = self._context.config.limits.connections_per_user
        there = len(self._context.hub.connections_of(identity.user_id))
        if self.entrance is not None:
            there -= self.entrance.door.replaces(identity, self.device)
        if self.is_closing or there >= limit:
            self.close(CloseCode.CONNECTION_LIMIT)
            return False
        if self._context.authenticator.is_revoked(identity):
            self.close(CloseCode.INVALID_TOKEN, "token revoked")
            return False
        refusal = None if self.entrance is None else self.entrance.door.admit(identity)
        if refusal is not None:
            self._turn_away(refusal, CloseCode.DENIED)
            return False
        return True

    def _enter(self, entrance: Entrance) -> Answer:
        """Tell the door's app that it is in; how that greets it."""
        context = self._context
        guest = Visitor(entrance, self, context.hub, context.broker, context.now_ms)
        greeting = entrance.door.entered(guest)
        self._guest = guest
        if self._websocket is not None:
            self._websocket.allow(self._message_bytes)
        return Answer(entrance.answers[type(greeting)], greeting, at_once=True)

    async def come_in(self, credential: str) -> bool:
        """Let in who a first message says that it is, and greet them; False when that closed the connection."""
        assert self.entrance is not None
        found = self.entrance.door.recognize(credential, self.peer)
        if isinstance(found, Refusal):
            limited = found.code is ErrorCode.RATE_LIMITED
            self._turn_away(found, CloseCode.TOO_MANY_REQUESTS if limited else CloseCode.INVALID_TOKEN)
            return False
        try:
            greeting = await self.welcome(found)
        except Exception as error:
            if self._identity is None:
                raise
            # The app has failed to take it in, and would not know who speaks: nobody stays who is half in.
            _log.error("connection failed", connection=self.connection_id, peer=self.peer, exc_info=error)
            self.close(CloseCode.INTERNAL_ERROR)
            return False
        if greeting is None:
            return False
        self.answer(greeting)
        return True

    def _turn_away(self, refusal: Refusal, code: CloseCode) -> None:
        """Say why it may not come in, and close."""
        self._context.refusals["door", refusal.code] += 1
        said = Error(refusal.code, refusal.message, refusal.retry_after)
        self.answer(Answer("error", said, at_once=True))
        self.close(code)

    async def _open(self, identity: Identity, channels: Sequence[str]) -> Opened | None:
        """What the broker says of its channels; None when that closed the connection."""
        try:
            return await self._context.inboxes.open(
                identity, channels, self.device, seated=self.dialect.has_inbox
            )
        except TooManyDevices as error:
            if self.device and self.device == identity.device:
                # It did not ask for a seat of its own, its login did: it shares the one of those without a name.
                self.device = ""
                return await self._open(identity, channels)
            self.answer(Answer("error", Error(ErrorCode.LIMIT_REACHED, f"device: {error}"), at_once=True))
            self.close(CloseCode.CONNECTION_LIMIT, "too many devices")
        except BrokerUnavailable:
            self.close(CloseCode.TRY_AGAIN_LATER)
        return None

    async def renew(self, identity: Identity) -> None:
        """Replace the identity by the same user's newer one, and with it what the connection may hear.

        Channels that the newer token does not allow are left, and the client is told; those that it
        brings (a new role) are joined, and it is told where they stand. The heartbeat sees to the new
        expiry. Raises BrokerUnavailable. Cancelling changes nothing.
        """
        context, hub = self._context, self._context.hub
        brought = sorted({*automatic_channels(identity)} - {*automatic_channels(self.identity)})
        with hub.holding(brought):
            positions = [(channel, await context.broker.open(channel)) for channel in brought]
            # No await from here on: nothing may be published under one identity and heard under the other.
            if context.authenticator.is_revoked(identity):
                self.close(CloseCode.INVALID_TOKEN, "token revoked")
                return
            # All of them before anything is changed: an app's rules may be at fault, and raise.
            may_subscribe = partial(context.permissions.may_subscribe, identity)
            left = sorted(filterfalse(may_subscribe, hub.channels_of(self)))
            self._identity = identity
            self.sleeper.wake()
            for channel in left:
                self.leave(channel)
            for channel, position in positions:
                stands = hub.subscribe(self, channel, position)
                told = Passed(channel, stands.epoch, stands.offset)
                self.answer(Answer("position", told, at_once=True))
            context.presence.renewed(self)

    def leave(self, channel: str) -> bool:
        """Unsubscribe and tell the client; False when it was not subscribed."""
        if not self._context.hub.unsubscribe(self, channel):
            return False
        self.answer(Answer("unsubscribed", Unsubscribed(channel), at_once=True))
        return True

    def answer(self, answer: Answer, command_id: str | None = None) -> None:
        """Send an answer: at the end of the tick, or at once behind the earlier ones."""
        kind, dialect = answer.kind, self.dialect
        if self.closed is not None or (command_id is None and kind in dialect.confirmations):
            return
        if kind == "error":
            self._errors += 1
        message = dialect.encode_answer(kind, answer.data, self._context.now_ms(), command_id)
        if message is None:
            if answer.then is not None:
                answer.then()
            return
        frame = self.framing(Opcode.BINARY if dialect.binary else Opcode.TEXT, message)
        if answer.at_once:
            self._context.hub.reply_now(self, frame)
        else:
            self._context.hub.reply(self, frame)
        if answer.then is not None:
            answer.then()

    def replay(self, replay: Replay) -> None:
        """Send the rest of what was missed, beside the reading."""
        if self._nursery is not None:
            self._nursery.start_soon(self._replay, replay, name="replay")

    async def _replay(self, replay: Replay) -> None:
        try:
            await replay.run()
        except BrokerUnavailable as error:
            _log.warning("replay failed", connection=self.connection_id, error=str(error))
            self.close(CloseCode.INSUFFICIENT_STATE)

    def say(self, messages: Iterable[bytes | None]) -> None:
        """Send encoded messages behind all that was published or said before, and before what will be."""
        if self.closed is not None:
            return
        opcode = Opcode.BINARY if self.dialect.binary else Opcode.TEXT
        frames = [self.framing(opcode, message) for message in messages if message is not None]
        if frames:
            self._context.hub.settle(self)
            self.offer(b"".join(frames))

    def depart(self) -> None:
        """Leave the hub and everything that goes with it. Idempotent."""
        self._context.inboxes.leave_seat(self)
        self._context.hub.disconnect(self)
        guest, self._guest = self._guest, None
        if guest is not None and self.entrance is not None:
            try:
                self.entrance.door.left(guest)
            except Exception:
                # A fault of the app: this connection's end goes on.
                _log.exception("door failed", dialect=self.dialect.name)

    def connection_stats(self) -> ConnectionStats:
        """Figures of this connection."""
        return ConnectionStats(
            connection_id=self.connection_id,
            connected_seconds=round(trio.current_time() - self._started, 3),
            channels=sorted(self._context.hub.channels_of(self)),
            commands=self._commands,
            errors=self._errors,
            bytes_sent=self._transport.bytes_sent(self._outbox),
            outbox_bytes=self._outbox.pending_bytes,
        )

    # --- its end -------------------------------------------------------------------------------------

    def close(self, code: CloseCode, reason: str | None = None, *, delay: float = 0.0) -> bool:
        """Say why, close, and be gone within `close_timeout`. Idempotent: the first close stands.

        False when there was one already.

        Everything published before reaches the client first. `delay` is how many seconds it should wait
        before it reconnects.
        """
        if self.is_ending:
            return False
        reason = reason or REASONS[code]
        # What is pending may overflow the outbox: then that close stands, and the rest of this does nothing.
        self._context.hub.settle(self)
        if self.closed is not None or self._outbox.sealed:
            return False
        if self._websocket is not None and code >= CloseCode.SHUTDOWN:
            said = Disconnect(int(code), reason, may_reconnect(code), round(delay, 3))
            self.answer(Answer("disconnect", said, at_once=True))
        self._record(code, reason, by_peer=False)
        if self._websocket is not None:
            self._websocket.close(code, reason)
        return True

    def _record(self, code: int, reason: str, *, by_peer: bool) -> None:
        if self.closed is not None:
            return
        self.closed = CloseReason(int(code), reason, by_peer)
        self.sleeper.wake()
        self._scope.deadline = trio.current_time() + self._context.config.heartbeat.close_timeout

    def _overflowed(self) -> None:
        # In the middle of a fan-out: record, and touch neither the hub nor the outbox.
        self._record(CloseCode.SLOW_CONSUMER, REASONS[CloseCode.SLOW_CONSUMER], by_peer=False)

    def _rerouted(self) -> None:
        self._context.hub.rerouted(self)

    def _broken(self) -> None:
        # In the middle of a fan-out that may find thousands of them: their ends take turns.
        self._context.endings.soon(self._vanished)

    def _vanished(self) -> None:
        self._record(CloseCode.ABNORMAL, REASONS[CloseCode.ABNORMAL], by_peer=True)
        self._scope.cancel()

    # --- its life ------------------------------------------------------------------------------------

    async def run(self, upgrade: Upgrade, identity: Identity | None) -> CloseReason:
        """Answer the handshake, serve the connection, and free everything; returns why it ended.

        Raises nothing that the peer could cause. When cancelled, the connection is reset.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._transport.pump, self._outbox, name="write")
                    # The handshake's answer and the first message behind it are one packet.
                    self._outbox.hold()
                    try:
                        async with self._accept(upgrade) as websocket:
                            del upgrade  # what came with the handshake need not live as long as this
                            self._opened(websocket)
                            nursery.start_soon(self._beat, websocket, name="heartbeat")
                            self._nursery = nursery
                            if identity is not None:
                                self._greet(await self.welcome(identity))
                            self._outbox.release()
                            await self._read(websocket)
                    except* Exception as group:
                        # A fault of ours or of the engine: it ends this connection and no other.
                        self._fault(group)
                    # Whatever ended the reading, the write task can still send the word that says why.
                    self._nursery = None
                    self.depart()
                    if self._gone or not self._outbox.sealed:
                        nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self.depart()
            self._context.inboxes.clear_seat(self)
            self.sleeper.close()
            closed = self.closed or CloseReason(int(CloseCode.ABNORMAL), "cancelled", by_peer=False)
            self.closed = closed
            self._context.hub.count_close(closed.code)
            await self._free()
            self._log_end(closed)
        return closed

    def _accept(self, upgrade: Upgrade) -> AbstractAsyncContextManager[WebSocket]:
        limits = self._context.config.limits
        accepts = self._messages.accepts(self.dialect)
        return self._context.engine.accept(
            upgrade,
            self._transport,
            self._outbox,
            # More is for those who have come in: a stranger's message is decoded, too.
            EngineLimits(limits.message_bytes, limits.fragments_per_message, accepts, self._message_bytes),
            self._count_control,
        )

    def _opened(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.framing = websocket.framing
        if self.closed is not None:
            # Closed (a shutdown, a flood of pings) before there was anything to say it with.
            websocket.close(self.closed.code, self.closed.reason)

    def _greet(self, answer: Answer | None) -> None:
        if answer is not None:
            self.answer(answer)

    async def _beat(self, websocket: WebSocket) -> None:
        """The heartbeat task. A fault of it closes; the reading then ends as after any close."""
        try:
            await Heartbeat(self, websocket, self._transport, self._context).run()
        except Exception as error:
            self._fault(error)
            self.depart()

    async def _read(self, websocket: WebSocket) -> None:
        """Handle messages until the end, in a new scope whenever a handler has taken too long."""
        while True:
            with self.patience.scope():
                await self._read_on(websocket)
                return

    async def _read_on(self, websocket: WebSocket) -> None:
        """Handle messages until the end; once a close is under way, only wait for the peer's."""
        while True:
            try:
                message = websocket.receive_nowait()
                if message is None:
                    message = await websocket.receive()
            except Ended as ended:
                if ended.by_peer:
                    await self._context.endings.take()
                    self._record(ended.code, ended.reason, by_peer=True)
                    self._gone = ended.code == CloseCode.ABNORMAL
                else:
                    self._linger = True
                    self._context.hub.settle(self)
                    self._record(ended.code, ended.reason, by_peer=False)
                    websocket.close(ended.code, ended.reason)
                return
            if self.is_closing:
                continue
            self._commands += 1
            self.handling = True
            try:
                await self._messages.handle(self, message)
            finally:
                self.handling = False
                self.handled_at = self._clock()

    def _count_control(self, frames: int) -> None:
        if self.command_rate.spend(frames) is Verdict.EXHAUSTED:
            self.close(CloseCode.TOO_MANY_REQUESTS)

    def _fault(self, error: BaseException) -> None:
        _log.error("connection failed", connection=self.connection_id, peer=self.peer, exc_info=error)
        self._record(CloseCode.INTERNAL_ERROR, REASONS[CloseCode.INTERNAL_ERROR], by_peer=False)
        if self._websocket is not None:
            self._linger = True
            self._websocket.close(CloseCode.INTERNAL_ERROR, REASONS[CloseCode.INTERNAL_ERROR])

    async def _free(self) -> None:
        """Close the socket: let a peer read the reason where one was sent, and never wait on it for long."""
        cancelled = trio.current_effective_deadline() == -float("inf")
        if self._linger and not cancelled and self._scope.deadline > trio.current_time():
            with trio.CancelScope(deadline=self._scope.deadline, shield=True):
                await self._transport.linger()
        # A fan-out under way may still hold our `offer`: from here on it falls on a sealed outbox.
        self._outbox.detach()
        self._websocket = None
        await self._transport.close(reset=self._scope.cancelled_caught or cancelled)

    def _log_end(self, closed: CloseReason) -> None:
        hub = self._context.hub
        _log.info(
            "disconnected",
            connection=self.connection_id,
            user=self._identity.user_id if self._identity else None,
            peer=self.peer,
            code=closed.code,
            # The peer's own words stay out of the log: they may be anything, a token too.
            reason=None if closed.by_peer else closed.reason,
            by="peer" if closed.by_peer else "server",
            seconds=round(trio.current_time() - self._started, 3),
            connections=hub.connections,
            users=hub.users,
        )
