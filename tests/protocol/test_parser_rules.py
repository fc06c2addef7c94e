"""Each rule of RFC 6455 about a client's frames, just kept and just broken: whole, and byte by byte."""

import itertools

import pytest
from support.client import masked
from support.client_frames import chopped, read
from support.frames import MASK, client_frame

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.deflate import Inflater
from tidings.protocol.frame_watch import FrameWatch
from tidings.protocol.frames import Opcode, Violation
from tidings.protocol.headers import FRAGMENTS_PER_UNIT, Assembly, Header, header_length, read_header
from tidings.protocol.parser import Closing, Event, MessageParser, Ping, Pong

MAX_MESSAGE = 70_000
MAX_FRAGMENTS = 3

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
BROKEN = CloseCode.PROTOCOL_ERROR
BAD_TEXT = CloseCode.INVALID_DATA
TOO_BIG = CloseCode.TOO_BIG
MANY = CloseCode.POLICY_VIOLATION

BEGUN = client_frame(TEXT, b"a", fin=False)
NEXT = client_frame(CONTINUATION, b"b", fin=False)
LAST = client_frame(CONTINUATION, b"c")

# Each with what it amounts to: events, and the code of the violation that ends it.
RULES: dict[str, tuple[bytes, list[Event], CloseCode | None]] = {
    # 5.2: the first byte
    "RSV1 is refused without an extension": (client_frame(TEXT, reserved=0x40), [], BROKEN),
    "RSV2 is refused": (client_frame(TEXT, reserved=0x20), [], BROKEN),
    "RSV3 is refused": (client_frame(TEXT, reserved=0x10), [], BROKEN),
    "RSV1 of a continuation": (BEGUN + client_frame(CONTINUATION, reserved=0x40), [], BROKEN),
    "RSV1 of a control frame": (client_frame(PING, reserved=0x40), [], BROKEN),
    **{
        f"opcode {opcode}": (client_frame(opcode), [], BROKEN)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    # 5.1: the mask
    "unmasked text": (client_frame(TEXT, b"hi there", mask=None), [], BROKEN),
    "unmasked, longer": (client_frame(BINARY, bytes(200), mask=None), [], BROKEN),
    "unmasked, longest": (client_frame(BINARY, bytes(65_536), mask=None), [], BROKEN),
    "unmasked ping": (client_frame(PING, mask=None), [], BROKEN),
    # Where more follows, what stands in the mask's place could be taken for one.
    "unmasked, more behind it": (client_frame(TEXT, b"hi there", mask=None) + BEGUN, [], BROKEN),
    "unmasked, longer, more behind it": (client_frame(BINARY, bytes(200), mask=None) + BEGUN, [], BROKEN),
    "a mask of zeros is a mask": (client_frame(TEXT, b"hi", mask=bytes(4)), ["hi"], None),
    # 5.2: the length, in its shortest form
    "no payload": (client_frame(BINARY), [b""], None),
    "a message of no text": (client_frame(TEXT), [""], None),
    "125 bytes": (client_frame(BINARY, bytes(125)), [bytes(125)], None),
    "126 bytes": (client_frame(BINARY, bytes(126)), [bytes(126)], None),
    "127 bytes": (client_frame(BINARY, bytes(127)), [bytes(127)], None),
    "65,535 bytes": (client_frame(BINARY, bytes(65_535)), [bytes(65_535)], None),
    "65,536 bytes": (client_frame(BINARY, bytes(65_536)), [bytes(65_536)], None),
    "0 in 2 bytes": (client_frame(BINARY, width=2), [], BROKEN),
    "125 in 2 bytes": (client_frame(BINARY, bytes(125), width=2), [], BROKEN),
    "125 in 8 bytes": (client_frame(BINARY, bytes(125), width=8), [], BROKEN),
    "126 in 8 bytes": (client_frame(BINARY, bytes(126), width=8), [], BROKEN),
    "65,535 in 8 bytes": (client_frame(BINARY, declared=65_535, width=8), [], BROKEN),
    "the highest bit of the length": (client_frame(BINARY, declared=2**63), [], BROKEN),
    "every bit of the length": (client_frame(BINARY, declared=2**64 - 1), [], BROKEN),
    # the limit, from the header alone
    "a message at the limit": (client_frame(BINARY, bytes(70_000)), [bytes(70_000)], None),
    "a byte more": (client_frame(BINARY, declared=70_001), [], TOO_BIG),
    "a fragment of a byte more": (client_frame(BINARY, declared=70_001, fin=False), [], TOO_BIG),
    "the greatest length": (client_frame(BINARY, declared=2**63 - 1), [], TOO_BIG),
    "fragments at the limit": (
        BEGUN + client_frame(CONTINUATION, b"x" * 69_999),
        ["a" + "x" * 69_999],
        None,
    ),
    "fragments of a byte more": (BEGUN + client_frame(CONTINUATION, declared=70_000), [], TOO_BIG),
    "each message has its own limit": (
        client_frame(TEXT, b"x" * 69_999) + BEGUN + LAST,
        ["x" * 69_999, "ac"],
        None,
    ),
    "three fragments": (BEGUN + NEXT + LAST, ["abc"], None),
    "four fragments": (BEGUN + NEXT + NEXT + LAST, [], MANY),
    "each message has its own fragments": ((BEGUN + NEXT + LAST) * 2, ["abc", "abc"], None),
    "control frames are no fragments": (
        BEGUN + client_frame(PING) * 5 + NEXT + LAST,
        [*[Ping(b"")] * 5, "abc"],
        None,
    ),
    # 5.4: the sequence
    "a lone continuation": (LAST, [], BROKEN),
    "a lone beginning of one": (NEXT, [], BROKEN),
    "a continuation after the end": (BEGUN + LAST + LAST, ["ac"], BROKEN),
    "a continuation after a whole message": (client_frame(TEXT, b"hi") + LAST, ["hi"], BROKEN),
    "text within a message": (BEGUN + client_frame(TEXT, b"hi"), [], BROKEN),
    "bytes within a message": (BEGUN + client_frame(BINARY, b"hi"), [], BROKEN),
    "another begun message": (BEGUN + BEGUN, [], BROKEN),
    "fragments of bytes": (client_frame(BINARY, b"\xff", fin=False) + LAST, [b"\xffc"], None),
    "empty fragments": (client_frame(TEXT, fin=False) + client_frame(CONTINUATION), [""], None),
    # 5.5: control frames
    "125 bytes of a ping": (client_frame(PING, bytes(125)), [Ping(bytes(125))], None),
    "126 bytes of a ping": (client_frame(PING, bytes(126)), [], BROKEN),
    "65,536 bytes of a pong": (client_frame(PONG, bytes(65_536)), [], BROKEN),
    "126 bytes of a close": (client_frame(CLOSE, declared=126), [], BROKEN),
    "a fragmented ping": (client_frame(PING, fin=False), [], BROKEN),
    "a fragmented pong": (client_frame(PONG, fin=False), [], BROKEN),
    "a fragmented close": (client_frame(CLOSE, fin=False), [], BROKEN),
    "a pong": (client_frame(PONG, b"\xff"), [Pong(b"\xff")], None),
    "between fragments": (
        BEGUN + client_frame(PING, b"1") + client_frame(PONG, b"2") + LAST,
        [Ping(b"1"), Pong(b"2"), "ac"],
        None,
    ),
    # 5.5.1: the close frame
    "a close without a code": (client_frame(CLOSE), [Closing(1005, "")], None),
    "half a close code": (client_frame(CLOSE, b"\x03"), [], BROKEN),
    "a reason": (client_frame(CLOSE, b"\x03\xe8" + "adiós".encode()), [Closing(1000, "adiós")], None),
    "the longest reason": (client_frame(CLOSE, b"\x03\xe8" + b"x" * 123), [Closing(1000, "x" * 123)], None),
    "a reason that is no text": (client_frame(CLOSE, b"\x03\xe8\xff"), [], BAD_TEXT),
    "a reason that ends in a character": (client_frame(CLOSE, b"\x03\xe8\xc3"), [], BAD_TEXT),
    "a close within a message": (BEGUN + client_frame(CLOSE), [Closing(1005, "")], None),
    "what follows means nothing": (client_frame(CLOSE) + b"\xff" * 20, [Closing(1005, "")], None),
    # 8.1: text
    "text": (client_frame(TEXT, "aé€\U0001f600".encode()), ["aé€\U0001f600"], None),
    "a byte order mark is a character": (client_frame(TEXT, b"\xef\xbb\xbfa"), ["\ufeffa"], None),
    "what is no text": (client_frame(TEXT, b"\xff"), [], BAD_TEXT),
    "half a character": (client_frame(TEXT, b"a\xc3"), [], BAD_TEXT),
    "an overlong form": (client_frame(TEXT, b"\xc0\xaf"), [], BAD_TEXT),
    "half a pair": (client_frame(TEXT, b"\xed\xa0\x80"), [], BAD_TEXT),
    "beyond Unicode": (client_frame(TEXT, b"\xf4\x90\x80\x80"), [], BAD_TEXT),
    "a character in two fragments": (
        client_frame(TEXT, b"\xe2\x82", fin=False) + client_frame(CONTINUATION, b"\xac"),
        ["€"],
        None,
    ),
    "half a character in the last fragment": (BEGUN + client_frame(CONTINUATION, b"\xc3"), [], BAD_TEXT),
    "a bad continuation of a character": (
        client_frame(TEXT, b"\xe2\x82", fin=False) + client_frame(CONTINUATION, b"a", fin=False),
        [],
        BAD_TEXT,
    ),
    "bytes need not be text": (client_frame(BINARY, b"\xff\xfe\xc0"), [b"\xff\xfe\xc0"], None),
    "what comes before a violation": (
        client_frame(TEXT, b"hi") + client_frame(PING) + client_frame(3),
        ["hi", Ping(b"")],
        BROKEN,
    ),
}


def parser() -> MessageParser:
    return MessageParser(max_message=MAX_MESSAGE, max_fragments=MAX_FRAGMENTS)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_met_exactly(rule: str) -> None:
    """Every rule has its code, from the byte that breaks it and whatever the pieces; one short of it is fine."""
    stream, events, code = RULES[rule]
    cuttings = [[], list(range(300)), [1], [2], [3], [5], [6], [7], [len(stream) - 1], [2, 3, 65_000]]
    for cuts in cuttings:
        assert read(parser(), chopped(stream, cuts)) == (events, code)


@pytest.mark.parametrize("most", [0, 1, 124, 125, 126, 200, 65_534, 65_535, 65_536])
def test_the_limit_is_met_exactly(most: int) -> None:
    """A message of exactly the limit is taken, and one byte more is 1009, by whichever path its frame comes."""
    for opcode, cuts in itertools.product((TEXT, BINARY), ([], [8], [3, 7])):
        limited = MessageParser(max_message=most, max_fragments=1)
        reading = read(limited, chopped(client_frame(opcode, bytes(most)), cuts))
        assert reading == ([bytes(most) if opcode == BINARY else "\0" * most], None)
        assert read(limited, chopped(client_frame(opcode, bytes(most + 1)), cuts)) == ([], TOO_BIG)


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999])
def test_a_code_that_may_be_sent_is_told(code: int) -> None:
    """The close codes of the RFC's and IANA's tables, and those of libraries and applications, are told as sent."""
    assert read(parser(), [client_frame(CLOSE, code.to_bytes(2))]).events == [Closing(code, "")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535])
