"""Keeping one logical connection up over as many real ones as it takes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import msgspec
import trio

from tidings.client.acknowledging import Acknowledgements
from tidings.client.backoff import Reconnect
from tidings.client.endings import Ending, lost, told
from tidings.client.errors import CommandRefused, ConnectionLost, Disconnected
from tidings.client.events import Connected, Event, Notice, Reconnecting, Resubscribed, TokenExpiring
from tidings.client.feed import Feed
from tidings.client.inflow import Inflow, Message
from tidings.client.leaving import Leaving
from tidings.client.link import ANSWER_SECONDS, CLOSE_SECONDS, PASSING, Link, Lost, Reply
from tidings.client.outbox import Outbox
from tidings.client.renewal import Renewal
from tidings.client.stream import Dial
from tidings.client.tokens import Token, TokenFailed, TokenSource
from tidings.client.urls import Address
from tidings.protocol.channels import ALL, kind_of, user_channel
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.messages import answers

# A subscription that the server cannot make just now is asked for so often before the connection is
# given up, and at such an interval unless the server names one.
RESUBSCRIBE_TRIES = 5
RESUBSCRIBE_SECONDS = 1.0

# Of the time for the last words, what the last acknowledgement may take.
FLUSH_SECONDS = CLOSE_SECONDS / 2

# The kinds of channels that come with a token, and so also with one that is newer.
_BROUGHT = ("group", "role")

Data = dict[str, Any]


class _Refusal(msgspec.Struct):
    """An `error`, with codes that a later server may have."""

    code: str
    message: str = ""
    retry_after: float | None = None


_decode_message = msgspec.json.Decoder(Message).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_subscribed = msgspec.json.Decoder(answers.Subscribed).decode
_decode_passed = msgspec.json.Decoder(answers.Passed).decode


class Upkeep:
    """Connects, reconnects, subscribes again, and tells what it does."""

    def __init__(
        self,
        address: Address,
        *,
        token: Token,
        reconnect: Reconnect,
        inflow: Inflow,
        dial: Dial,
        on_event: Callable[[Event], None] | None,
        message_bytes: int,
        outbox: int,
        acknowledges: bool,
    ) -> None:
        self._address = address
        self._message_bytes = message_bytes
        self._tokens = TokenSource(token)
        self._reconnect = reconnect
        self._dial = dial
        self._on_event = on_event
        self.inflow = inflow
        self.acknowledgements = Acknowledgements(inflow, self._tell, automatic=acknowledges)
        self.outbox = Outbox(
            outbox, self.request, self._tell, message_bytes=message_bytes, uniform=reconnect.uniform
        )
        self._leaving = Leaving()
        self._renewal = Renewal(self._tokens)
        self._plan: dict[str, tuple[str, Data]] = {}
        """What this connection's server is asked for at first, by channel."""
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
        # Cancelled from outside, the connection would be reset before it can say goodbye: `aclose` ends it.
        self._scope = trio.CancelScope(shield=True)

    async def request(
        self,
        kind: str,
        data: Data | Callable[[], Data],
        *,
        repeat: bool = False,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Give a command, as soon as there is a connection, and wait for its answer.

        Raises CommandRefused, Disconnected, and ConnectionLost unless it may be repeated. Data that depends
        on the moment is asked for when there is a connection; what that raises ends the request.
        """
        while True:
            link = await self.ready()
            try:
                return await link.ask(kind, data() if callable(data) else data, on_sent=on_sent)
            except Lost as end:
                if end.sent and not repeat:
                    raise ConnectionLost(f"{kind}: the connection ended before the answer came") from None

    async def subscribe(self, channel: str, kind: str, data: Data) -> None:
        """Subscribe, now and on every further connection, until `unsubscribe` or `forget`. Raises as `request`."""
        # Before the command: the first publication may come in the same piece as the answer.
        self._leaving.want(channel, kind, data)
        had = self._leaving.is_on_server(channel)
        await self.ready()
        if channel == self.inflow.inbox:
            # It comes unasked, from where this device stands.
            await trio.lowlevel.checkpoint()
            return
        try:
            await self.request(
                kind,
                lambda: self._since(channel, data),
                repeat=True,
                on_sent=lambda: self._leaving.asked(channel),
            )
        except CommandRefused:
            if not had:
                self._leaving.refused(channel)
            raise

    def _since(self, channel: str, data: Data) -> Data:
        """The data of a command that subscribes, with the position to go on from."""
        since = self.inflow.positions.since(channel)
        return data if since is None else {**data, "since": since}

    async def ready(self) -> Link:
        """The connection, as soon as there is one. Raises Disconnected."""
        while True:
            if self._ended is not None:
                raise Disconnected(int(self._ended.code), self._ended.reason)
            if self._link is not None:
                return self._link
            await self._changed.wait()

    def unsubscribe(self, channel: str) -> None:
        """The last subscription of a channel was closed: nothing of it is heard any more; the server is told."""
        if self._leaving.leave(channel):
            self.inflow.positions.forget(channel)

    def forget(self, channel: str) -> None:
        """A channel is subscribed to no longer."""
        self._leaving.forget(channel)
        self.inflow.positions.forget(channel)

    async def run(self) -> None:
        """Connect, and connect again, until that is over for good or `aclose` is called. Shielded."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.outbox.run)
                await self._keep_up()
                nursery.cancel_scope.cancel()

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
        """End: acknowledge what is dealt with, say goodbye with 1000, and let `run` return. Idempotent.

        Takes CLOSE_SECONDS at most.
        """
        deadline = trio.current_time() + CLOSE_SECONDS
        if self._ended is None:
            self._finish(Ending(CloseCode.NORMAL, "closed by this client", returns=False), quietly=True)
        if self._current is not None:
            with trio.move_on_after(FLUSH_SECONDS):
                await self.acknowledgements.flush()
            await self._current.close(deadline)
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
        self._renewal = Renewal(self._tokens)
        async with trio.open_nursery() as nursery:
            self._leaving.begin(nursery, link)
            nursery.start_soon(self._settle, link)
            nursery.start_soon(self._renewal.run, link)
            while (message := await link.receive()) is not None:
                try:
                    self._take(link, message)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    link.fail(lost(f"unreadable message: {told(error)}"))
            self._leaving.end()
            nursery.cancel_scope.cancel()

    def _begin(self, connected: answers.Connected) -> None:
        """The server has let us in: what it will be asked for, before anything else of it is read."""
        own, positions, commands = (
            user_channel(connected.user_id), self.inflow.positions, self._leaving.commands,
        )  # fmt: skip
        before, self._leaving.own = self._leaving.own, frozenset({ALL, own, *connected.channels})
        for channel in before - self._leaving.own:
            # It came unasked, and comes no more: another group, or a role that was taken away.
            if channel not in commands and not positions.is_given(channel):
                positions.forget(channel)
        if connected.inbox is None:
            self.inflow.detached()
        else:
            self.inflow.attached(own, connected.inbox.epoch, connected.inbox.offset)
        self.acknowledgements.begin(connected.inbox)
        settled = {
            channel
            for channel, stands in connected.channels.items()
            if channel not in commands and self.inflow.stands(channel, stands.epoch, stands.offset)
        }
        # Subscribing to what comes anyway brings what was missed of it, and tells where it stands, for servers
        # that have not. What only the application knows of can wait until somebody is there to hear it.
        known = [
            channel
            for channel in (*self._leaving.own, *positions.channels)
            if channel not in settled and not positions.is_given(channel)
        ]
        implicit = {channel: ("subscribe", {"channel": channel}) for channel in known}
        self._plan = implicit | commands
        if connected.inbox is not None:
            self._plan.pop(own, None)
        self.inflow.await_only(self._plan)

    async def _settle(self, link: Link) -> None:
        """Make every subscription again, then let requests through; and acknowledge, from the beginning on."""
        connected = await link.wait_welcome()
        explicit = tuple(self._leaving.commands)
        async with trio.open_nursery() as acknowledging:
            acknowledging.start_soon(self.acknowledgements.run, link)
            async with trio.open_nursery() as nursery:
                for channel, (kind, data) in self._plan.items():
                    nursery.start_soon(self._resubscribe, link, channel, kind, data)
            lost_publications, recovered = self.inflow.release()
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
                self._tell(Resubscribed(explicit, lost_publications, recovered))

    async def _resubscribe(self, link: Link, channel: str, kind: str, data: Data) -> None:
        explicit = channel in self._leaving.commands
        for _ in range(RESUBSCRIBE_TRIES):
            if explicit and channel not in self._leaving.commands:
                return  # closed meanwhile
            pause = RESUBSCRIBE_SECONDS
            with trio.move_on_after(ANSWER_SECONDS):
                try:
                    await link.ask(
                        kind,
                        self._since(channel, data),
                        on_sent=lambda: self._leaving.asked(channel, unwanted=not explicit),
                    )
                except Lost:
                    return
                except CommandRefused as refusal:
                    if refusal.code not in PASSING:
                        self._not_resubscribed(link, channel, refusal)
                        return
                    pause = max(pause, refusal.retry_after or 0.0)
                else:
                    return
            await trio.sleep(pause)
        link.fail(lost(f"{channel}: the server could not subscribe us"))

    def _not_resubscribed(self, link: Link, channel: str, refusal: CommandRefused) -> None:
        """The server does not let us go on in a channel."""
        assert link.connected is not None
        stands = link.connected.channels.get(channel)
        if stands is None or channel in self._leaving.commands or channel not in self._leaving.own:
            self._end_channel(channel, refusal.code, refusal.message)
        else:
            # It comes all the same, but nothing of what was missed.
            self.inflow.told(channel, stands.epoch, stands.offset)

    # --- what the server says ------------------------------------------------------------------------

    def _take(self, link: Link, raw: str | bytes) -> None:
        """One message, in one step: who is woken by it finds everything before it done."""
        message = _decode_message(raw)
        if message.id is not None:
            self._take_answer(link, message, message.id)
        elif message.type == "position":
            passed = _decode_passed(message.data)
            if not self._leaving.is_over(passed.channel):
                self._notice_brought(passed.channel)
                self.inflow.moved(passed.channel, passed.epoch, passed.offset)
        elif message.channel is not None:
            # Of a subscription that is over, nothing is heard, and nothing can be missed.
            if not self._leaving.is_over(message.channel):
                self.inflow.publication(message)
        else:
            self._take_word(link, message)

    def _notice_brought(self, channel: str) -> None:
        """A position was told, perhaps of a channel that a newer token brings: it comes unasked from now on."""
        leaving, positions = self._leaving, self.inflow.positions
        if (
            kind_of(channel) in _BROUGHT
            and channel not in leaving.commands
            and (channel not in positions.known or positions.is_given(channel))
        ):
            leaving.own |= {channel}

    def _take_answer(self, link: Link, message: Message, command_id: str) -> None:
        if message.type == "error":
            error = _decode_refusal(message.data)
            link.answered(command_id, CommandRefused(error.code, error.message, error.retry_after))
            return
        if message.type == "subscribed":
            subscribed = _decode_subscribed(message.data)
            if not self._leaving.is_over(subscribed.channel):
                self.inflow.told(
                    subscribed.channel,
                    subscribed.epoch,
                    subscribed.offset,
                    recovered=subscribed.recovered,
                )
        link.answered(command_id, Reply(message.type, message.data))

    def _take_word(self, link: Link, message: Message) -> None:
        match message.type:
            case "connected":
                connected = msgspec.json.decode(message.data, type=answers.Connected)
                self._begin(connected)
                link.welcome(connected)
            case "disconnect":
                link.parting = msgspec.json.decode(message.data, type=answers.Disconnect)
            case "token_expiring":
                word = msgspec.json.decode(message.data, type=answers.TokenExpiring)
                self._renewal.expiring()
                self._tell(TokenExpiring(word.expires_at))
            case "unsubscribed":
                channel = msgspec.json.decode(message.data, type=answers.Unsubscribed).channel
                self._leaving.own -= {channel}
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
        self.acknowledgements.end(self.end_error)
        self.outbox.end(self.end_error)
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
