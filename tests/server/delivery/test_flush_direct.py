"""A fan-out past the outboxes: whatever happens to them meanwhile, every peer reads whole frames in order."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import JSON, Listener, split_frames

from tidings.protocol.frames import Opcode, build_frame
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.outbox import Outbox

ROOM = "room:r"
LIMIT = 2_000
GOODBYE = build_frame(Opcode.CLOSE, b"")


@dataclass
class Kernel:
    """One socket's buffer: takes what there is room for, and fails once it is broken."""

    room: int
    taken: bytearray = field(default_factory=bytearray)
    broken: bool = False

    def send(self, data: bytes | memoryview) -> int:
        if self.broken:
            raise BrokenPipeError
        piece = bytes(data[: self.room])
        if not piece:
            raise BlockingIOError
        self.room -= len(piece)
        self.taken += piece
        return len(piece)


class Peer(Listener):
    """A connection with a real outbox over such a socket."""

    def __init__(self, hub: Hub, number: int, room: int) -> None:
        super().__init__(JSON, f"user-{number}")
        self.hub = hub
        self.kernel = Kernel(room)
        self.direct = self.kernel.send
        self.is_told_broken = False
        self.outbox = Outbox(
            LIMIT,
            send=self.direct,
            on_overflow=lambda: None,
            on_broken=self.told_broken,
            on_rerouted=self.rerouted,
        )
        self.said = 0
        self.taken_when_gone: int | None = None

    def told_broken(self) -> None:
        self.is_told_broken = True

    def rerouted(self) -> None:
        self.is_queueing = self.outbox.is_queueing
        self.hub.rerouted(self)

    def offer(self, data: bytes) -> None:
        self.outbox.offer(data)

    def fell_short(self, data: bytes, sent: int | None) -> None:
        self.outbox.fell_short(data, sent)

    def say(self) -> None:
        """A word of the server's own to this peer."""
        self.said += 1
        self.offer(build_frame(Opcode.PONG, b"%d" % self.said))


class World:
    """A room of such peers, and a flusher that takes its turns when it is told to."""

    def __init__(self, rooms: list[int]) -> None:
        self.hub = Hub()
        self.offset = 0
        self.unsubscribed: set[Peer] = set()
        self.peers = [Peer(self.hub, number, room) for number, room in enumerate(rooms)]
        for peer in self.peers:
            self.hub.connect(peer)
            self.hub.subscribe(peer, ROOM, Position("e", 0))

    def publish(self, _peer: Peer, amount: int) -> None:
        self.offset += 1
        payload = b'{"text":"%b"}' % (b"x" * amount)
        self.hub.deliver(Publication(ROOM, "room_message", payload, self.offset, "e", 0))

    def turn(self, _peer: Peer, amount: int) -> None:
        """One turn of the flusher, as short as can be."""
        channel = self.hub._channels.get(ROOM)
        if channel is not None:
            if channel.flush is None:
                self.hub._dirty.clear()
                self.hub._begin(channel)
            if channel.flush is not None:
                self.hub._advance(channel, 1 + amount % 3)

    def answer(self, peer: Peer, _amount: int) -> None:
        peer.say()

    def drain(self, peer: Peer, amount: int) -> None:
        """The peer reads; the write task has not run yet."""
        peer.kernel.room += amount

    def write(self, peer: Peer, _amount: int) -> None:
        if peer.outbox.pending_bytes:
            peer.outbox.flush()

    def fill(self, peer: Peer, amount: int) -> None:
        peer.kernel.room = min(peer.kernel.room, amount)

    def fail(self, peer: Peer, _amount: int) -> None:
        peer.kernel.broken = True

    def close(self, peer: Peer, _amount: int) -> None:
        self.hub.settle(peer)
        peer.outbox.seal(GOODBYE)

    def leave(self, peer: Peer, _amount: int) -> None:
        if self.hub.unsubscribe(peer, ROOM):
            self.unsubscribed.add(peer)
            peer.say()

    def gone(self, peer: Peer, _amount: int) -> None:
        peer.outbox.discard()
        self.hub.disconnect(peer)
        if peer.taken_when_gone is None:
            peer.taken_when_gone = len(peer.kernel.taken)

    def hold(self, peer: Peer, _amount: int) -> None:
        if not peer.outbox.is_queueing:
            peer.outbox.hold()

    def release(self, peer: Peer, _amount: int) -> None:
        peer.outbox.release()

    def settle(self) -> None:
        """Everything goes out that can."""
        for channel in list(self.hub._channels.values()):
            self.hub._settle(channel)
        for peer in self.peers:
            peer.kernel.room = 10**9
            peer.outbox.release()
            self.write(peer, 0)
            peer.bytes_sent = peer.outbox.bytes_sent


