"""Hypothesis strategies for what happens to a server: lists of operations, with the turns between them."""

from dataclasses import dataclass

from hypothesis import strategies as st

from support.client import masked
from support.stateful import acts
from support.stateful import operations as ops
from tidings.protocol.frames import Opcode

USERS = st.sampled_from(["alice", "bob", "carol"])
ROOMS = st.sampled_from(["a", "b"])
CHANNELS = st.sampled_from(["room:a", "room:b", "room:a", "all"])
# Where nothing can be heard, or not by all.
FOREIGN = st.sampled_from(
    ["user:alice", "user:bob", "group:g", "group:h", "role:admin", "room:c", "room:d"]
)
CLIENTS = st.integers(0, 5)
# Where somebody says that it was: nowhere, where it was, so many publications ago, or where nobody ever was.
SINCE = st.sampled_from(
    ["", "own", "own", "1", "2", "4", "20", "zero", "head", "ahead", "negative", "past"]
)
SESSIONS = st.sampled_from(["login-1", "login-2"])
CHOPS = st.sampled_from([None, None, 1, 3, 7, 50])
TURNS = st.integers(0, 6)

# Messages that are wrong on one of the levels; each is followed by a well-formed command.
GARBAGE = [
    masked(Opcode.TEXT, b"{}"),
    masked(Opcode.TEXT, b'{"type":"nonsense","data":{"x":1}}'),
    masked(Opcode.TEXT, b'{"type":"subscribe","data":{"channel":"room:\\u0000"}}'),
    masked(Opcode.TEXT, b'{"type":"ping"}'),
    masked(Opcode.BINARY, b"\x81\xa4type\xa4ping"),
    masked(Opcode.BINARY, b"\xff"),
    masked(Opcode.TEXT, b'{"type":', fin=False) + masked(Opcode.CONTINUATION, b'"ping"}'),
    masked(Opcode.TEXT, b'{"type":', fin=False),
    masked(Opcode.TEXT, b"\xff\xfe"),
    masked(Opcode.TEXT, length=10**6),
    masked(Opcode.TEXT, length=2**63),
    masked(Opcode.CONTINUATION, b"x"),
    masked(Opcode.CLOSE, b"\x03"),
    masked(0x3, b"x"),
    bytes((0xC1, 0x80, 0, 0, 0, 0)),
    b"\x81\x02{}",
    masked(Opcode.PING, bytes(126)),
    masked(Opcode.TEXT, b"", fin=False) + masked(Opcode.CONTINUATION, b"", fin=False) * 6,
    b"\x81\xfe",
    b"\x16\x03\x01\x02\x00",
]


def _connects() -> st.SearchStrategy[acts.Connect]:
    return st.builds(
        acts.Connect,
        user=USERS,
        binary=st.booleans(),
        over_tls=st.sampled_from([False, False, True]),
        room=st.sampled_from([65536, 65536, 3000, 701, 83]),
        login=st.sampled_from(
            ["query", "header", "message"] * 6 + ["bad", "bad message", "short", "none", "half"]
        ),
        group=st.sampled_from([None, "g"]),
        chop=CHOPS,
        rooms=st.sampled_from([("a",), ("a", "b"), ("b",), ()]),
        joins=st.sampled_from([True, True, False]),
        since=SINCE,
        device=st.sampled_from(["", "", "phone", "tablet", "desk"]),
        session=SESSIONS,
        late=st.booleans(),
    )


def _commands(kinds: list[str], channels: st.SearchStrategy[str]) -> st.SearchStrategy[acts.Command]:
    return st.builds(
        acts.Command,
        CLIENTS,
        kind=st.sampled_from(kinds),
        channel=channels,
        chop=CHOPS,
        times=st.sampled_from([1, 1, 1, 2, 20]),
        half=st.sampled_from([False] * 5 + [True]),
        since=SINCE,
    )


_JOINING = _commands(["join_room", "subscribe"], st.sampled_from(["room:a", "room:b"]))
_RESUMING = st.builds(
    acts.Command,
    CLIENTS,
    kind=st.sampled_from(["subscribe", "join_room"]),
    channel=st.sampled_from(["room:a", "room:a", "room:b", "room:c"]),
    chop=CHOPS,
    times=st.sampled_from([1, 1, 1, 2]),
    half=st.just(False),
    since=st.sampled_from(["own", "1", "2", "4", "20", "zero", "past", "ahead"]),
)
_ASKING = _commands(
    ["ack", "ack", "history", "presence"], st.sampled_from(["room:a", "room:b", "user:alice"])
)
_LEAVING = _commands(["leave_room", "unsubscribe"], st.sampled_from(["room:a", "room:b"]))
_SPEAKING = _commands(["room_message"], st.sampled_from(["room:a", "room:b"]))
_OTHERS = _commands(
    ["subscribe", "unsubscribe", "publish", "ping", "stats", "refresh", "authenticate", "history"],
    CHANNELS | FOREIGN | st.sampled_from(["g", "h"]),
)
_PUBLISHING = st.builds(
    ops.Publish, CHANNELS | FOREIGN, st.integers(1, 7), st.sampled_from([0, 10, 100, 300, 1100])
)

