"""The two neighbours of the delivery layer: a subscriber that keeps what it is offered, a scripted kernel."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import msgspec
import trio
from outcome import Error, Outcome, Value, capture
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.frames import Framing, Opcode, build_frame
from tidings.protocol.messages.answers import ConnectionStats
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.positions import Position
from tidings.server.brokers.base import Broker
from tidings.server.delivery.hub import Hub
from tidings.server.identity import Identity

T = TypeVar("T")

JSON: Dialect = NativeDialect(builtin_registry())
MSGPACK: Dialect = NativeDialect(builtin_registry(), binary=True)


def split_frames(data: bytes) -> list[bytes]:
    """The frames in a run of server frames. Fails when it does not end with a whole one."""
    frames = []
    at = 0
    while at < len(data):
        assert data[at] & 0xF0 == 0x80, f"no frame begins at {at}"
        length = data[at + 1]
        head = 2
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(data[at + 2 : at + head])
        end = at + head + length
        assert head + length <= len(data) - at, f"half a frame at {at}"
        frames.append(data[at:end])
        at = end
    return frames


def frame_payload(frame: bytes) -> bytes:
    """What a server's frame carries."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def decode_frame(frame: bytes) -> Any:
    """The message in a text or binary frame, decoded."""
    codec = msgspec.msgpack if frame[0] & 0x0F == Opcode.BINARY else msgspec.json
    return codec.decode(frame_payload(frame))


class Listener:
    """A subscriber that takes everything at once and keeps it."""

    def __init__(self, dialect: Dialect, user_id: str = "alice") -> None:
        self.dialect = dialect
        self.identity = Identity(user_id, user_id, expires_at=2**31)
        self.offers: list[bytes] = []
        self.connection_id = f"{user_id}-{id(self):x}"
        self.peer = "192.0.2.1"
        self.pending_bytes = 0
        self.bytes_sent = 0
        self.framing: Framing = build_frame
        self.direct: Callable[[bytes], int] | None = None
        self.is_queueing = False
        self.device = ""
        self.took_all = True
        self.has_room = True

    async def wait_room(self) -> None:
        """It always has room."""
        await trio.lowlevel.checkpoint()

    def offer(self, data: bytes) -> None:
        """Keep whole frames."""
        self.offers.append(data)

    def fell_short(self, data: bytes, sent: int | None) -> None:  # noqa: ARG002  as the hub sees it
        """It has no socket of its own."""
        raise AssertionError("no socket")

    def close(self, code: CloseCode, reason: str | None = None) -> bool:  # noqa: ARG002  as the hub sees it
        """The hub itself never closes anybody."""
        raise AssertionError("closed")

    def leave(self, channel: str) -> bool:  # noqa: ARG002  as the hub sees it
        """The hub itself takes nobody out."""
        raise AssertionError("taken out")

    def connection_stats(self) -> ConnectionStats:
        """Nor does it ask for a connection's own figures."""
        raise AssertionError("asked")

    @property
    def frames(self) -> list[bytes]:
        """Every frame it got."""
        return [frame for data in self.offers for frame in split_frames(data)]

    @property
    def messages(self) -> list[Any]:
        """Every message it got, decoded."""
        return [decode_frame(frame) for frame in self.frames]

    def offsets(self, channel: str) -> list[int]:
        """The offsets that it got of a channel."""
        return [message["offset"] for message in self.messages if message.get("channel") == channel]


# All that was published: for each channel position and serial number, in order.
Log = defaultdict[str, list[tuple[Position, int]]]


