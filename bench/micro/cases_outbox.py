"""What is offered to one connection: sent at once, or kept until its socket takes it."""

from tidings.bench.micro.members import outbox, takes_all, takes_nothing
from tidings.bench.micro.plugin import Measure
from tidings.bench.wire import TEXT
from tidings.protocol.frames import build_frame
from tidings.server.delivery.outbox import Outbox

GROUP = "outbox"

_COUNT = 1000

_FRAME = build_frame(TEXT, b"x" * 126)


def _offer_many(box: Outbox) -> Outbox:
    offer = box.offer
    for _ in range(_COUNT):
        offer(_FRAME)
    return box


def case_takes_all(measure: Measure) -> None:
    """The common case, whose rest is the system call alone."""
    measure.fresh(
        f"{_COUNT:,} offers of 130 B, the socket takes all",
        lambda: outbox(takes_all),
        _offer_many,
        verify=lambda box: (box.bytes_sent, box.pending_bytes) == (_COUNT * len(_FRAME), 0),
        per=_COUNT,
        each="offer",
    )


def case_takes_nothing(measure: Measure) -> None:
    """A client that does not read."""
    measure.fresh(
        f"{_COUNT:,} offers of 130 B, the socket takes nothing",
        lambda: outbox(takes_nothing),
        _offer_many,
        verify=lambda box: (box.bytes_sent, box.pending_bytes) == (0, _COUNT * len(_FRAME)),
        per=_COUNT,
        each="offer",
    )


def case_flush(measure: Measure) -> None:
    """A client that reads on: what waits is joined."""
    open_again = False

    def send(data: bytes | memoryview) -> int:
        return len(data) if open_again else takes_nothing(data)

    def full() -> Outbox:
        nonlocal open_again
        open_again = False
        box = _offer_many(outbox(send))
        open_again = True
        return box

    def flush(box: Outbox) -> Outbox:
        box.flush()
        return box

    measure.fresh(
        f"flush of {_COUNT:,} frames of 130 B that waited",
        full,
        flush,
        verify=lambda box: (box.bytes_sent, box.pending_bytes) == (_COUNT * len(_FRAME), 0),
        per=_COUNT,
        each="frame",
    )


def case_overflow(measure: Measure) -> None:
    """The frame too much: all is dropped and the close frame stands in its place."""

    def full() -> Outbox:
        box = outbox(takes_nothing, limit=_COUNT * len(_FRAME))
        while box.pending_bytes + len(_FRAME) + 127 <= _COUNT * len(_FRAME):
            box.offer(_FRAME)
        return box

    def offer(box: Outbox) -> Outbox:
        box.offer(_FRAME)
        return box

    measure.fresh(
        "the offer that is too much",
        full,
        offer,
        verify=lambda box: box.sealed and box.pending_bytes <= 127,
    )