_GARBAGE = st.builds(
    acts.Garbage,
    CLIENTS,
    st.integers(0, 5).flatmap(
        lambda n: st.sampled_from(GARBAGE) if n else st.binary(min_size=1, max_size=40)
    ),
    CHOPS,
    st.sampled_from([1, 1, 1, 12]),
)

# How often each comes, of a hundred. (Repeating a strategy in `one_of` would change nothing.)
_WEIGHTS: list[tuple[int, st.SearchStrategy[ops.Operation]]] = [
    (26, _PUBLISHING),
    (8, _SPEAKING),
    (8, _JOINING),
    (10, _LEAVING),
    (14, _RESUMING),
    (
        10,
        st.builds(
            acts.Return,
            CLIENTS,
            st.sampled_from(["room:a", "room:b", "room:d"]),
            st.integers(0, 12),
            st.sampled_from([10, 300, 1100]),
            st.sampled_from(["zero", "4", "20", "own"]),
            st.sampled_from(["", "", "unsubscribe", "again", "ack", "close", "leave", "leave", "leave"]),
            TURNS,
        ),
    ),
    (8, _ASKING),
    (
        4,
        st.builds(
            ops.Keyed, st.sampled_from(["room:a", "room:b"]), st.sampled_from(["k", "l"]), st.integers(0, 1)
        ),
    ),
    (
        8,
        st.builds(
            ops.ToUser,
            USERS,
            st.none() | SESSIONS,
            st.sampled_from(["news", "news", "user:password-changed"]),
        ),
    ),
    (2, st.builds(ops.Clear, st.sampled_from(["room:a", "room:b", "user:alice"]))),
    (2, st.builds(ops.Lose, st.sampled_from(["room:a", "room:b", "all", "user:alice"]))),
    (2, st.just(ops.Restart())),
    (4, st.builds(ops.FailDisk, st.integers(1, 40))),
    (7, _OTHERS),
    (7, _connects()),
    (4, st.builds(acts.Stall, CLIENTS)),
    (3, st.builds(acts.Resume, CLIENTS)),
    (5, st.builds(acts.Overflow, CLIENTS, CHANNELS, st.sampled_from([200, 1100]), st.booleans())),
    (1, st.builds(acts.Mute, CLIENTS)),
    (4, st.builds(acts.Drop, CLIENTS, st.sampled_from(["fin", "close", "reset", "farewell", "reserved"]))),
    (3, st.builds(acts.Cancel, CLIENTS)),
    (3, st.builds(acts.Disconnect, CLIENTS, st.sampled_from([None, "room:a", "all"]), st.booleans())),
    (3, _GARBAGE),
    (1, st.builds(acts.Pings, CLIENTS, st.sampled_from([1, 2, 40]))),
    (3, st.builds(ops.Wait, st.sampled_from([0.1, 1.0, 6.0, 31.0, 100.0]))),
    (3, st.just(ops.Quiet())),
    (1, st.builds(ops.Shutdown)),
]
_LOTS = [number for number, (weight, _) in enumerate(_WEIGHTS) for _ in range(weight)]
OPERATIONS: st.SearchStrategy[ops.Operation] = st.sampled_from(_LOTS).flatmap(
    lambda number: _WEIGHTS[number][1]
)


@dataclass(frozen=True)
class Plan:
    """One example."""

    first: list[acts.Connect]
    steps: list[tuple[ops.Operation, int, str | None]]
    """What happens; how many turns the loop then has; and in which channel something is published in each."""
    broker_turns: int
    ending: str
    has_log: bool
    """Whether durable channels are on a disk."""


def plans() -> st.SearchStrategy[Plan]:
    """Some clients in a room, then anything."""
    step = st.tuples(OPERATIONS, TURNS, st.sampled_from([None, None, "room:a", "room:a", "room:b", "all"]))
    return st.builds(
        Plan,
        first=st.lists(_connects(), min_size=2, max_size=5),
        # Short ones first: failures shrink towards them.
        steps=st.integers(0, 30).flatmap(lambda size: st.lists(step, min_size=size, max_size=size)),
        broker_turns=st.sampled_from([0, 0, 1, 3]),
        ending=st.sampled_from(["close", "cancel", "reset", "vanish"]),
        has_log=st.booleans(),
    )