def test_a_code_that_must_not_be_sent_is_refused(code: int) -> None:
    """Reserved close codes, and those outside every range, are 1002."""
    assert read(parser(), [client_frame(CLOSE, code.to_bytes(2))]) == ([], BROKEN)


@pytest.mark.parametrize("cuts", [[], list(range(50))], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("kind", "other"), [(TEXT, BINARY), (BINARY, TEXT)])
def test_only_accepted_kinds_are_taken(kind: Opcode, other: Opcode, cuts: list[int]) -> None:
    """A message of the kind that is not understood is 1003, whole or fragmented; control frames always pass."""

    def ends(stream: bytes) -> CloseCode | None:
        picky = MessageParser(max_message=99, max_fragments=9, accepts=frozenset({kind}))
        return read(picky, chopped(stream, cuts)).code

    assert (
        ends(client_frame(kind, b"a") + client_frame(PING) + client_frame(kind, fin=False) + LAST) is None
    )
    assert ends(client_frame(kind, b"a") + client_frame(other)) == CloseCode.UNSUPPORTED_DATA
    assert ends(client_frame(other, fin=False)) == CloseCode.UNSUPPORTED_DATA
    # Judged in this order: its place in the sequence, its kind, its size.
    assert ends(client_frame(kind, fin=False) + client_frame(other)) == BROKEN
    assert ends(client_frame(other, declared=100)) == CloseCode.UNSUPPORTED_DATA


