"""Keeping one logical connection up over as many real ones as it takes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
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

# For the word that ends a subscription, when its user is already leaving.
UNSUBSCRIBE_SECONDS = 2.0

# After a refused or failed attempt to renew a token; the server warns 60 s ahead.
RENEW_SECONDS = 5.0

# A subscription that the server cannot make just now is asked for so often before the connection is
# given up, and at such an interval unless the server names one.
RESUBSCRIBE_TRIES = 5
RESUBSCRIBE_SECONDS = 1.0

# What a later attempt may bring: every other refusal of a subscription is final.
_PASSING = frozenset({"rate_limited", "unavailable", "internal"})


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
    ) -> None:
        self._address = address
        self._tokens = TokenSource(token)
        self._reconnect = reconnect
        self._dial = dial
        self._on_event = on_event
        self.inflow = Inflow(types)
        self.commands: dict[str, tuple[str, dict[str, Any]]] = {}
        """How each channel was subscribed to, so that it is subscribed to in the same way again."""
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

    async def request(self, kind: str, data: dict[str, Any], *, repeat: bool = False) -> Reply:
        """Give a command, as soon as there is a connection, and wait for its answer.

        Raises CommandRefused, Disconnected, and ConnectionLost unless it may be repeated.
        """
        while True:
            link = await self.ready()
            try:
                return await link.ask(kind, data)
            except Lost as end:
                if end.sent and not repeat:
                    raise ConnectionLost(f"{kind}: the connection ended before the answer came") from None

    async def ready(self) -> Link:
        """The connection, as soon as there is one. Raises Disconnected."""
        while True:
            if self._ended is not None:
                raise Disconnected(int(self._ended.code), self._ended.reason)
            if self._link is not None:
                return self._link
            await self._changed.wait()

    async def unsubscribe(self, channel: str) -> None:
        """The last subscription of a channel was closed: tell the server, if that can be done soon."""
        self.commands.pop(channel, None)
        link = self._link
        if link is None or self._is_own(link, channel):
            await trio.lowlevel.checkpoint()
            return
        self.inflow.positions.forget(channel)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + UNSUBSCRIBE_SECONDS):
            await self._drop(link, channel)

    @staticmethod
    async def _drop(link: Link, channel: str) -> None:
        with suppress(CommandRefused, Lost):
            await link.ask("unsubscribe", {"channel": channel})

    @staticmethod
    def _is_own(link: Link, channel: str) -> bool:
        """Whether a channel is one that the server sends unasked, and goes on sending."""
        assert link.connected is not None
        return channel in (ALL, user_channel(link.connected.user_id))

    def forget(self, channel: str) -> None:
        """A channel is subscribed to no longer."""
        self.commands.pop(channel, None)
        self.inflow.positions.forget(channel)

    async def run(self) -> None:
        """Connect, and connect again, until that is over for good or `aclose` is called. Shielded."""
        with self._scope:
            await self._keep_up()

    async def _keep_up(self) -> None:
        reconnect = self._reconnect
        renewed = False
        while True:
            link = self._current = Link(self._address, self._dial)
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
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._settle, link)
            nursery.start_soon(self._renew, link)
            while (message := await link.receive()) is not None:
                try:
                    self._take(link, message)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    link.fail(lost(f"unreadable message: {told(error)}"))
            nursery.cancel_scope.cancel()

    async def _settle(self, link: Link) -> None:
        """Make every subscription again, then let publications and requests through."""
        connected = await link.wait_welcome()
        explicit = dict(self.commands)
        known = [ALL, user_channel(connected.user_id), *self.inflow.positions.channels]
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
        for channel in explicit.keys() - self.commands.keys():
            # Closed while it was being made again.
            if not self._is_own(link, channel):
                await self._drop(link, channel)

    async def _resubscribe(self, link: Link, channel: str, kind: str, data: dict[str, Any]) -> None:
        for _ in range(RESUBSCRIBE_TRIES):
            pause = RESUBSCRIBE_SECONDS
            with trio.move_on_after(ANSWER_SECONDS):
                try:
                    await link.ask(kind, data)
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
        """Replace the token in band whenever the server says that it ends."""
        while True:
            await self._expiring.wait()
            self._expiring = trio.Event()
            renewed = not self._tokens.can_renew
            while not renewed:
                with trio.move_on_after(ANSWER_SECONDS):
                    try:
                        await link.ask("refresh", {"token": await self._tokens.get()})
                        renewed = True
                    except Lost:
                        return
                    except (CommandRefused, TokenFailed):
                        # Until the server closes with 3005; then a new connection asks for a token again.
                        pass
                if not renewed:
                    await trio.sleep(RENEW_SECONDS)

    # --- what the server says ------------------------------------------------------------------------

    def _take(self, link: Link, raw: str | bytes) -> None:
        """One message, in one step: who is woken by it finds everything before it done."""
        message = _decode_message(raw)
        if message.id is not None:
            self._take_answer(link, message, message.id)
        elif message.channel is not None and message.offset is not None:
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
