"""What the light clients read on their short path, and that it hides nothing."""

import os
import random
import socket
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.bench.client import Client, State
from tidings.bench.eventloop import READABLE, EventLoop
from tidings.bench.fleet import Fleet
from tidings.bench.load import ClosedLoop, OpenLoop
from tidings.bench.profiles import Broadcast, channel_of
from tidings.bench.replies import Joined, Rounds
from tidings.bench.wire import PING, TEXT, client_frame, split_frames
from tidings.protocol.frames import build_close, build_frame

SENT = 1.0


def publication(offset: int, room: str = "bench") -> bytes:
    data = {"sent": SENT, "text": "x" * 200}
    message = {"type": "room_message", "data": data, "channel": channel_of(room), "offset": offset}
    return build_frame(TEXT, msgspec.json.encode(message))


def joined(fleet: Fleet, count: int) -> list[Client]:
    """Clients that are in their rooms, without a server."""
    for number in range(count):
        room = fleet.rooms[number % len(fleet.rooms)]
        client = Client(fleet, fleet.profile, number, 0, room)
        fleet.clients.append(client)
        client.state = State.JOINED
        fleet.changed(client)
    return fleet.clients


def reads(client: Client, data: bytes) -> None:
    """What its socket would have given it at once."""

    def receive(_most: int, _flags: int = 0) -> bytes:
        return data

    client._receive = receive
    client._read()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet(EventLoop(), Broadcast())
    yield fleet
    for client in fleet.clients:
        client.drop()
    fleet.loop.close()


class Naive:
    """What one client's stream comes to, read without any short cut."""

    def __init__(self) -> None:
        self.received = self.missing = self.repeated = self.problems = self.last = 0
        self.closed = False

    def read(self, stream: bytes) -> None:
        for frame in split_frames(stream)[0]:
            if self.closed:
                self.problems += 1
            elif frame.opcode == TEXT:
                offset = msgspec.json.decode(frame.payload)["offset"]
                self.received += 1
                if offset != self.last + 1:
                    self.problems += 1
                    self.missing += max(0, offset - self.last - 1)
                    self.repeated += offset <= self.last
                self.last = offset
            elif frame.opcode != PING:
                self.closed = True


pieces = st.lists(
    st.one_of(
        st.integers(1, 5).map(publication),
        st.integers(1, 4).map(lambda first: publication(first) + publication(first + 1)),
        st.just(build_frame(PING, b"p")),
        st.just(build_close(3008)),
    ),
    max_size=8,
)
cuts = st.lists(st.integers(1, 700), max_size=8)


@given(st.lists(st.tuples(st.one_of(st.just(None), pieces), cuts), min_size=2, max_size=5))
def test_clients_of_one_room_are_each_told_apart(plans: list[tuple[list[bytes] | None, list[int]]]) -> None:
    """Faultless streams and faulty ones, whole or chopped, interleaved: the sums are those of a naive reader."""
    fleet = Fleet(EventLoop(), Broadcast())
    clients = joined(fleet, len(plans))
    naive = [Naive() for _ in plans]
    waiting: list[list[bytes]] = []
    for (plan, lengths), reader in zip(plans, naive, strict=True):
        whole = [publication(offset) for offset in range(1, 6)] if plan is None else plan
        reader.read(b"".join(whole))
        if plan is None and not lengths:
            waiting.append(whole)  # as a server sends them: a piece each
            continue
        stream, chopped = b"".join(whole), []
        for length in lengths:
            chopped.append(stream[:length])
            stream = stream[length:]
        waiting.append([piece for piece in [*chopped, stream] if piece])
    while any(waiting):
        for client, rest in zip(clients, waiting, strict=True):
            if rest:
                reads(client, rest.pop(0))
    ledger = fleet.ledger
    assert (ledger.received, ledger.missing, ledger.repeated, ledger.problem_count) == (
        sum(one.received for one in naive),
        sum(one.missing for one in naive),
        sum(one.repeated for one in naive),
        sum(one.problems for one in naive),
    )
    assert [client.received for client in clients] == [one.received for one in naive]
    assert [client.last for client in clients] == [one.last for one in naive]
    assert sum(room.received for room in fleet.rooms) == ledger.received
    assert fleet.latency("all").count == ledger.received
    for client in clients:
        client.drop()
    fleet.loop.close()


