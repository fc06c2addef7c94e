"""The storm of reconnections: its arithmetic, its promises, and a small one on real sockets."""

import socket
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
import trio

from tidings.bench import fleet as fleet_module
from tidings.bench.client import Client, State
from tidings.bench.eventloop import EventLoop
from tidings.bench.fleet import Fleet
from tidings.bench.holdings import Holdings
from tidings.bench.kernel import check_descriptors, tcp_buffer_bytes, tcp_counters
from tidings.bench.processes import ChildFailed
from tidings.bench.profiles import Away, Broadcast
from tidings.bench.replies import FleetState, Joined, Left, Quantiles
from tidings.bench.report import Report
from tidings.bench.scenarios import storm
from tidings.bench.scenarios.storm import Options, check_promises
from tidings.bench.storming import PHASES, POINTS, Round, Storm, curve, reached
from tidings.bench.workbench import poll, workbench

SECONDS = 90
SECRET = "k" * 48


def broken(report: Report) -> list[str]:
    return [f"{check.promise}: {check.found}" for check in report.checks if not check.kept]


# --- arithmetic ------------------------------------------------------------------------------------------


def test_a_share_is_reached_with_the_one_who_completes_it() -> None:
    """Of all who set out, not of those who arrived; never, when too few did."""
    arrivals = [1.0, 2.0, 3.0]
    assert [reached(arrivals, 4, share) for share in (0.25, 0.5, 0.51, 0.75, 0.76, 1.0)] == [
        1.0,
        2.0,
        3.0,
        3.0,
        None,
        None,
    ]
    assert reached([], 4, 0.5) is None


def test_a_drawn_return_keeps_its_ends_and_says_who_is_missing() -> None:
    """The last point is the last arrival, at the share that had come by then."""
    arrivals = [number / 1000 for number in range(1, 3001)]
    drawn = curve(arrivals, 4000)
    assert drawn[0] == (0.0, 0.0)
    assert drawn[1] == (0.001, 1 / 4000)
    assert drawn[-1] == (3.0, 0.75)
    assert len(drawn) == POINTS + 2
    assert drawn == sorted(drawn)
    assert curve([1.0], 2) == [(0.0, 0.0), (1.0, 0.5)]
    assert curve([], 2) == []


NETSTAT = """\
TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeouts Other
TcpExt: 1 22 333 4 5
IpExt: InNoRoutes
IpExt: 7
"""


def test_the_kernels_counters_are_found_by_name() -> None:
    """Whatever else it counts, and whichever of them it lacks."""
    assert tcp_counters(NETSTAT) == {
        "SyncookiesSent": 1,
        "ListenOverflows": 22,
        "ListenDrops": 333,
        "TCPTimeouts": 4,
    }
    assert set(tcp_counters()) >= {"ListenOverflows", "ListenDrops"}


def test_socket_buffers_are_told_in_bytes_or_not_at_all() -> None:
    """The kernel counts pages."""
    one = tcp_buffer_bytes("sockets: used 16\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n")
    three = tcp_buffer_bytes("sockets: used 16\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 3\n")
    assert one is not None
    assert three == 3 * one > 0
    assert tcp_buffer_bytes("sockets: used 16\n") is None


def test_more_connections_than_descriptors_are_refused_with_the_cure() -> None:
    """Before anything starts; the server keeps some for itself."""
    check_descriptors(15_000, 20_000)
    with pytest.raises(ChildFailed, match=r"20,000.*needs?.*|ulimit"):
        check_descriptors(20_000, 20_000)
    with pytest.raises(ChildFailed, match="ulimit"):
        check_descriptors(1000, 1100)


def test_who_returns_has_the_token_it_had() -> None:
    """As a browser would; and another user another one."""
    profile = Away(SECRET)
    profile.prepare(["one"])
    assert profile.path("one") == profile.path("one") != profile.path("two")


# --- leaving ---------------------------------------------------------------------------------------------


class Leaver:
    """A client whose closing handshake is over at once."""

    def __init__(self, fleet: Fleet) -> None:
        self.state = State.JOINED
        self.why = ""
        self.room = fleet.rooms[0]
        self._fleet = fleet
        self.looked = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "state":
            object.__setattr__(self, "looked", object.__getattribute__(self, "looked") + 1)
        return object.__getattribute__(self, name)

    def leave(self) -> None:
        self.state = State.GONE
        self._fleet.changed(cast("Client", self))


@pytest.fixture
def fleet() -> Callable[[int], Fleet]:
    """A fleet of so many who leave when told to."""

    def of(count: int) -> Fleet:
        fleet = Fleet(EventLoop(), Broadcast())
        fleet.clients += [cast("Client", Leaver(fleet)) for _ in range(count)]
        return fleet

    return of


