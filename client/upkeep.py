"""Keeping one logical connection up over as many real ones as it takes."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any
from weakref import WeakSet

import msgspec
import trio

from tidings.client.backoff import Reconnect
from tidings.client.endings import Ending, lost, told
from tidings.client.errors import CommandRefused, ConnectionLost, Disconnected
from tidings.client.events import Connected, Event, Notice, Reconnecting, Resubscribed, TokenExpiring
from tidings.client.feed import Feed
from tidings.client.inflow import Inflow, Message
from tidings.client.link import Link, Lost, Reply
from tidings.client.publications import PayloadTypes
from tidings.client.stream import Dial
from tidings.client.tokens import Token, TokenFailed, TokenSource
from tidings.client.urls import Address
from tidings.protocol.channels import ALL, user_channel
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.messages import answers

# For the server's answer to a command that the client gives by itself: a handler has 10 s there.
ANSWER_SECONDS = 20.0

# After a refused or failed attempt to renew a token.
RENEW_SECONDS = 5.0

# A token is renewed when so much of its life is over: the server warns 60 s ahead, which is no warning to
# one that lives for a minute.
RENEW_AT = 0.8

# A subscription that the server cannot make just now is asked for so often before the connection is
# given up, and at such an interval unless the server names one.
RESUBSCRIBE_TRIES = 5
RESUBSCRIBE_SECONDS = 1.0

# Between two attempts to tell a busy server that a channel was left.
LONGEST_PAUSE = 60.0

# What a later attempt may bring: every other refusal of a subscription is final.
_PASSING = frozenset({"rate_limited", "unavailable", "internal"})


wall_clock = time.time
"""Unix seconds: what tokens end by."""


class _Refusal(msgspec.Struct):
    """An `error`, with codes that a later server may have."""

    code: str
    message: str = ""
    retry_after: float | None = None


_decode_message = msgspec.json.Decoder(Message).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_subscribed = msgspec.json.Decoder(answers.Subscribed).decode


class Upkeep:
    """Connects, reconnects, subscribes again, renews the token, and tells what it does."""

    def __init__(
        self,
        address: Address,
        *,
        token: Token,
        reconnect: Reconnect,
        types: PayloadTypes,
        dial: Dial,
        on_event: Callable[[Event], None] | None,
        message_bytes: int,
    ) -> None:
        self._address = address
        self._message_bytes = message_bytes
        self._tokens = TokenSource(token)
        self._reconnect = reconnect
        self._dial = dial
        self._on_event = on_event
        self.inflow = Inflow(types)
        self.commands: dict[str, tuple[str, dict[str, Any]]] = {}
        """How each channel was subscribed to, so that it is subscribed to in the same way again."""
        self._own: frozenset[str] = frozenset()
        """What the server sends unasked, and goes on sending."""
        self._on_server: set[str] = set()
        """What this connection has asked the server for, and not asked it to end."""
        self._to_drop: set[str] = set()
        """Channels that nobody wants any more, before the server is asked to end them."""
        self._dropping: set[str] = set()
        """The same, until it has answered. What comes on either is of a subscription that is over."""
        self._busy = trio.Lock()
        self._drops: trio.Nursery | None = None
        """Of the living connection: where channels are dropped."""
        self.listeners: WeakSet[Feed[Event]] = WeakSet()
        self._changed = trio.Event()
        self._link: Link | None = None
        """The connection, once everything is subscribed to; None between connections."""
        self._current: Link | None = None
        """The connection or the attempt at one."""
        self._ended: Ending | None = None
        self._was_connected = False
        self._failures = 0
        """Connections and attempts that ended since one lasted."""
        self._expiring = trio.Event()
        # Cancelled from outside, the connection would be reset before it can say goodbye: `aclose` ends it.
        self._scope = trio.CancelScope(shield=True)

    async def request(
        self,
        kind: str,
        data: dict[str, Any],
        *,
        repeat: bool = False,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Give a command, as soon as there is a connection, and wait for its answer.

        Raises CommandRefused, Disconnected, and ConnectionLost unless it may be repeated.
        """
        while True:
            link = await self.ready()
            try:
                return await link.ask(kind, data, on_sent=on_sent)
            except Lost as end:
                if end.sent and not repeat:
                    raise ConnectionLost(f"{kind}: the connection ended before the answer came") from None

    async def subscribe(self, channel: str, kind: str, data: dict[str, Any]) -> None:
        """Subscribe, now and on every further connection, until `unsubscribe` or `forget`. Raises as `request`."""
        # Before the command: the first publication may come in the same piece as the answer.
        self.commands[channel] = (kind, data)
        self._to_drop.discard(channel)
        had = channel in self._on_server
        try:
            await self.request(kind, data, repeat=True, on_sent=lambda: self._asked(channel))
        except CommandRefused:
            if not had:
                self._on_server.discard(channel)
            raise

    async def ready(self) -> Link:
        """The connection, as soon as there is one. Raises Disconnected."""
        while True:
            if self._ended is not None:
                raise Disconnected(int(self._ended.code), self._ended.reason)
            if self._link is not None:
                return self._link
            await self._changed.wait()

    def unsubscribe(self, channel: str) -> None:
        """The last subscription of a channel was closed: nothing of it is heard any more, and the server is told.

        That is done by the connection, in its own time: whoever leaves does not wait for a server that may
        be slow, away, or too busy to be told now.
        """
        self.commands.pop(channel, None)
        if channel not in self._own:
            self.inflow.positions.forget(channel)
            self._drop_soon(channel)

    def _asked(self, channel: str) -> None:
        """The server is being asked for a channel; closed while that waited to be sent, it is ended at once."""
        self._on_server.add(channel)
        if channel not in self.commands and channel not in self._own:
            self._drop_soon(channel)

    def _drop_soon(self, channel: str) -> None:
        if self._drops is not None and channel in self._on_server and channel not in self._to_drop:
            assert self._current is not None
            self._to_drop.add(channel)
            self._drops.start_soon(self._drop, self._current, channel)

    async def _drop(self, link: Link, channel: str) -> None:
        """Have the server end a subscription, unless somebody wants it again before it is asked."""
        pause = await self._drop_once(link, channel)
        if pause is None:
            return
        # One at a time from here on: a server that counts commands would go on refusing a crowd of them.
        async with self._busy:
            for doublings in count():
                if pause is None:
                    return
                # Whoever else gives commands draws on the same allowance: at the time named it may be gone again.
                await trio.sleep(min(LONGEST_PAUSE, pause * 2**doublings))
                pause = await self._drop_once(link, channel)

    async def _drop_once(self, link: Link, channel: str) -> float | None:
        """Ask once; in how many seconds to ask again, None when there is nothing more to ask."""
        if channel not in self._to_drop:
            return None
        self._to_drop.discard(channel)
        self._dropping.add(channel)
        try:
            await link.ask(
                "unsubscribe",
                {"channel": channel},
                on_sent=lambda: self._on_server.discard(channel),
                on_answer=lambda: self._dropping.discard(channel),
            )
        except Lost:
            return None
        except CommandRefused as refusal:
            if refusal.code not in _PASSING or channel in self.commands:
                return None
            self._on_server.add(channel)
            self._to_drop.add(channel)
            return max(RESUBSCRIBE_SECONDS, refusal.retry_after or 0.0)
        return None

    def forget(self, channel: str) -> None:
        """A channel is subscribed to no longer."""
        self.commands.pop(channel, None)
        self._on_server.discard(channel)
        self.inflow.positions.forget(channel)

    async def run(self) -> None:
        """Connect, and connect again, until that is over for good or `aclose` is called. Shielded."""
        with self._scope:
            await self._keep_up()

    async def _keep_up(self) -> None:
        reconnect = self._reconnect
        renewed = False
        while True:
            link = self._current = Link(self._address, self._dial, message_bytes=self._message_bytes)
            begun = trio.current_time()
            ending = await self._live(link)
            self._link = None
            if self._ended is not None:
                return
            if link.connected is not None:
                renewed = False
                self._was_connected = True
                if trio.current_time() - begun >= reconnect.stable:
                    self._failures = 0
            self._failures += 1
            returns = ending.returns
            if ending.token and self._tokens.can_renew:
                # It was too old, and the provider may have a newer one. Refused twice, the fault is another.
                returns, renewed = not renewed, True
            if not returns or (reconnect.attempts is not None and self._failures > reconnect.attempts):
                self._finish(ending)
                return
            delay = reconnect.delay(self._failures, at_least=ending.delay)
            self._tell(Reconnecting(self._failures, delay, int(ending.code), ending.reason))
            await trio.sleep(delay)

    async def aclose(self) -> None:
        """End: say goodbye with 1000, wait a little for the server's, and let `run` return. Idempotent."""
        if self._ended is None:
            self._finish(Ending(CloseCode.NORMAL, "closed by this client", returns=False), quietly=True)
        if self._current is not None:
            await self._current.close()
        self._scope.cancel()

    async def _live(self, link: Link) -> Ending:
        """One connection, from the token to its end."""
        try:
            token = await self._tokens.get()
        except TokenFailed as failure:
            # At the very first it is a mistake of the caller's more often than a passing failure.
            return replace(lost(str(failure)), returns=self._was_connected)
        return await link.run(token, self._serve)

    async def _serve(self, link: Link) -> None:
        """Read until the end, beside what has to be asked meanwhile."""
        self.inflow.hold()
        self._expiring = trio.Event()
        for channels in (self._on_server, self._to_drop, self._dropping):
            channels.clear()
        async with trio.open_nursery() as nursery:
            self._drops = nursery
            nursery.start_soon(self._settle, link)
            nursery.start_soon(self._renew, link)
            while (message := await link.receive()) is not None:
                try:
                    self._take(link, message)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    link.fail(lost(f"unreadable message: {told(error)}"))
            self._drops = None
            nursery.cancel_scope.cancel()

    async def _settle(self, link: Link) -> None:
        """Make every subscription again, then let publications and requests through."""
        connected = await link.wait_welcome()
        explicit = dict(self.commands)
        self._own = frozenset({ALL, user_channel(connected.user_id)})
        known = [*self._own, *self.inflow.positions.channels]
        # Subscribing to what comes anyway tells where it stands, and so what was missed of it.
        implicit = {channel: ("subscribe", {"channel": channel}) for channel in known}
        async with trio.open_nursery() as nursery:
            for channel, (kind, data) in (implicit | explicit).items():
                nursery.start_soon(self._resubscribe, link, channel, kind, data)
        lost_publications = self.inflow.release()
        # No await from here on: whoever is woken finds the events told.
        self._link = link
        self._change()
        self._tell(
            Connected(
                connected.connection_id,
                connected.user_id,
                connected.username,
                connected.expires_at,
                self._failures + 1,
            )
        )
        if self._was_connected:
            self._tell(Resubscribed(tuple(explicit), lost_publications))

    async def _resubscribe(self, link: Link, channel: str, kind: str, data: dict[str, Any]) -> None:
        explicit = channel in self.commands
        asked = partial(self._asked if explicit else self._on_server.add, channel)
        for _ in range(RESUBSCRIBE_TRIES):
            if explicit and channel not in self.commands:
                return  # closed meanwhile
            pause = RESUBSCRIBE_SECONDS
            with trio.move_on_after(ANSWER_SECONDS):
                try:
                    await link.ask(kind, data, on_sent=asked)
                except Lost:
                    return
                except CommandRefused as refusal:
                    if refusal.code not in _PASSING:
                        self._end_channel(channel, refusal.code, refusal.message)
                        return
                    pause = max(pause, refusal.retry_after or 0.0)
                else:
                    return
            await trio.sleep(pause)
        link.fail(lost(f"{channel}: the server could not subscribe us"))

    async def _renew(self, link: Link) -> None:
        """Replace the token in band before it ends: in time by our own clock, or when the server says so."""
        expires_at = (await link.wait_welcome()).expires_at
        while True:
            with trio.move_on_after(self._until_renewal(expires_at)):
                await self._expiring.wait()
            self._expiring = trio.Event()
            renewed = not self._tokens.can_renew
            while not renewed:
                with trio.move_on_after(ANSWER_SECONDS):
                    try:
                        reply = await link.ask("refresh", {"token": await self._tokens.get()})
                        expires_at = msgspec.json.decode(reply.data, type=answers.Refreshed).expires_at
                        renewed = True
                    except Lost:
                        return
                    except (CommandRefused, TokenFailed):
                        # Until the server closes with 3005; then a new connection asks for a token again.
                        pass
                if not renewed:
                    await trio.sleep(RENEW_SECONDS)

    def _until_renewal(self, expires_at: int) -> float:
        """Seconds until a token is renewed unasked."""
        left = expires_at - wall_clock()
        # With nobody to ask, or a clock that is wrong, the server's word has to do.
        if not self._tokens.can_renew or left <= 0:
            return float("inf")
        return max(RENEW_SECONDS, left * RENEW_AT)

    # --- what the server says ------------------------------------------------------------------------

    def _take(self, link: Link, raw: str | bytes) -> None:
        """One message, in one step: who is woken by it finds everything before it done."""
        message = _decode_message(raw)
        if message.id is not None:
            self._take_answer(link, message, message.id)
        elif message.channel is not None and message.offset is not None:
            # Of a subscription that is over, nothing is heard, and nothing can be missed.
            if message.channel not in self._to_drop and message.channel not in self._dropping:
                self.inflow.publication(message)
        else:
            self._take_word(link, message)

    def _take_answer(self, link: Link, message: Message, command_id: str) -> None:
        if message.type == "error":
            error = _decode_refusal(message.data)
            link.answered(command_id, CommandRefused(error.code, error.message, error.retry_after))
            return
        if message.type == "subscribed":
            subscribed = _decode_subscribed(message.data)
            if subscribed.channel not in self._to_drop and subscribed.channel not in self._dropping:
                self.inflow.told(subscribed.channel, subscribed.epoch, subscribed.offset)
        link.answered(command_id, Reply(message.type, message.data))

    def _take_word(self, link: Link, message: Message) -> None:
        match message.type:
            case "connected":
                link.welcome(msgspec.json.decode(message.data, type=answers.Connected))
            case "disconnect":
                link.parting = msgspec.json.decode(message.data, type=answers.Disconnect)
            case "token_expiring":
                word = msgspec.json.decode(message.data, type=answers.TokenExpiring)
                self._expiring.set()
                self._tell(TokenExpiring(word.expires_at))
            case "unsubscribed":
                channel = msgspec.json.decode(message.data, type=answers.Unsubscribed).channel
                self._end_channel(channel, "forbidden", f"{channel}: the server ended the subscription")
            case _:
                data = msgspec.json.decode(message.data)
                self._tell(Notice(message.type, message.channel, data))

    def _end_channel(self, channel: str, code: str, message: str) -> None:
        self.forget(channel)
        self.inflow.end_channel(channel, lambda: CommandRefused(code, message))

    # --- telling -------------------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether it is over for good."""
        return self._ended is not None

    def _finish(self, ending: Ending, *, quietly: bool = False) -> None:
        """The client ends: whatever waits on it is woken."""
        self._ended = ending
        self._link = None
        self._change()
        self.inflow.end(None if quietly else self.end_error)
        for feed in list(self.listeners):
            feed.end(None if quietly else self.end_error)

    def end_error(self) -> Exception:
        """Why it is over for good."""
        assert self._ended is not None
        return Disconnected(int(self._ended.code), self._ended.reason)

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)
        for feed in list(self.listeners):
            feed.put(event)

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
