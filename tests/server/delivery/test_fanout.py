"""One flush as a cursor, and the joining of frames."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from support.fakes import JSON, MSGPACK, Listener

from tidings.protocol.deflate import DeflateOptions, Deflater
from tidings.protocol.frames import build_frame
from tidings.protocol.positions import Position
from tidings.server.delivery.fanout import FLUSH_BYTES, Audience, Channel, Flush, join_frames

FRAMES = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=20)


@given(FRAMES, st.integers(1, 30))
def test_joined_frames_are_the_frames_in_order(frames: list[bytes], most: int) -> None:
    """Joining loses nothing, cuts no frame, and keeps to the size unless one frame alone is longer."""
    pieces = join_frames(frames, most)
    assert b"".join(pieces) == b"".join(frames)
    assert all(len(piece) <= most or piece in frames for piece in pieces)
    ends = {len(b"".join(frames[:count])) for count in range(len(frames) + 1)}
    assert {len(b"".join(pieces[:count])) for count in range(len(pieces) + 1)} <= ends
    assert all(len(a) + len(b) > most for a, b in pairwise(pieces)), "no half-empty piece"


def test_a_single_frame_is_passed_on_as_it_is() -> None:
    """One publication costs no copy, however long: every subscriber gets the very same object."""
    frame = bytes(3 * FLUSH_BYTES)
    assert join_frames([frame])[0] is frame


def test_pieces_are_as_long_as_one_send_should_be() -> None:
    """Without a size pieces keep to FLUSH_BYTES."""
    sizes = [len(piece) for piece in join_frames([bytes(1000)] * 200)]
    assert max(sizes) <= FLUSH_BYTES
    assert len(sizes) == -(-200_000 // (FLUSH_BYTES - FLUSH_BYTES % 1000))


ROUNDS = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=3)),
    max_size=3,
)


def audience_of(listeners: list[Listener]) -> Audience:
    audience = Audience()
    for listener in listeners:
        audience.route(listener)
    return audience


@given(ROUNDS, st.lists(st.integers(1, 9), min_size=1))
def test_a_flush_gives_the_same_whatever_its_turns(
    shapes: list[tuple[int, list[bytes]]], turns: list[int]
) -> None:
    """Left after any number of offers and taken up again, a flush offers each piece to each once, in order."""
    audiences = [[Listener(JSON) for _ in range(count)] for count, _ in shapes]
    flush = Flush(
        [
            (audience_of(listeners), pieces, 10)
            for listeners, (_, pieces) in zip(audiences, shapes, strict=True)
        ],
        {},
    )

    def offers() -> int:
        return sum(len(listener.offers) for audience in audiences for listener in audience)

    total = sum(count * len(pieces) for count, pieces in shapes)
    for step in range(total + 1):
        most = turns[step % len(turns)]
        before = offers()
        done = flush.advance(most)
        assert offers() - before == min(most, total - before), "a turn is used up and never overdrawn"
        if done:
            break
    assert offers() == total
    assert flush.advance(1) is True
    assert offers() == total
    for audience, (_, pieces) in zip(audiences, shapes, strict=True):
        assert all(listener.offers == pieces for listener in audience)
    assert flush.deliveries == sum(count * 10 for count, _ in shapes)


def test_a_channel_keeps_one_audience_for_those_who_get_the_same_bytes() -> None:
    """Adding and removing say whether they changed something; what nobody speaks leaves no trace."""
    channel = Channel("room:a", Position("e", 0))
    first, second, other = Listener(JSON), Listener(JSON), Listener(MSGPACK)
    small, small_too = Listener(JSON), Listener(JSON)
    small.framing = small_too.framing = deflater = Deflater(10, DeflateOptions())
    subscribers = (first, second, other, small, small_too, first)
    assert [channel.add(listener) for listener in subscribers] == [True, True, True, True, True, False]
    assert {key: list(audience.pushes) for key, audience in channel.audiences.items()} == {
        (JSON, build_frame): [first, second],
        (MSGPACK, build_frame): [other],
        (JSON, deflater): [small, small_too],
    }
    assert first in channel
    assert small in channel
    leaving = (first, first, other, small, small_too)
    assert [channel.remove(listener) for listener in leaving] == [True, False, True, True, True]
    assert first not in channel
    assert list(channel.audiences) == [(JSON, build_frame)]
    assert channel.remove(Listener(MSGPACK)) is False