@pytest.mark.parametrize("cuts", [[], list(range(50))], ids=["whole", "byte by byte"])
def test_rsv1_means_something_once_it_is_negotiated(cuts: list[int]) -> None:
    """With `permessage-deflate` the first frame of a message may bear RSV1, and no other frame (RFC 7692 6)."""
    hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00"

    def reading(stream: bytes) -> object:
        compressing = MessageParser(max_message=99, max_fragments=9, inflater=Inflater())
        return read(compressing, chopped(stream, cuts))

    whole = client_frame(TEXT, hello, reserved=0x40)
    begun = client_frame(TEXT, hello[:3], reserved=0x40, fin=False)
    assert reading(whole + client_frame(TEXT, b"plain")) == (["Hello", "plain"], None)
    assert reading(begun + client_frame(PING) + client_frame(0, hello[3:])) == ([Ping(b""), "Hello"], None)
    for wrong in (
        begun + client_frame(0, hello[3:], reserved=0x40),
        client_frame(TEXT, b"plain", fin=False) + client_frame(0, b"", reserved=0x40),
        client_frame(0, hello, reserved=0x40),
        client_frame(PING, reserved=0x40),
        client_frame(CLOSE, reserved=0x40),
        client_frame(TEXT, hello, reserved=0x60),
        client_frame(TEXT, hello, reserved=0x50),
    ):
        assert reading(wrong) == ([], BROKEN)