def test_leaving_looks_at_each_client_a_few_times_however_many_there_are(
    fleet: Callable[[int], Fleet],
) -> None:
    """Else thousands who leave at once keep their process from reading the answers until it is too late."""
    left: list[Left] = []
    crowd = fleet(300)
    crowd.leave(left.append)
    assert left == [Left(0)]
    assert max(cast("Leaver", client).looked for client in crowd.clients) < 10
    crowd.loop.close()


# --- promises --------------------------------------------------------------------------------------------

NOTHING = Quantiles(1, 0, 0, 0, 0, 0)
HELD = Holdings(1, 1, 1, 1, 0, 1, 1, 1, 1, 1, {})
ROUND = Round(
    gone=0.1, drop_cpu=0, returned=10, refused={}, resent=0, reached=[1, 1, 1, 1], rate=1, cpu=1,
    room_share=0, load_share=0, curve=[], kernel={}, leftover="", memory=1,
)  # fmt: skip
ROOM = FleetState(
    joined=5, received=0, missing=0, repeated=0, pings=0, problem_count=0, problems=[], lowest=9, highest=9,
    published=9, acknowledged=9, load_share=0,
)  # fmt: skip
ALL_KEPT = Storm(
    "tidings",
    "tidings",
    has_room=True,
    rounds=[ROUND],
    latency=dict.fromkeys(PHASES, NOTHING),
    room_state=ROOM,
    crowd_state=ROOM,
    held={"the room alone": HELD, "after the last round": HELD},
)


def judged(**changed: Any) -> list[str]:
    """What is broken of a storm in which all is well but for this."""
    report = Report("title")
    fields = {name: getattr(ALL_KEPT, name) for name in ALL_KEPT.__dataclass_fields__ if name[0] != "_"}
    check_promises(report, [Storm(**{**fields, **changed})], Options(clients=10, rounds=1, room=5))
    assert len(report.checks) == 7
    return [check.promise.split(",")[0] for check in report.checks if not check.kept]


def altered(found: Round, **changed: Any) -> dict[str, Any]:
    return {"rounds": [msgspec.structs.replace(found, **changed)]}


def late(phase: str) -> dict[str, Any]:
    slow = msgspec.structs.replace(NOTHING, p99=0.6)
    return {"latency": {**ALL_KEPT.latency, phase: slow}}


@pytest.mark.parametrize(
    ("changed", "promise"),
    [
        (altered(ROUND, returned=9), "everybody returned"),
        (altered(ROUND, refused={"HTTP/1.1 503": 1}), "everybody returned"),
        ({"rounds": []}, "everybody returned"),
        (altered(ROUND, leftover="tasks: 2 instead of 1"), "hub"),
        (altered(ROUND, gone=None), "hub"),
        (
            {"held": {**ALL_KEPT.held, "after the last round": msgspec.structs.replace(HELD, tasks=2)}},
            "hub",
        ),
        ({"crowd_state": msgspec.structs.replace(ROOM, received=1)}, "the crowd saw no problem"),
        ({"crowd_state": msgspec.structs.replace(ROOM, problem_count=1)}, "the crowd saw no problem"),
        ({"faults": ["Traceback"]}, "the server logged no fault"),
        ({"room_state": msgspec.structs.replace(ROOM, joined=4)}, "the room has every publication"),
        ({"room_state": msgspec.structs.replace(ROOM, lowest=8)}, "the room has every publication"),
        ({"room_state": msgspec.structs.replace(ROOM, missing=1)}, "the room has every publication"),
        ({"room_state": None}, "the room has every publication"),
        (late("drop"), "p99 of the room while all are dropped is at most 500 ms"),
        (late("storm"), "p99 of the room while all return is at most 500 ms"),
    ],
)
def test_each_promise_of_a_storm_can_be_broken_by_itself(changed: dict[str, Any], promise: str) -> None:
    """And a storm in which all is well breaks none."""
    assert judged() == []
    assert judged(**changed) == [promise]


def test_a_phase_in_which_the_room_heard_nothing_proves_nothing() -> None:
    """No deliveries, no p99."""
    silent = {**ALL_KEPT.latency, "storm": Quantiles(0, 0, 0, 0, 0, 0)}
    assert judged(latency=silent) == ["p99 of the room while all return is at most 500 ms"]


# --- real ones -------------------------------------------------------------------------------------------