class Witness(Listener):
    """A subscriber that knows what it must get, and judges what it gets."""

    def __init__(self, dialect: Dialect, user_id: str, log: Log) -> None:
        super().__init__(dialect, user_id)
        self.log = log
        self.past: dict[str, list[tuple[Position, int]]] = defaultdict(list)
        """Publications of subscriptions that have ended, by channel."""
        self.since: dict[str, int] = {}
        """Where in the log its living subscriptions begin."""
        self.got: dict[str, list[int]] = defaultdict(list)
        self.answers: list[dict[str, int]] = []
        """For each answer given: how much of each channel had been published before it."""
        self.answered = 0
        self.at_once: set[int] = set()
        """Answers that may come before publications: they were sent at once."""
        self.read = 0

    def expected(self, channel: str) -> list[tuple[Position, int]]:
        now = self.log[channel][self.since[channel] :] if channel in self.since else []
        return self.past[channel] + now

    def end_subscription(self, channel: str) -> None:
        self.past[channel] = self.expected(channel)
        del self.since[channel]

    def answer(self) -> bytes:
        number = len(self.answers)
        self.answers.append({channel: len(self.expected(channel)) for channel in self.since})
        codec = msgspec.msgpack if self.dialect.binary else msgspec.json
        opcode = Opcode.BINARY if self.dialect.binary else Opcode.TEXT
        return build_frame(opcode, codec.encode({"type": "pong", "number": number}))

    def check(self, same_bytes: dict[tuple[bool, int], bytes]) -> None:
        """Judge what has come since the last look."""
        fresh, self.read = self.offers[self.read :], len(self.offers)
        for frame in [frame for data in fresh for frame in split_frames(data)]:
            message = decode_frame(frame)
            if message["type"] == "pong":
                self.check_answer(message["number"])
            else:
                self.check_publication(message)
                serial = message["data"]["serial"]
                assert same_bytes.setdefault((self.dialect.binary, serial), frame) == frame

    def check_answer(self, number: int) -> None:
        assert number == self.answered, "answers come in the order in which they were given"
        self.answered += 1
        if number not in self.at_once:
            for channel, count in self.answers[number].items():
                assert len(self.got[channel]) >= count, "an answer waits for the publications before it"

    def check_publication(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        got, expected = self.got[channel], self.expected(channel)
        assert len(got) < len(expected), "nothing but what was published while it was subscribed"
        position, serial = expected[len(got)]
        assert (message["offset"], message["data"]["serial"]) == (position.offset, serial), "in order, once"
        got.append(serial)

    def assert_complete(self, channel: str) -> None:
        assert len(self.got[channel]) == len(self.expected(channel))


class Kernel:
    """A non-blocking socket's `send`: takes what there is room for, then blocks; or breaks.

    `room` None is a peer that reads as fast as we send.
    """

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self.error: OSError | None = None
        self.received = bytearray()
        self.calls = 0

    def send(self, data: bytes | memoryview) -> int:
        """Accept some of the bytes, or raise as the system call does."""
        self.calls += 1
        if self.error is not None:
            raise self.error
        if not len(data):
            return 0
        if self.room == 0:
            raise BlockingIOError
        taken = len(data) if self.room is None else min(len(data), self.room)
        if self.room is not None:
            self.room -= taken
        self.received += data[:taken]
        return taken


class Calls:
    """A callback that counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_: object) -> None:
        self.count += 1


def run_now(step: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that promises never to yield, without a scheduler."""
    try:
        step.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    step.close()
    raise AssertionError("it yielded")


async def join(hub: Hub, broker: Broker, channel: str, *listeners: Listener) -> list[Position]:
    """Connect those who are not, and subscribe them all, as the subscribe command does."""
    positions = []
    for listener in listeners:
        if listener not in hub.connections_of(listener.identity.user_id):
            hub.connect(listener)
        with hub.holding([channel]):
            positions.append(hub.subscribe(listener, channel, await broker.open(channel)))
    return positions


async def publish(broker: Broker, channel: str, count: int = 1) -> None:
    """Publish so many events."""
    for _ in range(count):
        await broker.publish(channel, "news", b'{"text":"hello"}')


class SteppedLoop:
    """A trio loop that stands still until it is told to go on, for synchronous tests of what tasks leave half done.

    It runs in a thread of its own. Between two commands its main task blocks the whole loop, on purpose:
    the other tasks stay exactly where their last turn left them.
    """

    def __init__(self, task: Callable[[], Awaitable[None]]) -> None:
        """Start the loop, with one task beside its main one."""
        self._commands: SimpleQueue[Callable[[], Awaitable[object]] | None] = SimpleQueue()
        self._results: SimpleQueue[Outcome[Any]] = SimpleQueue()
        self._ended = False
        self._thread = Thread(target=self._run, args=(task,), daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """Run a function inside the loop, in one step."""

        async def step() -> T:
            return function()

        return self._await(step)

    def turns(self, count: int) -> None:
        """Let the other tasks have so many turns."""

        async def yield_turns() -> None:
            for _ in range(count):
                await trio.lowlevel.checkpoint()

        self._await(yield_turns)

    def settle(self) -> None:
        """Let them run until they all wait for something."""
        self._await(wait_all_tasks_blocked)

    def close(self) -> None:
        """Cancel everything and end the thread."""
        self._commands.put(None)
        self._thread.join()

    def _await(self, command: Callable[[], Awaitable[T]]) -> T:
        if self._ended:
            raise RuntimeError("the loop has ended: the task failed")
        self._commands.put(command)
        result: T = self._results.get(timeout=30).unwrap()
        return result

    def _run(self, task: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task)
                while (command := self._commands.get()) is not None:
                    try:
                        self._results.put(Value(await command()))
                    except Exception as error:
                        self._results.put(Error(error))
                nursery.cancel_scope.cancel()

        # When the task fails, that is the answer to the command under way.
        end = capture(trio.run, main)
        self._ended = True
        self._results.put(end)