def test_where_a_message_is_under_way_is_told() -> None:
    """`is_inside` holds from the first byte of a frame, or of a fragmented message, to its last one."""
    stream = client_frame(PING) + BEGUN + client_frame(PING) + LAST + client_frame(TEXT, b"hi")
    outside = {0, 6, len(stream) - 8, len(stream)}
    # Of a message a control frame, or a part of a header, is none.
    begun = 6 + 6
    ended = begun + 1 + 6 + 7
    some = parser()
    for at in range(len(stream)):
        assert some.is_inside == (at not in outside), at
        assert some.is_in_message == (begun <= at < ended or at in (len(stream) - 2, len(stream) - 1)), at
        read(some, [stream[at : at + 1]])
    assert not some.is_inside


def test_a_header_is_taken_apart() -> None:
    """A header says what its bits say, wherever in the data it begins; and nothing before it is whole."""
    data = b"??" + client_frame(BINARY, fin=False, declared=65_536, mask=b"abcd")
    assert read_header(data, 2) == Header(False, False, BINARY, 65_536, b"abcd", len(data))
    for end in range(2, len(data)):
        assert read_header(data[:end], 2) is None
        assert header_length(data[:end], 2) == (2 if end < 4 else 14)
    compressed = read_header(client_frame(TEXT, reserved=0x40), meaningful=0x40)
    assert compressed == Header(True, True, TEXT, 0, MASK, 6)
    assert not compressed.is_control