def test_who_never_gets_in_is_told_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and says nothing: its row tells, and the others have theirs."""
    monkeypatch.setattr(fleet_module, "HANDSHAKE_SECONDS", 0.2)
    told: list[Joined] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fleet = Fleet(EventLoop(), Broadcast())

        def done(joined: Joined) -> None:
            told.append(joined)
            fleet.loop.stop()

        fleet.connect(silent.getsockname()[1], 5, "comer", 9, 0, done, at_once=3)
        fleet.loop.run()
        fleet.loop.close()
    assert (told[0].joined, told[0].refused) == (0, {"not in after 0.2 s": 3, "its turn never came": 2})
    assert all(client.state is State.GONE for client in fleet.clients)


def test_nobody_is_connected_at_once() -> None:
    """Or a scenario without some of its clients would wait for an answer until it gave up."""
    told: list[Joined] = []
    fleet = Fleet(EventLoop(), Broadcast())
    fleet.connect(1, 0, "comer", 9, 0, told.append)
    fleet.loop.close()
    assert told == [Joined(0, {}, 0.0, 0.0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        Options(clients=60, rounds=2, room=5, rate=40, seconds=0.3, most_p99=1e5, drop="reset", at_once=7),
        Options(clients=30, rounds=1, room=5, rate=40, seconds=0.3, most_p99=1e5, at_once=8, tls=True),
        Options(clients=30, rounds=1, room=0, seconds=0.1, engine="reference"),
    ],
    ids=["reset", "tls", "reference, no room"],
)
async def test_all_are_dropped_and_all_return_while_a_room_goes_on(options: Options) -> None:
    """Everybody is back, nothing is left over, and the room misses nothing."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await storm.run(options, bench)
    assert broken(report) == []
    found = report.raw["servers"]["tidings"]
    rounds = msgspec.convert(found["rounds"], list[Round])
    assert [one.returned for one in rounds] == [options.clients] * options.rounds
    assert all(one.curve[-1][1] == 1.0 and None not in one.reached for one in rounds)
    assert all(one.cpu > 0 and one.drop_cpu > 0 for one in rounds)
    assert found["held"]["everybody"]["connections"] == options.clients + options.room
    if options.room:
        assert all(found["latency"][phase]["count"] for phase in PHASES)


@pytest.mark.slow
async def test_a_peer_is_put_through_the_same() -> None:
    """Beside ours without a room, in turns; and what it does not do is said."""
    options = Options(
        clients=30, rounds=2, room=5, rate=40, seconds=0.1, most_p99=1e5, peers=("send-loop",)
    )
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            report = await storm.run(options, bench)
    assert broken(report) == []
    assert sorted(report.raw["servers"]) == ["send-loop", "tidings", "tidings-alone"]
    assert storm.NO_TOKENS in report.warnings
    assert report.tables[0].rows[-1][0].endswith("(no token)")
    assert all(found["returned"] == 30 for found in report.raw["servers"]["send-loop"]["rounds"])


@pytest.mark.slow
async def test_who_cannot_return_is_told_by_kind() -> None:
    """Where nobody listens any more, all are refused, and a scenario may go on to say so."""
    with socket.socket() as deaf, trio.fail_after(SECONDS):
        deaf.bind(("127.0.0.1", 0))
        async with workbench() as bench:
            crowd = await bench.clients("crowd", "away")
            joined = await crowd.connect(
                deaf.getsockname()[1], 5, at_once=5, tell=False, timeline=True, all_must=False
            )
    assert (joined.joined, joined.arrivals, joined.resent) == (0, [], 0)
    assert joined.refused == {"connect: Connection refused": 5}


@pytest.mark.slow
async def test_who_had_to_ask_twice_is_counted() -> None:
    """A listen queue of one holds nobody else back for good: the kernel asks again, and that is told."""
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            crowd = await bench.clients("crowd", "broadcast")
            with socket.socket() as door:
                door.bind(("127.0.0.1", 0))
                door.listen(1)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_answer_late, door, 8)
                    joined = await crowd.connect(
                        door.getsockname()[1], 8, at_once=8, tell=False, timeline=True
                    )
                    nursery.cancel_scope.cancel()
    assert joined.joined == 8
    assert 1 <= joined.resent < 8


async def _answer_late(door: socket.socket, count: int) -> None:
    """Take connections only when the queue has overflowed; say 101 to each, and stay."""
    begun = tcp_counters()["ListenOverflows"]

    async def overflows() -> int:
        return tcp_counters()["ListenOverflows"] - begun

    await poll(overflows, bool, SECONDS)
    async with (
        trio.SocketListener(trio.socket.from_stdlib_socket(door.dup())) as listener,
        trio.open_nursery() as nursery,
    ):

        async def answer(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                await stream.receive_some()

        for _ in range(count):
            nursery.start_soon(answer, await listener.accept())
