"""One WebSocket connection, from the dialling to its end, with trio-websocket contained.

What is contained: its reader raises into whatever nursery it runs in, so that has one to itself; a
handshake that is never answered would be waited for without end; `aclose` waits for the peer; a send that
is cancelled leaves half a frame, so that only a task of the link's own ever sends.
"""

import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import msgspec
import trio
import trio_websocket

from tidings.client.endings import Ending, closed, lost, not_connected, rejected, told
from tidings.client.errors import CommandRefused
from tidings.client.stream import RECEIVE_BYTES, Dial, WatchedStream
from tidings.client.urls import Address
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.answers import Connected, Disconnect

SUBPROTOCOL = "tidings.v1.json"

# From dialling to the server's `connected`: what a bad mobile line and a busy server need together.
OPEN_SECONDS = 20.0

# A command that the peer's kernel does not take in this time: the peer has stopped reading.
SEND_SECONDS = 30.0

# For the last words of both sides: what is acknowledged yet, our close frame, and the peer's answer to it.
CLOSE_SECONDS = 2.0

# For the answer to a command that the client gives by itself: a handler of the server's has 10 s.
ANSWER_SECONDS = 20.0

# Refusals of what may succeed when it is tried again: every other one is final.
PASSING = frozenset({"rate_limited", "unavailable", "internal"})

# Commands between those who give them and the task that sends; whoever comes then waits for room.
OUTGOING = 64

# More than any server of ours sends (its outbox, 1 MiB by default, bounds a frame); memory per connection.
MESSAGE_BYTES = 16 * 2**20


class Reply(msgspec.Struct, frozen=True):
    """What the server answered to a command."""

    type: str
    data: msgspec.Raw

    def __repr__(self) -> str:
        return f"Reply({self.type!r})"


def _nothing() -> None:
    """What is done where nobody wants to know."""


