"""What a client sends, from bytes to messages: the short path, and the careful one."""

from collections.abc import Callable, Sequence

from tidings.bench.micro.plugin import Measure
from tidings.bench.micro.results import Sizes
from tidings.bench.micro.wire import compressed, fragments
from tidings.bench.wire import PING, TEXT, client_frame
from tidings.protocol.deflate import Inflater
from tidings.protocol.parser import Event, MessageParser, Ping
from tidings.server.config import Limits

GROUP = "parser"

# What an Ethernet brings in one packet.
_SEGMENT = 1448

_COUNT = 100


def _parser(inflater: Inflater | None = None) -> MessageParser:
    """One with the server's own limits on frames."""
    return MessageParser(
        max_message=Limits().message_bytes, max_fragments=Limits().fragments_per_message, inflater=inflater
    )


def _reading(parser: MessageParser, pieces: Sequence[bytes]) -> Callable[[], list[Event]]:
    """Feed the pieces and take what they amount to, as the engine does: the parser is then as it was."""

    def read() -> list[Event]:
        events = []
        for piece in pieces:
            parser.feed(piece)
            while (event := parser.next_event()) is not None:
                events.append(event)
            parser.take_units()
        return events

    return read


def case_short_frames(measure: Measure, text: Callable[[int], str]) -> None:
    """Whole short messages, many in one read: nearly everything that clients send."""
    words = text(100)
    frames = client_frame(TEXT, words.encode()) * _COUNT
    measure(
        f"{_COUNT} whole frames of 100 B, in one piece",
        _reading(_parser(), [frames]),
        verify=lambda events: events == [words] * _COUNT,
        per=_COUNT,
        each="frame",
    )


def case_payload_frame(measure: Measure, text: Callable[[int], str], sizes: Sizes) -> None:
    """One message by itself, as chat brings them."""
    words = text(sizes.payload)
    measure(
        f"a whole frame of {sizes.payload:,} B",
        _reading(_parser(), [client_frame(TEXT, words.encode())]),
        verify=lambda events: events == [words],
    )


def case_pings(measure: Measure) -> None:
    """Control frames, which take the careful path."""
    measure(
        f"{_COUNT} pings, in one piece",
        _reading(_parser(), [client_frame(PING, b"1234") * _COUNT]),
        verify=lambda events: events == [Ping(b"1234")] * _COUNT,
        per=_COUNT,
        each="frame",
    )


def case_fragments(measure: Measure, text: Callable[[int], str]) -> None:
    """A message in many frames."""
    words = text(4096)
    measure(
        "4,096 B in 16 fragments, in one piece",
        _reading(_parser(), [fragments(TEXT, words.encode(), 16)]),
        verify=lambda events: events == [words],
        per=16,
        each="fragment",
    )


def case_segments(measure: Measure, text: Callable[[int], str]) -> None:
    """A long message, as packets bring it."""
    words = text(65536)
    frame = client_frame(TEXT, words.encode())
    pieces = [frame[at : at + _SEGMENT] for at in range(0, len(frame), _SEGMENT)]
    measure(
        f"a frame of 65,536 B in {len(pieces)} pieces",
        _reading(_parser(), pieces),
        verify=lambda events: events == [words],
        per=65536,
        each="byte",
    )


def case_bytes(measure: Measure, text: Callable[[int], str]) -> None:
    """The worst that a client can do: a byte at a time."""
    words = text(1024)
    frame = client_frame(TEXT, words.encode())
    pieces = [frame[at : at + 1] for at in range(len(frame))]
    measure(
        "a frame of 1,024 B, byte by byte",
        _reading(_parser(), pieces),
        verify=lambda events: events == [words],
        per=len(frame),
        each="byte",
    )


def case_compressed(measure: Measure, text: Callable[[int], str]) -> None:
    """A compressed message, inflated."""
    words = text(4096)
    measure(
        "4,096 B, compressed",
        _reading(_parser(Inflater()), [compressed(TEXT, words.encode())]),
        verify=lambda events: events == [words],
        per=4096,
        each="byte",
    )
