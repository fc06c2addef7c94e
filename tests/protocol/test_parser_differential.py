"""The parser beside one that is not ours: wsproto, fed the same bytes in the same pieces."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from support.client_frames import any_streams, chopped, cuttings, good_streams, new_parser, read
from support.frames import client_frame
from wsproto import events as theirs
from wsproto.connection import Connection, ConnectionState, ConnectionType

from tidings.protocol import parser
from tidings.protocol.close_codes import CloseCode, is_sendable
from tidings.protocol.frames import Opcode
from tidings.protocol.parser import Closing, Event, Ping, Pong

PROTOCOL_ERROR = CloseCode.PROTOCOL_ERROR


@pytest.fixture(autouse=True, scope="module")
def _codes_that_both_know() -> Iterator[None]:
    """wsproto refuses IANA's 1014, which is newer than RFC 6455; so do we, while we compare."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser, "is_sendable", lambda code: code != 1014 and is_sendable(code))
        yield


class TheirReading(NamedTuple):
    """What wsproto made of what it was fed, in our words."""

    events: list[Event]
    code: int | None


def read_by_wsproto(connection: Connection, pieces: Iterable[bytes]) -> TheirReading:
    """Feed the pieces, and take all events after each. It gives a message in parts: they are joined."""
    events: list[Event] = []
    parts: list[Any] = []
    for piece in pieces:
        connection.receive_data(piece)
        for event in connection.events():
            match event:
                case theirs.Message():
                    parts.append(event.data)
                    if event.message_finished:
                        events.append(type(event.data)().join(parts))
                        parts.clear()
                case theirs.Ping():
                    events.append(Ping(bytes(event.payload)))
                case theirs.Pong():
                    events.append(Pong(bytes(event.payload)))
                case theirs.CloseConnection(code=code, reason=reason):
                    if connection.state is ConnectionState.OPEN:  # its verdict, not the peer's frame
                        return TheirReading(events, int(code))
                    events.append(Closing(code, reason or ""))
    return TheirReading(events, None)


# Any begun header that is right so far is made a right one by one of these.
COMPLETIONS = [b"\x80" + bytes(12), b"\x01" * 13, b"\xff" * 13]


def compare(data: bytes, cuts: list[int]) -> None:
    """The same events and the same verdict, but for the moment at which a verdict is given."""
    pieces = chopped(data, cuts)
    ours = read(new_parser(), pieces)
    connection = Connection(ConnectionType.SERVER)
    other = read_by_wsproto(connection, pieces)
    assert ours.events == other.events
    if ours.code == PROTOCOL_ERROR and other.code is None:
        # We refuse a frame out of turn by its header, wsproto by the first byte of its payload.
        other = read_by_wsproto(connection, [b"\0"])
    elif ours.code is None and other.code == PROTOCOL_ERROR:
        # wsproto refuses some headers by their first bytes; we wait for all 14, and then never take them.
        assert {read(new_parser(), [data + rest]).code for rest in COMPLETIONS} == {PROTOCOL_ERROR}
        return
    assert ours.code == other.code


@settings(max_examples=60)
@given(any_streams, cuttings)
@example(client_frame(1, "aé€\U0001f600".encode()), list(range(30)))
@example(client_frame(8, (1014).to_bytes(2)), [])
@example(client_frame(0, declared=5), [])
@example(b"\x83", [])
@example(b"\x83\x80", [])
@example(b"\x81\xfe\x00\x01", [])
def test_the_same_bytes_mean_the_same(data: bytes, cuts: list[int]) -> None:
    """Any bytes, in any pieces: the same messages, pings, pongs and close, and the same close code."""
    compare(data, cuts)


@pytest.mark.slow
@settings(max_examples=300)
@given(any_streams, cuttings)
def test_the_same_bytes_mean_the_same_at_length(data: bytes, cuts: list[int]) -> None:
    """The same, with many more examples (ten seconds)."""
    compare(data, cuts)


@settings(max_examples=40)
@given(good_streams, cuttings)
def test_good_streams_are_never_refused(data: bytes, cuts: list[int]) -> None:
    """What a strict client sends is taken by both: the comparison above is not one of refusals only."""
    assert read(new_parser(), chopped(data, cuts)).code is None
    assert read_by_wsproto(Connection(ConnectionType.SERVER), chopped(data, cuts)).code is None


@pytest.mark.parametrize("fin", [False, True])
def test_every_first_byte_means_the_same(fin: bool) -> None:
    """Every first byte, with payloads that mean something to some of them, between messages and within one."""
    payloads = [b"", b"a", b"\xff", b"\x03\xe8", bytes(125), bytes(126)]
    begun = client_frame(Opcode.TEXT, b"\xe2\x82", fin=False)
    for opcode, reserved, payload in itertools.product(range(16), [0, 0x10, 0x20, 0x40], payloads):
        frame = client_frame(opcode, payload, fin=fin, reserved=reserved)
        compare(frame, [])
        compare(begun + frame, [])


def test_close_codes_mean_the_same() -> None:
    """Around every bound of the codes' ranges, with and without a reason."""
    codes = {bound + step for bound in (0, 1000, 2000, 3000, 4000, 5000, 65535) for step in range(-20, 21)}
    for code in codes & set(range(65536)):
        for reason in (b"", b"bye", b"\xff"):
            compare(client_frame(Opcode.CLOSE, code.to_bytes(2) + reason), [])