def test_half_a_message_behind_whole_ones_is_kept_by_every_client(fleet: Fleet) -> None:
    """Pieces cut alike are taken alike, the begun message included."""
    clients = joined(fleet, 3)
    stream = publication(1) + publication(2) + publication(3)
    one = len(publication(1))
    for piece in (stream[:one], stream[one : 2 * one + 50], stream[2 * one + 50 :]):
        for client in clients:
            reads(client, piece)
    assert (fleet.ledger.received, fleet.ledger.problem_count) == (9, 0)


def test_a_publication_behind_a_close_is_seen_though_others_rightly_have_it(fleet: Fleet) -> None:
    """The same piece, in order for both: for the one it comes too late."""
    first, second = joined(fleet, 2)
    for client in (first, second):
        reads(client, publication(1))
    reads(second, build_close(3008))
    for client in (first, second):
        reads(client, publication(2))
    assert (fleet.ledger.received, fleet.ledger.problem_count) == (3, 1)


def test_a_repetition_is_seen_in_the_batch_that_others_take(fleet: Fleet) -> None:
    """The piece that the room has just taken, a second time at one of its clients."""
    first, second = joined(fleet, 2)
    for client in (first, second, second):
        reads(client, publication(1))
    assert (fleet.ledger.received, fleet.ledger.repeated, fleet.ledger.problem_count) == (3, 1, 1)


def test_the_latencies_of_the_short_path_are_those_of_each_receipt(fleet: Fleet) -> None:
    """One for each client and publication, in the phase in which it came."""
    first, second = joined(fleet, 2)
    reads(first, publication(1))
    reads(second, publication(1))
    fleet.phase("later")
    reads(second, publication(2) + publication(3))
    assert (fleet.latency("all").count, fleet.latency("later").count) == (2, 2)
    assert 0 < fleet.latency("all").p50 <= fleet.latency("later").p50


def test_latencies_count_from_when_a_round_was_sent_not_from_when_it_was_composed(fleet: Fleet) -> None:
    """Of both paths; what came before keeps what it had."""
    for client, pieces in zip(joined(fleet, 3), ([1], [1], [1, 2]), strict=True):
        for offset in pieces:
            reads(client, publication(offset))
    fleet.phase("late")
    fleet.sent_late(1e6)
    reads(fleet.clients[0], publication(2))
    reads(fleet.clients[1], publication(3))  # one is missing: the careful path
    assert fleet.latency("all").p50 > 0
    assert (fleet.latency("late").count, fleet.latency("late").worst < 0) == (2, True)


def test_nobody_to_connect_is_answered_at_once(fleet: Fleet) -> None:
    """Half of one real client's neighbours are none."""
    answers: list[Joined] = []
    fleet.connect(1, 0, "nobody", 1, 0, answers.append)
    assert [answer.joined for answer in answers] == [0]
    with pytest.raises(ValueError, match="-1"):
        fleet.connect(1, -1, "nobody", 1, 0, answers.append)


def test_a_client_that_has_stalled_is_out_of_the_latencies_but_in_the_ledger(fleet: Fleet) -> None:
    """What it reads late is nobody's latency."""
    first, second = joined(fleet, 2)
    second.is_regular = False
    second._be_careful()
    for offset in (1, 2):
        reads(first, publication(offset))
        reads(second, publication(offset))
    assert (fleet.ledger.received, fleet.latency("all").count, second.received) == (4, 2, 2)


def test_a_publication_of_another_room_is_a_problem() -> None:
    """Rooms are apart: whoever gets what is not theirs is told, and not counted as served."""
    fleet = Fleet(EventLoop(), Broadcast(), rooms=2)
    first, second = joined(fleet, 2)
    reads(first, publication(1, first.room.name))
    reads(second, publication(1, first.room.name))
    assert (fleet.ledger.received, fleet.ledger.problem_count) == (1, 1)
    assert first.room.name in fleet.ledger.problems[0]
    first.drop()
    fleet.loop.close()


def test_what_the_kernel_does_not_take_at_once_is_sent_later(fleet: Fleet) -> None:
    """A burst larger than the socket's buffer arrives whole and in order."""
    (client,) = joined(fleet, 1)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client._socket.close()
    client._socket, client._fd, client._receive = ours, ours.fileno(), ours.recv
    fleet.loop.add(client._fd, client._read)
    wanted = random.Random(1).randbytes(1_000_000)
    client.send(wanted[:900_000])
    client.send(wanted[900_000:])
    received = b""

    def take() -> None:
        nonlocal received
        received += theirs.recv(65536)
        if len(received) >= len(wanted):
            fleet.loop.stop()

    fleet.loop.add(theirs.fileno(), take, READABLE)
    fleet.loop.run()
    assert received == wanted
    fleet.loop.remove(theirs.fileno())
    theirs.close()
    assert not fleet.ledger.problem_count