STEPS = (
    "publish",
    "turn",
    "answer",
    "drain",
    "write",
    "fill",
    "fail",
    "close",
    "leave",
    "gone",
    "hold",
    "release",
)
# Mostly fan-out.
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from([*STEPS, "publish", "turn", "turn", "turn"]), st.integers(0, 5), st.integers(0, 900)
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(st.lists(st.integers(0, 3_000), min_size=2, max_size=6), ACTIONS)
def test_every_peer_reads_whole_frames_in_order(
    rooms: list[int], actions: list[tuple[str, int, int]]
) -> None:
    """Answers, partial sends, closes and ends between two turns of a flush: no byte out of its place."""
    world = World(rooms)
    for action, which, amount in actions:
        getattr(world, action)(world.peers[which % len(rooms)], amount)
    world.settle()
    for peer in world.peers:
        judge(peer, world)


def judge(peer: Peer, world: World) -> None:
    taken = bytes(peer.kernel.taken)
    is_cut_off = peer.kernel.broken or peer.taken_when_gone is not None
    frames = whole_frames(taken) if is_cut_off else split_frames(taken)
    kinds = [frame[0] & 0x0F for frame in frames]
    assert Opcode.CLOSE not in kinds[:-1], "nothing follows a close frame"
    offsets = [offset_of(frame) for frame in frames if frame[0] & 0x0F == Opcode.TEXT]
    assert offsets == list(range(1, len(offsets) + 1)), "each once, in order, none missing before another"
    pongs = [int(frame[2:]) for frame in frames if frame[0] & 0x0F == Opcode.PONG]
    assert pongs == list(range(1, len(pongs) + 1))
    if peer.taken_when_gone is not None:
        assert len(taken) == peer.taken_when_gone, "nothing goes to who is gone"
    elif not (is_cut_off or Opcode.CLOSE in kinds or peer in world.unsubscribed):
        assert len(offsets) == world.offset, "nothing is missing at the end"
        assert len(pongs) == peer.said


def test_what_a_turn_copied_is_looked_up_again_after_a_change() -> None:
    """Something came to wait for the last one, whose kernel has room again: what is pushed must queue behind it."""
    world = World([3_000, 3_000, 3_000])
    last = world.peers[-1]
    world.publish(last, 100)
    world.turn(last, 0)
    last.kernel.room = 1
    last.say()
    last.kernel.room = 3_000
    world.settle()
    assert [frame[0] & 0x0F for frame in split_frames(bytes(last.kernel.taken))] == [
        Opcode.PONG,
        Opcode.TEXT,
    ]


def test_who_is_gone_is_not_pushed_to() -> None:
    """The end of a connection in the middle of a flush: its socket is another's business."""
    world = World([3_000, 3_000, 3_000])
    last = world.peers[-1]
    world.publish(last, 100)
    world.turn(last, 0)
    world.gone(last, 0)
    world.settle()
    assert not last.kernel.taken
    assert all(peer.kernel.taken for peer in world.peers[:-1])


def test_a_broken_socket_is_told_at_once() -> None:
    """As by an offer: nothing is kept for it."""
    world = World([3_000, 3_000])
    world.fail(world.peers[0], 0)
    world.publish(world.peers[0], 100)
    for channel in world.hub._channels.values():
        world.hub._settle(channel)
    assert world.peers[0].is_told_broken
    assert world.peers[0].outbox.pending_bytes == 0


def test_bytes_are_counted_past_the_outboxes_too() -> None:
    """What sockets took at once, what they took in part, and what outboxes sent later."""
    world = World([3_000, 50, 0])
    for _ in range(3):
        world.publish(world.peers[0], 100)
        world.settle()
    assert world.hub.statistics().bytes_sent == sum(len(peer.kernel.taken) for peer in world.peers)


def whole_frames(data: bytes) -> list[bytes]:
    """The whole frames; the last one may have been cut off by the end of the connection."""
    for cut in range(min(len(data), 1_100) + 1):
        try:
            return split_frames(data[: len(data) - cut])
        except (AssertionError, IndexError):
            continue
    raise AssertionError("no frames")


def offset_of(frame: bytes) -> int:
    """The offset in a publication's frame."""
    return int(frame.rpartition(b'"offset":')[2].rstrip(b"}"))