def test_what_is_wrong_is_said() -> None:
    """A violation tells the peer's author which rule was broken, in words that fit a close frame."""
    for stream, _, code in RULES.values():
        some = parser()
        some.feed(stream)
        if code is not None:
            while not isinstance(event := next_or_violation(some), Violation):
                assert event is not None
            assert event.code == code
            assert 10 < len(event.reason.encode()) <= 123
            assert str(event) == event.reason


def next_or_violation(some: MessageParser) -> Event | Violation | None:
    try:
        return some.next_event()
    except Violation as violation:
        return violation


def test_a_refused_kind_is_named() -> None:
    """Whoever sends what is not understood is told what is."""
    assembly = Assembly(max_message=1, max_fragments=1, accepts=frozenset({TEXT}))
    header = read_header(client_frame(BINARY))
    assert header is not None
    with pytest.raises(Violation, match=r"^only text messages are understood here$"):
        assembly.begin_frame(header)


def test_sixteen_fragments_are_a_unit() -> None:
    """Fragments beyond a message's first are counted over all messages, and each only once."""
    parser = MessageParser(max_message=1_000, max_fragments=1_000)
    watch = FrameWatch(max_message=1_000, max_fragments=1_000)
    begun = masked(Opcode.TEXT, b"a", fin=False)
    seen = 0
    for count in (15, 1, 31, 2, 160, 0):
        sent = begun + count * masked(Opcode.CONTINUATION, fin=False) + masked(Opcode.CONTINUATION)
        parser.feed(sent)
        assert parser.next_event() == "a"
        assert watch.feed(sent) == len(sent)
        seen += count + 1
        assert parser.owes_units is (seen >= FRAGMENTS_PER_UNIT)
        units = parser.take_units()
        assert units == seen // FRAGMENTS_PER_UNIT
        assert watch.control_frames == units
        seen -= units * FRAGMENTS_PER_UNIT
        watch.control_frames = 0
    assert not parser.owes_units
    assert parser.take_units() == 0


def _message(size: int, frames: int = 1) -> bytes:
    """A binary message of so many bytes, in so many frames."""
    sizes = [1] * (frames - 1) + [size - frames + 1]
    return b"".join(
        client_frame(CONTINUATION if at else BINARY, bytes(each), fin=at == frames - 1)
        for at, each in enumerate(sizes)
    )


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_longer_messages_may_be_allowed_later(frames: int, step: int) -> None:
    """From `allow` on its limit holds to the byte, of the parser and the watch alike; it may be less."""
    for limit, later in ((100, 300), (300, 100), (124, 126)):
        some = MessageParser(max_message=limit, max_fragments=3)
        watch = FrameWatch(max_message=limit, max_fragments=3)

        def sent(size: int, some: MessageParser = some, watch: FrameWatch = watch) -> CloseCode | None:
            data = _message(size, frames)
            places = range(0, len(data), step)
            events, code = read(some, chopped(data, places))
            for piece in chopped(data, places):
                if watch.feed(piece) < len(piece):
                    break
            assert (watch.violation.code if watch.violation else None) == code
            assert events == ([] if code else [bytes(size)])
            return code

        assert sent(limit) is None
        some.allow(later)
        watch.allow(later)
        assert sent(later) is None
        assert sent(later + 1) is TOO_BIG


@pytest.mark.parametrize("engine", ["parser", "watch"])
def test_a_refused_message_stays_refused(engine: str) -> None:
    """What was over the limit when it came is not let through by a limit that comes later."""
    some = parser() if engine == "parser" else FrameWatch(max_message=MAX_MESSAGE, max_fragments=3)
    data = _message(MAX_MESSAGE + 1)
    if isinstance(some, FrameWatch):
        assert some.feed(data) == 0
        some.allow(2 * MAX_MESSAGE)
        assert some.feed(data) == 0
        assert some.violation is not None
    else:
        assert read(some, [data]).code is TOO_BIG
        some.allow(2 * MAX_MESSAGE)
        assert read(some, [data]).code is TOO_BIG
