"""The outbox against a model: any operations, any kernel, and the peer still reads whole frames in order."""

from itertools import accumulate

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
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

PAYLOADS = st.lists(
    st.integers(0, 20) | st.integers(100, 140) | st.integers(200, 600), min_size=1, max_size=8
)


class OutboxMachine(RuleBasedStateMachine):
    """`units` is what the peer must get in the end: the head, and whole frames.

    `out` is what has been handed over: to the kernel, or to a stream that is still busy with `in_hand`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.units: list[bytes] = []
        self.out = bytearray()
        self.in_hand = 0
        self.dropped = False
        self.overflowed = False
        self.broken = False
        self.number = 0
        self.overflows = Calls()
        self.breaks = Calls()

    @initialize(inline=st.booleans(), head=st.booleans(), room=st.none() | st.integers(0, 300))
    def begin(self, inline: bool, head: bool, room: int | None) -> None:
        self.inline = inline
        self.kernel = Kernel(room)
        if inline:
            self.out = self.kernel.received
        self.outbox = Outbox(
            LIMIT,
            send=self.kernel.send if inline else None,
            on_overflow=self.overflows,
            on_broken=self.breaks,
        )
        self.head = head
        if head:
            self.offer_units([HEAD])

    # --- the producer --------------------------------------------------------------------------------

    @rule(sizes=PAYLOADS)
    def offer(self, sizes: list[int]) -> None:
        """A joined run of frames, each unlike all others."""
        self.offer_units([self.frame(size) for size in sizes])

    def frame(self, size: int) -> bytes:
        self.number += 1
        return build_frame(Opcode.BINARY, (b"%d," % self.number * size)[:size])

    def offer_units(self, units: list[bytes]) -> None:
        sealed = self.outbox.sealed
        waiting, gone = self.outbox.pending_bytes, len(self.out)
        breaks = self.inline and not waiting and not sealed and self.kernel.error is not None
        data = b"".join(units)
        self.outbox.offer(data)
        if sealed:
            return
        if breaks:
            self.dropped = self.broken = True
            return
        self.units += units
        over = waiting + len(data) - (len(self.out) - gone) > LIMIT - CLOSE_ROOM
        assert self.overflows.count == over
        if over:
            self.overflowed = True
            self.cut()

    def cut(self) -> None:
        """What an overflow must leave: the frames begun, and 3008."""
        ends = [0, *accumulate(map(len, self.units))]
        kept = next(at for at, end in enumerate(ends) if end >= len(self.out))
        if self.head and 0 < len(self.out) < len(HEAD) + JOIN:
            # What was joined with the handshake answer may stay with it, up to one joined piece.
            most = max(ends[kept], JOIN)
            total = len(self.out) - self.in_hand + self.outbox.pending_bytes - len(SLOW_CONSUMER)
            assert total in [end for end in ends if ends[kept] <= end <= most]
            kept = ends.index(total)
        self.units[kept:] = [SLOW_CONSUMER]

    @rule(code=st.sampled_from([1000, 1001, 3001]), reason=st.sampled_from(["", "r" * 123]))
    def seal(self, code: int, reason: str) -> None:
        last = build_close(code, reason)
        sealed = self.outbox.sealed
        breaks = self.inline and not self.outbox.pending_bytes and self.kernel.error is not None
        self.outbox.seal(last)
        assert self.outbox.sealed
        if breaks and not sealed:
            self.dropped = self.broken = True
        elif not sealed:
            self.units.append(last)

    @rule()
    def discard(self) -> None:
        self.outbox.discard()
        self.dropped = True

    # --- the kernel, with inline sends ---------------------------------------------------------------

    @precondition(lambda self: self.inline)
    @rule(room=st.none() | st.integers(0, 1_000))
    def read(self, room: int | None) -> None:
        """The peer reads: the kernel has room again."""
        self.kernel.room = room

    @precondition(lambda self: self.inline)
    @rule(error=st.sampled_from([BrokenPipeError(), ConnectionResetError(), OSError(9, "closed")]))
    def break_connection(self, error: OSError) -> None:
        self.kernel.error = error

    @precondition(lambda self: self.inline)
    @rule()
    def flush(self) -> None:
        if self.outbox.pending_bytes and self.kernel.error is not None:
            self.dropped = self.broken = True
        self.outbox.flush()

    # --- the write task, without ---------------------------------------------------------------------

    @precondition(lambda self: not self.inline and not self.in_hand and self.outbox.pending_bytes)
    @rule()
    def take(self) -> None:
        """The stream is given a piece, and is busy with it."""
        piece = bytes(self.outbox.take())
        assert 0 < len(piece) <= JOIN
        self.out += piece
        self.in_hand = len(piece)

    @precondition(lambda self: self.in_hand)
    @rule()
    def taken(self) -> None:
        """The stream has sent it."""
        sent, self.in_hand = self.in_hand, 0
        self.outbox.taken(sent)

    # --- what holds always ---------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
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

    def teardown(self) -> None:
        """A peer that reads to the end gets everything, unless the connection was dropped."""
        self.kernel.room = None
        if self.in_hand:
            self.taken()
        while self.outbox.pending_bytes:
            if self.inline:
                self.flush()
            else:
                self.take()
                self.taken()
            self.holds()
        if not self.dropped:
            assert bytes(self.out) == b"".join(self.units)


def test_any_operations_leave_a_run_of_whole_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over any kernel and any interleaving the outbox keeps order, frames, cap and counts as its model does."""
    monkeypatch.setattr(outbox_module, "JOIN_BYTES", JOIN)
    run_state_machine_as_test(
        OutboxMachine,
        settings=settings(
            max_examples=300, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
