"""The load generator's own reading of the wire: it must see every fault of a server, and invent none."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.bench.client import Client, State
from tidings.bench.eventloop import EventLoop
from tidings.bench.fleet import Fleet
from tidings.bench.profiles import CHANNEL, Broadcast
from tidings.bench.wire import CLOSE, PING, PONG, TEXT, Frame, Malformed, client_frame, split_frames
from tidings.protocol.frame_watch import FrameWatch
from tidings.protocol.frames import FIN, build_close, build_frame


def publication(offset: int, text: str = "") -> bytes:
    data = {"sent": 1.0, "text": text}
    message = {"type": "room_message", "data": data, "channel": CHANNEL, "offset": offset}
    return build_frame(TEXT, msgspec.json.encode(message))


DISCONNECT = build_frame(
    TEXT,
    msgspec.json.encode({"type": "disconnect", "data": {"code": 3001, "reconnect": True, "delay": 2.5}}),
)


@pytest.fixture
def client() -> Iterator[Client]:
    fleet = Fleet(EventLoop(), Broadcast())
    client = Client(fleet, fleet.profile, 0, 0)
    client.state = State.JOINED
    fleet.clients.append(client)
    yield client
    client.drop()
    fleet.loop.close()


def ledger(client: Client) -> tuple[int, int, int, int]:
    """Received, missing, repeated, problems."""
    found = client._owner.ledger  # type: ignore[attr-defined]  # a Fleet
    return found.received, found.missing, found.repeated, found.problem_count


frames = st.lists(
    st.tuples(st.sampled_from([TEXT, PING, PONG, CLOSE]), st.binary(max_size=70_000)), max_size=5
)


@given(frames)
def test_frames_of_any_length_are_read_as_they_were_built(sent: list[tuple[int, bytes]]) -> None:
    """What a server builds is read back, whole, with nothing left over."""
    data = b"".join(build_frame(opcode, payload) for opcode, payload in sent)
    assert split_frames(data) == ([Frame(*frame) for frame in sent], b"")


@given(st.binary(max_size=300), st.integers(0, 400))
def test_a_begun_frame_is_left_for_later(payload: bytes, cut: int) -> None:
    """No prefix of a frame is taken for a frame."""
    data = build_frame(TEXT, payload)
    head, rest = split_frames(data[:cut])
    assert (head, rest) == (([], data[:cut]) if cut < len(data) else ([Frame(TEXT, payload)], b""))


@pytest.mark.parametrize(
    "data", [b"\x01\x00", b"\xc1\x00", b"\x83\x00", b"\x81\x80\x00\x00\x00\x00", b"\x80\x00"]
)
def test_what_no_measured_server_may_send_is_malformed(data: bytes) -> None:
    """A fragment, a reserved bit, a reserved opcode, a mask, a lone continuation."""
    with pytest.raises(Malformed):
        split_frames(data)


@given(st.binary(max_size=70_000))
def test_our_own_frames_are_masked_and_break_no_limit(payload: bytes) -> None:
    """A server accepts what the load sends."""
    frame = client_frame(TEXT, payload)
    assert frame[0] == FIN | TEXT
    assert frame[1] & 0x80
    watch = FrameWatch(max_message=len(payload), max_fragments=1)
    assert watch.feed(frame) == len(frame)
    key = frame[len(frame) - len(payload) - 4 : len(frame) - len(payload)]
    body = frame[len(frame) - len(payload) :]
    assert bytes(byte ^ key[at % 4] for at, byte in enumerate(body)) == payload


def test_contiguous_publications_are_counted_and_nothing_is_wrong(client: Client) -> None:
    """A faultless stream gives a faultless ledger."""
    for offset in range(1, 5):
        client._process(publication(offset))
    client._process(publication(5) + publication(6))
    assert ledger(client) == (6, 0, 0, 0)
    assert client.last == 6


def test_a_gap_is_seen(client: Client) -> None:
    """A publication that never came is counted, alone or between two of one piece."""
    client._process(publication(1))
    client._process(publication(3))
    assert ledger(client) == (2, 1, 0, 1)
    client._process(publication(4) + publication(7))
    assert ledger(client) == (4, 3, 0, 2)


def test_a_repetition_is_seen(client: Client) -> None:
    """The same bytes twice are two deliveries, and the second one is wrong."""
    client._process(publication(1))
    client._process(publication(1))
    assert ledger(client) == (2, 0, 1, 1)


def test_nothing_may_follow_the_word_that_announces_the_end(client: Client) -> None:
    """A publication behind `disconnect`, though the next in order, is a problem."""
    client._process(publication(1))
    client._process(DISCONNECT)
    assert client.told is not None
    assert (client.told.data.code, client.told.data.delay) == (3001, 2.5)
    client._process(publication(2))
    assert ledger(client) == (2, 0, 0, 1)


def test_nothing_may_follow_a_close_frame(client: Client) -> None:
    """Neither a publication nor a ping."""
    client._process(build_close(3008, "slow consumer"))
    assert client.close_code == 3008
    client._process(publication(1))
    client._process(build_frame(PING, b""))
    assert ledger(client)[3] == 2


def test_half_a_frame_under_another_is_seen(client: Client) -> None:
    """A server that cut a frame short does not pass for one that closed."""
    client._process(publication(1)[:-3] + build_close(3008))
    client._process(publication(2) * 2)
    assert client.close_code is None
    assert client.state is State.GONE
    assert ledger(client)[3]


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(0, 3))
def test_chopping_changes_nothing(cuts: list[int], skipped: int) -> None:
    """The same bytes in any pieces give the same ledger."""
    stream = b"".join(publication(offset, "x" * 40 * offset) for offset in (1, 2, 3 + skipped, 4 + skipped))
    stream += build_frame(PING, b"p") + DISCONNECT + build_close(3001)
    fleet = Fleet(EventLoop(), Broadcast())
    client = Client(fleet, fleet.profile, 0, 0)
    for cut in cuts:
        if stream[:cut]:
            client._process(stream[:cut])
        stream = stream[cut:]
    if stream:
        client._process(stream)
    assert ledger(client) == (4, skipped, 0, 1 if skipped else 0)
    assert (client.close_code, client.last) == (3001, 4 + skipped)
    client.drop()
    fleet.loop.close()
