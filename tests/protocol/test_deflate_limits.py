"""A compressed message is inflated no further than the limit, in little memory, and not for long."""

import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.client_deflate import ENDS, TAIL, ClientDeflater, simply
from support.client_frames import chopped, cuttings, read
from support.frames import client_frame

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.deflate import RSV1, Inflater
from tidings.protocol.frames import Opcode, Violation
from tidings.protocol.parser import MessageParser, _Message

MIB = 1 << 20


class Work:
    """What was asked of zlib, and what it gave."""

    def __init__(self) -> None:
        self.decompressors = 0
        self.calls = 0
        self.inflated = 0


class _Watched:
    """A decompressor whose work is counted."""

    def __init__(self, inner: Any, work: Work) -> None:
        self._inner = inner
        self._work = work
        work.decompressors += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def copy(self) -> "_Watched":
        return _Watched(self._inner.copy(), self._work)

    def decompress(self, data: bytes, most: int) -> bytes:
        assert most > 0, "zlib takes 0 for no limit"
        given = self._inner.decompress(data, most)
        self._work.calls += 1
        self._work.inflated += len(given)
        return bytes(given)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    real = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda *how: _Watched(real(*how), work))
    return work


def bomb(letter: bytes, mebibytes: int) -> bytes:
    """So many MiB of one letter, as one message of a thousandth of that."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    begun = compressor.compress(letter * MIB) + compressor.flush(zlib.Z_FULL_FLUSH)
    again = compressor.compress(letter * MIB) + compressor.flush(zlib.Z_FULL_FLUSH)
    return begun + again * (mebibytes - 1)


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
@pytest.mark.parametrize("piece", [1 << 30, 1000])
def test_a_bomb_is_refused_while_it_is_inflated(opcode: Opcode, piece: int, work: Work) -> None:
    """Of 100 KB that would become 100 MiB no more is inflated than the limit and a byte; then it is 1009."""
    data = bomb(b"a", 100)
    assert len(data) < 110_000
    limit = 128 * 1024
    parser = MessageParser(max_message=limit, max_fragments=1, inflater=Inflater())
    stream = client_frame(opcode, data, reserved=RSV1)
    tracemalloc.start()
    reading = read(parser, chopped(stream, range(0, len(stream), piece)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reading == ([], CloseCode.TOO_BIG)
    assert limit <= work.inflated <= limit + 1
    # The message, a copy that is checked, and its characters; what was sent, and its copies.
    assert peak < 8 * limit


def test_a_bomb_of_bad_text_is_refused_as_text() -> None:
    """What is wrong first decides, however much follows it."""
    parser = MessageParser(max_message=128 * 1024, max_fragments=1, inflater=Inflater())
    stream = client_frame(Opcode.TEXT, bomb(b"\xff", 100), reserved=RSV1)
    assert read(parser, [stream]) == ([], CloseCode.INVALID_DATA)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.sampled_from(ENDS)), max_size=4),
    st.integers(-2, 2),
    st.sampled_from([1, 50]),
    cuttings,
)
def test_the_limit_is_met_exactly(
    pieces: list[tuple[bytes, int]], beyond: int, times: int, cuts: list[int]
) -> None:
    """A message that inflates to the limit is taken, whatever empty blocks end it; a byte more is 1009."""
    payload = b"".join(piece * times for piece, _ in pieces)
    deflated = ClientDeflater().message([(piece * times, end) for piece, end in pieces])
    most = max(len(payload) - beyond, 0)
    inflater, into = Inflater(), bytearray()
    code = None
    try:
        for piece in chopped(deflated, cuts):
            inflater.inflate(piece, into, most)
            assert len(into) <= most
        inflater.finish(into, most)
    except Violation as violation:
        code = violation.code
    assert code == (CloseCode.TOO_BIG if len(payload) > most else None)
    assert into == payload[:most]


def test_empty_blocks_behind_a_full_message_are_no_work(work: Work) -> None:
    """At the limit, 10,000 blocks of nothing are looked through at once, and are no reason to refuse."""
    inflater, into = Inflater(), bytearray()
    inflater.inflate(simply(b"x" * 100) + TAIL + (b"\x00" + TAIL) * 10_000, into, 100)
    inflater.finish(into, 100)
    assert into == b"x" * 100
    assert work.calls < 10


@pytest.mark.parametrize("cuts", [[], list(range(200))], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("takeover", [False, True])
def test_final_blocks_are_counted(takeover: bool, cuts: list[int], work: Work) -> None:
    """Sixteen final blocks in a message are taken, in every message anew; one more is 1008, not more work."""
    empty = zlib.compressobj(wbits=-15).flush(zlib.Z_FINISH)

    def message(finals: int) -> bytes:
        return client_frame(Opcode.BINARY, empty * finals + b"\0", reserved=RSV1)

    def reading(stream: bytes) -> tuple[object, CloseCode | None]:
        inflater = Inflater(takeover=takeover)
        parser = MessageParser(max_message=100_000, max_fragments=1, inflater=inflater)
        return read(parser, chopped(stream, cuts))

    assert reading(message(16) * 3) == ([b""] * 3, None)
    assert reading(message(17)) == ([], CloseCode.POLICY_VIOLATION)
    before = work.decompressors
    assert reading(message(40_000)) == ([], CloseCode.POLICY_VIOLATION)
    assert work.decompressors - before <= 18


def test_final_blocks_with_content_are_bounded_by_both() -> None:
    """Whichever limit is met first decides: many blocks of little, or few of much."""
    small = simply(b"")
    deflater = ClientDeflater()
    little = deflater.message([(b"ab", zlib.Z_FINISH)] * 17)
    much = deflater.message([(b"ab" * 30, zlib.Z_FINISH)] * 17)
    for data, code in ((little, CloseCode.POLICY_VIOLATION), (much, CloseCode.TOO_BIG)):
        inflater, into = Inflater(), bytearray()
        with pytest.raises(Violation) as refused:
            inflater.inflate(data + small, into, 200)
        assert refused.value.code == code


def test_the_end_of_a_message_is_limited_too() -> None:
    """A stored block that promises more than it has takes the tail that we put behind it; that counts."""
    promises_four = bytes.fromhex("000400fbff")
    for most, code in ((4, None), (3, CloseCode.TOO_BIG), (0, CloseCode.TOO_BIG)):
        parser = MessageParser(max_message=99, max_fragments=1, inflater=Inflater())
        parser._max_message = most
        reading = read(parser, [client_frame(Opcode.BINARY, promises_four, reserved=RSV1)])
        assert reading == ([] if code else [TAIL], code)


def test_a_message_is_also_limited_as_it_is_sent() -> None:
    """A frame that declares more than the limit is refused from its header, compressed or not."""
    parser = MessageParser(max_message=100, max_fragments=9, inflater=Inflater())
    frames = client_frame(Opcode.TEXT, simply(b"x"), reserved=RSV1, fin=False) + client_frame(
        0, declared=98
    )
    assert read(parser, [frames]) == ([], CloseCode.TOO_BIG)


def held() -> Iterator[int]:
    """How much a message under way holds, after each of many pieces."""
    message = _Message(1 << 20, text=True, inflater=Inflater())
    data = bomb(b"a", 1)
    for at in range(0, len(data), 10):
        message.add(data[at : at + 10])
        yield len(message._payload)


def test_a_message_grows_as_it_comes() -> None:
    """What is inflated is held once, and a message of exactly the limit fits."""
    sizes = list(held())
    assert sizes == sorted(sizes)
    assert sizes[-1] == 1 << 20


def test_a_compressed_message_may_be_longer_later() -> None:
    """`allow` holds for what is inflated, too; a message that has begun keeps the limit it began with."""
    some = MessageParser(max_message=1_000, max_fragments=10, inflater=Inflater(15, takeover=False))

    def frames(size: int) -> tuple[bytes, bytes]:
        packed = ClientDeflater().message([(bytes(size), zlib.Z_SYNC_FLUSH)])
        return (
            client_frame(Opcode.BINARY, packed[:3], fin=False, reserved=RSV1),
            client_frame(Opcode.CONTINUATION, packed[3:]),
        )

    assert read(some, frames(1_000)).events == [bytes(1_000)]
    some.allow(50_000)
    assert read(some, frames(50_000)).events == [bytes(50_000)]
    first, rest = frames(50_001)
    some.feed(first)
    assert some.next_event() is None
    some.allow(100_000)
    assert read(some, [rest]).code is CloseCode.TOO_BIG