class Lost(Exception):
    """The link ended before the answer came."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent
        """Whether the server may have got the command."""


class _Slot:
    """One command on its way, and its answer."""

    __slots__ = ("abandoned", "done", "on_answer", "on_sent", "outcome", "sent", "text")

    def __init__(self, text: str, on_sent: Callable[[], None], on_answer: Callable[[], None]) -> None:
        self.text = text
        self.on_sent = on_sent
        self.on_answer = on_answer
        self.sent = False
        self.abandoned = False
        self.done = trio.Event()
        self.outcome: Reply | CommandRefused | None = None


class Link:
    """One connection. `run` owns it; `ask` may be called from any task while it runs."""

    def __init__(self, address: Address, dial: Dial, *, message_bytes: int) -> None:
        """Take where and how to connect, and the longest command that the server takes."""
        self._address = address
        self._most = message_bytes
        self._dial = dial
        self._scope = trio.CancelScope()
        self._library_scope = trio.CancelScope()
        self._opened = trio.Event()
        self._websocket: trio_websocket.WebSocketConnection | None = None
        self._stream: WatchedStream | None = None
        self._ending: Ending | None = None
        self._slots: dict[str, _Slot] = {}
        self._numbers = count(1)
        self._queue, self._queued = trio.open_memory_channel[_Slot](OUTGOING)
        self._welcomed = trio.Event()
        self._goodbye: trio.Event | None = None
        """Set once our close is answered, or has waited long enough."""
        self.connected: Connected | None = None
        """The server's word that we are authenticated."""
        self.parting: Disconnect | None = None
        """The server's word that it is about to close."""

    async def run(self, token: str | None, use: Callable[["Link"], Awaitable[None]]) -> Ending:
        """Connect, hand the connection to `use`, and return why it ended. Raises what `use` raises.

        `use` is called once the socket is open; it must take every message (`receive`) and call `welcome`
        when `connected` has come. Cancelling resets the connection.
        """
        try:
            with self._scope:
                self._scope.deadline = trio.current_time() + OPEN_SECONDS
                stream = await self._open()
                if stream is not None:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._library, stream, token)
                        await self._opened.wait()
                        if self._ending is None and self._check_subprotocol():
                            nursery.start_soon(self._write)
                            nursery.start_soon(self._watch)
                            await use(self)
                        nursery.cancel_scope.cancel()
            if self._scope.cancelled_caught and self._ending is None:
                self._ending = lost(f"no answer in {OPEN_SECONDS:g} s")
        finally:
            self._ending = self._ending or lost("connection lost")
            for slot in self._slots.values():
                slot.done.set()
            self._queue.close()
            self._queued.close()
            if self._stream is not None:
                # Never blocks: it does not wait for the peer.
                with trio.CancelScope(shield=True):
                    await self._stream.aclose()
        return self._ending

    def welcome(self, connected: Connected) -> None:
        """The server has let us in: opening is over."""
        self.connected = connected
        self._scope.deadline = float("inf")
        self._welcomed.set()

    async def wait_welcome(self) -> Connected:
        """Wait until the server has let us in."""
        await self._welcomed.wait()
        assert self.connected is not None
        return self.connected

    def fail(self, ending: Ending) -> None:
        """End the connection. The first reason stands."""
        if self._ending is None:
            self._ending = ending
        self._scope.cancel()

    async def receive(self) -> str | bytes | None:
        """The next message; None once the connection has ended."""
        assert self._websocket is not None
        try:
            return await self._websocket.get_message()
        except trio_websocket.ConnectionClosed as end:
            reason = end.reason
            if self._ending is None:
                self._ending = closed(
                    reason.code if reason else None, reason.reason if reason else None, self.parting
                )
            if self._goodbye is not None:
                # The library reads on for the answer to our close, unless we end its task now.
                await self._goodbye.wait()
            return None

    async def ask(
        self,
        kind: str,
        data: dict[str, Any],
        *,
        on_sent: Callable[[], None] = _nothing,
        on_answer: Callable[[], None] = _nothing,
    ) -> Reply:
        """Send a command and wait for its answer. Commands are sent in the order in which they are given.

        `on_sent` is called just before it is sent, `on_answer` in the very step in which the answer, also a
        refusal, is read, before anything that came after it; neither once the command is cancelled, and
        neither may raise. Raises CommandRefused (also for a command longer than the server takes), Lost, and
        what msgspec raises for data that is not JSON's. Cancelled before it was sent, the command is not
        sent; later, the server may carry it out.
        """
        command_id = f"c{next(self._numbers)}"
        text = msgspec.json.encode({"type": kind, "data": data, "id": command_id})
        if len(text) > self._most:
            await trio.lowlevel.checkpoint()
            raise CommandRefused(
                ErrorCode.TOO_LARGE, f"{kind}: {len(text)} bytes; the server takes {self._most}", None
            )
        slot = _Slot(text.decode(), on_sent, on_answer)
        if self._ending is not None:
            await trio.lowlevel.checkpoint()
            raise Lost(sent=False)
        self._slots[command_id] = slot
        try:
            await self._queue.send(slot)
            await slot.done.wait()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise Lost(sent=False) from None
        finally:
            slot.abandoned = True
            del self._slots[command_id]
        if slot.outcome is None:
            raise Lost(sent=slot.sent)
        if isinstance(slot.outcome, CommandRefused):
            raise slot.outcome
        return slot.outcome

    def answered(self, command_id: str, outcome: Reply | CommandRefused) -> None:
        """The answer to a command came. One that nobody waits for any more is dropped."""
        slot = self._slots.get(command_id)
        if slot is not None:
            slot.outcome = outcome
            slot.on_answer()
            slot.done.set()

    async def close(self, deadline: float) -> None:
        """Say goodbye with 1000 and wait for the server's until the deadline. Then `receive` returns None."""
        if self._ending is None:
            self._ending = Ending(CloseCode.NORMAL, "closed by this client", returns=False)
        if self._websocket is not None:
            self._goodbye = trio.Event()
            with trio.CancelScope(deadline=deadline):
                await self._contained(self._websocket.aclose)
            self._goodbye.set()
        self._scope.cancel()

    async def _open(self) -> trio.abc.Stream | None:
        try:
            return await self._dial(self._address)
        except (OSError, trio.BrokenResourceError) as error:  # ssl.SSLError is an OSError
            self._ending = not_connected(error)
            return None

    async def _library(self, stream: trio.abc.Stream, token: str | None) -> None:
        """Let the library's reader run, and keep in here whatever comes out of it."""
        watched = self._stream = WatchedStream(stream, self._stream_ended)
        headers = [] if token is None else [(b"authorization", b"Bearer " + token.encode("latin-1"))]
        try:
            with self._library_scope:
                async with trio.open_nursery() as nursery:
                    self._websocket = await trio_websocket.wrap_client_stream(
                        nursery,
                        watched,  # type: ignore[arg-type]  # any stream does: only `local` asks for a socket
                        self._address.authority,
                        self._address.path,
                        subprotocols=[SUBPROTOCOL],
                        extra_headers=headers,
                        max_message_size=MESSAGE_BYTES,
                        receive_buffer_size=RECEIVE_BYTES,
                    )
                    self._opened.set()
            if self._websocket is None and self._ending is None:
                self._ending = lost("the answer to the handshake was none of a WebSocket server's")
        except* trio_websocket.ConnectionRejected as group:
            refusal = group.exceptions[0]
            assert isinstance(refusal, trio_websocket.ConnectionRejected)
            self._ending = rejected(refusal.status_code, refusal.headers, refusal.body, time.time())
        except* Exception as group:
            # wsproto's own errors pass through the library: a peer that breaks the protocol.
            self.fail(lost(f"protocol error: {told(group)}"))
        self._opened.set()

    def _stream_ended(self) -> None:
        # Once it is open, what has been received is still to be read; before, nothing will ever come.
        if not self._opened.is_set():
            self._library_scope.cancel()

    def _check_subprotocol(self) -> bool:
        assert self._websocket is not None
        if self._websocket.subprotocol == SUBPROTOCOL:
            return True
        self._ending = Ending(
            CloseCode.WRONG_PROTOCOL, f"the server does not speak {SUBPROTOCOL}", returns=False
        )
        return False

    async def _write(self) -> None:
        """Send the commands, one after another."""
        assert self._websocket is not None
        async for slot in self._queued:
            if slot.abandoned:
                continue
            slot.sent = True
            slot.on_sent()
            with trio.move_on_after(SEND_SECONDS) as sending:
                await self._contained(self._websocket.send_message, slot.text)
            if sending.cancelled_caught:
                self.fail(lost(f"the server has not read for {SEND_SECONDS:g} s"))

    async def _watch(self) -> None:
        """Ping into silence; give up on longer silence. Any byte proves life."""
        connected = await self.wait_welcome()
        assert self._stream is not None
        assert self._websocket is not None
        while True:
            silent_at = self._stream.last_received + connected.ping_interval
            if trio.current_time() < silent_at:
                await trio.sleep_until(silent_at)
                continue
            asked = trio.current_time()
            with trio.move_on_after(connected.pong_timeout):
                await self._contained(self._websocket.ping)
            if self._stream.last_received < asked:
                silence = trio.current_time() - self._stream.last_received
                self.fail(lost(f"nothing from the server for {silence:.0f} s"))
                return

    async def _contained(self, call: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Call the library. What it raises means that the connection has ended: `receive` says why."""
        try:
            await call(*arguments)
        except trio_websocket.ConnectionClosed:
            await trio.lowlevel.checkpoint()
        except Exception as error:  # wsproto's LocalProtocolError, in a connection that is ending
            self.fail(lost(f"protocol error: {told(error)}"))
