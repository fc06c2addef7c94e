"""The outbox against a model: any operations, any kernel, and the peer still reads whole frames in order."""

from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fakes import Calls, Kernel, run_now

from tidings.protocol.close_codes import REASONS, CloseCode
from tidings.protocol.frames import Opcode, build_close, build_frame
from tidings.server.delivery import outbox as outbox_module
from tidings.server.delivery.outbox import Outbox

LIMIT = 2_000
CLOSE_ROOM = 127
JOIN = 256
HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
SLOW_CONSUMER = build_close(CloseCode.SLOW_CONSUMER, REASONS[CloseCode.SLOW_CONSUMER])

Step = tuple[str, list[int] | int | None]

SOME = st.lists(st.integers(0, 20) | st.integers(100, 140) | st.integers(200, 600), min_size=1, max_size=8)
MANY = st.lists(st.integers(300, 600), min_size=4, max_size=8)
ROOM = st.integers(0, 50) | st.integers(0, 700)

OFFERS = st.tuples(st.just("offer"), SOME | MANY)
ROOMS = st.tuples(st.just("room"), ROOM)
WORK = st.tuples(st.just("work"), st.none())
AFTER = st.lists(OFFERS | ROOMS | WORK, max_size=5)
BEFORE = AFTER | st.lists(OFFERS | ROOMS | WORK, min_size=6, max_size=30)
# At most one of these, for little of interest can follow.
ENDING: st.SearchStrategy[Step] = st.sampled_from(
    [("seal", 0), ("seal", 123), ("break", None), ("discard", None), ("room", None)]
)


class Model:
    """`units` is what the peer must get in the end: the head, and whole frames.

    `out` is what has been handed over: to the kernel, or to a stream that is still busy with `in_hand`.
    """

    def __init__(self, *, inline: bool, head: bool, room: int) -> None:
        self.inline = inline
        self.head = head
        self.kernel = Kernel(room)
        self.overflows = Calls()
        self.breaks = Calls()
        self.outbox = Outbox(
            LIMIT,
            send=self.kernel.send if inline else None,
            on_overflow=self.overflows,
            on_broken=self.breaks,
        )
        self.units: list[bytes] = []
        self.out = self.kernel.received if inline else bytearray()
        self.in_hand = 0
        self.dropped = self.overflowed = self.broken = False
        self.number = 0
        if head:
            self.offer_units([HEAD])

    def play(self, steps: list[Step]) -> None:
        for step, argument in steps:
            if isinstance(argument, list):
                self.offer_units([self.frame(size) for size in argument])
            elif step == "room":
                self.kernel.room = argument
            elif step == "work":
                self.work()
            elif step == "seal":
                self.seal(build_close(CloseCode.GOING_AWAY, "r" * (argument or 0)))
            elif step == "break":
                self.kernel.error = ConnectionResetError()
            else:
                self.outbox.discard()
                self.dropped = True
            self.check()

    def frame(self, size: int) -> bytes:
        """A frame unlike all others."""
        self.number += 1
        return build_frame(Opcode.BINARY, (b"%d," % self.number * size)[:size])

    # --- the producer --------------------------------------------------------------------------------

    @property
    def would_break(self) -> bool:
        return self.inline and self.kernel.error is not None

    def offer_units(self, units: list[bytes]) -> None:
        sealed, breaks = self.outbox.sealed, self.would_break and not self.outbox.pending_bytes
        waiting, gone = self.outbox.pending_bytes, len(self.out)
        data = b"".join(units)
        self.outbox.offer(data)
        if sealed:
            return
        if breaks:
            self.dropped = self.broken = True
            return
        self.units += units
        if waiting + len(data) - (len(self.out) - gone) > LIMIT - CLOSE_ROOM:
            self.overflowed = True
            self.cut()

    def cut(self) -> None:
        """What an overflow must leave: the frames begun, and 3008."""
        ends = [0, *accumulate(map(len, self.units))]
        kept = next(at for at, end in enumerate(ends) if end >= len(self.out))
        if self.head and 0 < len(self.out) < len(HEAD) + JOIN:
            # What was joined with the handshake answer may stay with it, up to one joined piece.
            total = len(self.out) - self.in_hand + self.outbox.pending_bytes - len(SLOW_CONSUMER)
            assert total in [end for end in ends[kept:] if end <= max(ends[kept], JOIN)]
            kept = ends.index(total)
        self.units[kept:] = [SLOW_CONSUMER]

    def seal(self, last: bytes) -> None:
        sealed, breaks = self.outbox.sealed, self.would_break and not self.outbox.pending_bytes
        self.outbox.seal(last)
        assert self.outbox.sealed
        if sealed:
            return
        if breaks:
            self.dropped = self.broken = True
        else:
            self.units.append(last)

    # --- the write task ------------------------------------------------------------------------------

    def work(self) -> None:
        """One step of it: a flush; or a piece given to the stream, which is then busy; or its end."""
        if self.inline:
            if self.outbox.pending_bytes and self.would_break:
                self.dropped = self.broken = True
            self.outbox.flush()
        elif self.in_hand:
            sent, self.in_hand = self.in_hand, 0
            self.outbox.taken(sent)
        elif self.outbox.pending_bytes:
            piece = bytes(self.outbox.take())
            assert 0 < len(piece) <= JOIN
            self.out += piece
            self.in_hand = len(piece)

    def finish(self) -> None:
        """A peer that reads to the end gets everything, unless the connection was dropped."""
        self.kernel.room = None
        for _ in range(2 * LIMIT):
            if not (self.outbox.pending_bytes or self.in_hand):
                break
            self.work()
            self.check()
        assert not self.outbox.pending_bytes, "the write task gets to the end"
        if not self.dropped:
            assert bytes(self.out) == b"".join(self.units)

    # --- what holds always ---------------------------------------------------------------------------

    def check(self) -> None:
        expected = b"".join(self.units)
        assert expected.startswith(self.out), "the peer reads what was offered, in order, cut nowhere"
        assert self.outbox.pending_bytes <= LIMIT
        gone = len(self.out) - self.in_hand
        if self.dropped:
            assert self.outbox.pending_bytes == 0
        else:
            assert self.outbox.pending_bytes == len(expected) - gone
            assert self.outbox.bytes_sent == gone
        assert self.overflows.count == self.overflowed
        assert self.breaks.count == self.broken
        if self.outbox.pending_bytes or self.outbox.sealed:
            assert run_now(self.outbox.wait_pending()) is bool(self.outbox.pending_bytes)


@pytest.mark.parametrize("inline", [True, False])
def test_any_operations_leave_a_run_of_whole_frames(inline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over any kernel and any interleaving the outbox keeps order, frames, cap and counts as its model does."""
    monkeypatch.setattr(outbox_module, "JOIN_BYTES", JOIN)

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(head=st.booleans(), room=ROOM, before=BEFORE, ending=ENDING, after=AFTER)
    def run(head: bool, room: int, before: list[Step], ending: Step, after: list[Step]) -> None:
        model = Model(inline=inline, head=head, room=room)
        model.play([*before, ending, *after])
        model.finish()

    run()