def test_a_timer_that_is_always_due_does_not_keep_descriptors_waiting() -> None:
    """A load that is late still reads."""
    loop = EventLoop()
    ours, theirs = socket.socketpair()

    def again() -> None:
        loop.call_at(0.0, again)

    loop.add(ours.fileno(), loop.stop)
    again()
    theirs.send(b"x")
    loop.run()
    loop.close()
    ours.close()
    theirs.close()


class Echo(Broadcast):
    """Notes what was to be published."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []

    def publish(
        self,
        sent: float,  # noqa: ARG002
        text: str,
        number: int,
        *,
        room: str = "bench",
        acknowledged: bool = False,  # noqa: ARG002
    ) -> bytes:
        self.asked.append((room, text, number))
        return client_frame(TEXT, b"")


def closed_loop(seed: str) -> tuple[list[tuple[str, str, int]], list[int], Rounds]:
    """A closed loop over two rooms of two, of which each client at once gets what was said."""
    profile = Echo()
    fleet = Fleet(EventLoop(), profile, rooms=2)
    clients = joined(fleet, 4)
    spoken: list[int] = []
    found: list[Rounds] = []

    def says(client: Client) -> None:
        spoken.append(client.number)
        room = client.room
        piece = b"".join(
            publication(offset, room.name) for offset in range(room.published - 2, room.published + 1)
        )
        for other in clients:
            if other.room is room:
                reads(other, piece)

    def sent(client: Client, _data: bytes) -> None:
        # Only this round's: nobody speaks before all have what was said before.
        assert fleet.behind == 4 * 3
        fleet.loop.call_at(0.0, lambda: fleet.loop.call_at(0.0, lambda: says(client)))

    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(Client, "send", sent)

        def done(rounds: Rounds) -> None:
            found.append(rounds)
            fleet.loop.stop()

        loop = ClosedLoop(
            fleet,
            rounds=4,
            payload=8,
            server=os.getpid(),
            done=done,
            failed=pytest.fail,
            seed=seed,
            burst=3,
        )
        loop.start()
        fleet.loop.run()
    assert fleet.ledger.received == sum(room.due for room in fleet.rooms) == 4 * 4 * 3
    assert not fleet.ledger.problem_count
    for client in clients:
        client.drop()
    fleet.loop.close()
    return profile.asked, spoken, found[0]


def test_a_closed_loop_waits_for_every_room_and_is_drawn_from_its_seed() -> None:
    """The same seed, the same speakers and text: so that all servers do the same work; another one, others."""
    asked, spoken, rounds = closed_loop("1/0")
    assert (rounds.deliveries, rounds.messages, len(rounds.completion)) == (48, 24, 4)
    assert {room for room, _, _ in asked} == {"bench-0", "bench-1"}
    assert sorted({number % 2 for number in spoken}) == [0, 1]
    assert closed_loop("1/0")[:2] == (asked, spoken)
    assert closed_loop("1/1")[0] != asked


@pytest.mark.parametrize("steady", [True, False])
def test_an_open_loop_has_one_speaker_where_order_must_be_known(fleet: Fleet, *, steady: bool) -> None:
    """Two sockets' messages have no order before the server has seen them."""
    joined(fleet, 50)
    spoken: set[int] = set()
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(Client, "send", lambda client, _data: spoken.add(client.number))
        load = OpenLoop(fleet, rate=1000, payload=4, steady=steady)
        load.start()
        fleet.loop.call_at(load._begun + 0.1, fleet.loop.stop)
        fleet.loop.run()
    assert load.stop().published > 10
    assert (len(spoken) == 1) == steady


def test_an_open_loop_stops_by_itself_when_too_much_is_under_way(fleet: Fleet) -> None:
    """A server that keeps nothing up is not waited for without end."""
    clients = joined(fleet, 3)
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(Client, "send", lambda *_: None)
        load = OpenLoop(fleet, rate=1000, payload=4, backlog=30)
        load.start()
        fleet.loop.call_at(load._begun + 0.2, fleet.loop.stop)
        fleet.loop.run()
    ended = load.stop()
    assert ended.overloaded
    assert fleet.behind == ended.published * len(clients)
    assert ended.published >= 11
