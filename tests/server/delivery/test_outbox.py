"""The outbox, one promise at a time."""

import pytest
from support.fakes import Calls, Kernel, split_frames

from tidings.protocol.close_codes import REASONS, CloseCode
from tidings.protocol.frames import Opcode, build_close, build_frame
from tidings.server.delivery.outbox import JOIN_BYTES, Outbox

SLOW_CONSUMER = build_close(CloseCode.SLOW_CONSUMER, REASONS[CloseCode.SLOW_CONSUMER])
GOING_AWAY = build_close(CloseCode.GOING_AWAY)
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
LIMIT = 2_000


def frame(size: int, letter: bytes = b"x") -> bytes:
    """A frame of `size` bytes in all, 2 to 127 or 130 and more."""
    data = build_frame(Opcode.TEXT, letter * (size - (2 if size <= 127 else 4)))
    assert len(data) == size
    return data


class Rig:
    """An outbox over a scripted kernel, and what it reported."""

    def __init__(self, room: int | None = None, *, limit: int = LIMIT, inline: bool = True) -> None:
        self.kernel = Kernel(room)
        self.overflows = Calls()
        self.breaks = Calls()
        self.outbox = Outbox(
            limit,
            send=self.kernel.send if inline else None,
            on_overflow=self.overflows,
            on_broken=self.breaks,
        )

    @property
    def received(self) -> bytes:
        """What the peer has got."""
        return bytes(self.kernel.received)

    def read_all(self) -> bytes:
        """Let the peer read everything."""
        self.kernel.room = None
        self.outbox.flush()
        return self.received


def test_an_offer_to_an_idle_outbox_leaves_at_once() -> None:
    """What is offered to an empty outbox is with the kernel when `offer` returns, in one call."""
    rig = Rig()
    rig.outbox.offer(frame(100))
    rig.outbox.offer(frame(50))
    assert rig.received == frame(100) + frame(50)
    assert rig.kernel.calls == 2
    assert rig.outbox.pending_bytes == 0
    assert rig.outbox.bytes_sent == 150


def test_without_inline_sends_everything_waits_for_the_write_task() -> None:
    """An outbox without a `send` sends nothing by itself, and hands everything out in order."""
    rig = Rig(inline=False)
    rig.outbox.offer(frame(100, b"a"))
    rig.outbox.offer(frame(50, b"b"))
    assert rig.kernel.calls == 0
    assert rig.outbox.pending_bytes == 150
    assert rig.outbox.take() == frame(100, b"a") + frame(50, b"b")
    rig.outbox.taken(150)
    assert (rig.outbox.pending_bytes, rig.outbox.bytes_sent) == (0, 150)


@pytest.mark.parametrize("room", [0, 1, 99])
def test_what_the_kernel_does_not_take_waits_and_later_offers_queue_behind(room: int) -> None:
    """After a partial or refused send nothing overtakes the rest, even when the kernel has room again."""
    rig = Rig(room)
    rig.outbox.offer(frame(100, b"a"))
    rig.kernel.room = None
    rig.outbox.offer(frame(100, b"b"))
    assert rig.outbox.pending_bytes == 200 - room
    assert rig.received == frame(100, b"a")[:room]
    assert rig.read_all() == frame(100, b"a") + frame(100, b"b")
    assert rig.outbox.bytes_sent == 200


def test_a_drained_outbox_sends_inline_again() -> None:
    """Once everything has left, the next offer goes straight to the kernel."""
    rig = Rig(10)
    rig.outbox.offer(frame(100))
    rig.read_all()
    rig.outbox.offer(frame(50))
    assert rig.received == frame(100) + frame(50)


def test_flush_takes_no_more_calls_than_the_kernel_makes_it() -> None:
    """What waits is joined: a hundred small frames leave in one send, and a full kernel is asked once."""
    rig = Rig(0, limit=100_000)
    for _ in range(100):
        rig.outbox.offer(frame(100))
    rig.kernel.calls = 0
    rig.outbox.flush()
    assert rig.kernel.calls == 1
    rig.read_all()
    assert rig.kernel.calls == 2


def test_a_broken_connection_is_reported_once_and_takes_nothing_more() -> None:
    """A send that fails drops what waits, says so once, and never raises into the producer."""
    rig = Rig()
    rig.kernel.error = ConnectionResetError()
    rig.outbox.offer(frame(100))
    rig.kernel.error = None
    rig.outbox.offer(frame(100))
    rig.outbox.seal(GOING_AWAY)
    assert (rig.received, rig.breaks.count, rig.outbox.pending_bytes) == (b"", 1, 0)
    assert rig.outbox.sealed


def test_a_connection_that_breaks_while_it_is_flushed_is_reported_once() -> None:
    """The same holds when the failure is met by the write task."""
    rig = Rig(5)
    rig.outbox.offer(frame(100))
    rig.kernel.error = BrokenPipeError()
    rig.outbox.flush()
    rig.outbox.flush()
    assert (rig.breaks.count, rig.outbox.pending_bytes, rig.overflows.count) == (1, 0, 0)
    assert rig.outbox.bytes_sent == 5


@pytest.mark.parametrize("inline", [True, False])
def test_the_cap_is_met_exactly(inline: bool) -> None:
    """With room kept for the close frame, the queue takes the limit less 127 bytes, and not one more."""
    rig = Rig(0, inline=inline)
    for _ in range(LIMIT - 127 - 130):
        rig.outbox.offer(b"\x89")  # any bytes do: a queue does not look into them
    rig.outbox.offer(frame(130))
    assert (rig.outbox.pending_bytes, rig.overflows.count) == (LIMIT - 127, 0)
    rig.outbox.offer(b"\x89")
    assert (rig.outbox.pending_bytes, rig.overflows.count) == (len(SLOW_CONSUMER), 1)


def test_the_last_frame_fits_even_into_a_full_queue() -> None:
    """A close frame of the greatest length still keeps within the limit."""
    rig = Rig(0)
    rig.outbox.offer(frame(LIMIT - 127))
    longest = build_close(CloseCode.GOING_AWAY, "x" * 123)
    rig.outbox.seal(longest)
    assert (rig.outbox.pending_bytes, rig.overflows.count) == (LIMIT, 0)
    assert rig.read_all() == frame(LIMIT - 127) + longest


def test_overflow_with_nothing_begun_leaves_only_the_close() -> None:
    """A peer that has read whole frames and nothing of the queue gets 3008 next, and no queued frame."""
    rig = Rig(300)
    rig.outbox.offer(frame(300, b"a"))
    for _ in range(20):
        rig.outbox.offer(frame(100, b"b"))
    assert rig.overflows.count == 1
    assert rig.read_all() == frame(300, b"a") + SLOW_CONSUMER


def test_overflow_finishes_the_frame_that_has_begun() -> None:
    """The peer never sees half a frame: the one begun is finished, those behind it are dropped."""
    rig = Rig(10)
    rig.outbox.offer(frame(300, b"a"))
    for _ in range(20):
        rig.outbox.offer(frame(100, b"b"))
    assert rig.overflows.count == 1
    assert rig.outbox.pending_bytes == 290 + len(SLOW_CONSUMER)
    assert rig.read_all() == frame(300, b"a") + SLOW_CONSUMER


@pytest.mark.parametrize(("sent", "whole"), [(100, 1), (101, 2), (199, 2), (200, 2), (250, 3)])
def test_overflow_cuts_joined_frames_between_two_of_them(sent: int, whole: int) -> None:
    """Of frames that were joined into one offer, only the one begun is finished."""
    rig = Rig(sent)
    rig.outbox.offer(b"".join(frame(100, b"%d" % number) for number in range(10)))
    for _ in range(20):
        rig.outbox.offer(frame(100))
    kept = b"".join(frame(100, b"%d" % number) for number in range(whole))
    assert rig.read_all() == kept + SLOW_CONSUMER
    assert rig.outbox.bytes_sent == len(kept) + len(SLOW_CONSUMER)


@pytest.mark.parametrize(("room", "whole"), [(0, 0), (1, 1), (150, 2), (1_000, 10)])
def test_one_offer_over_the_limit_overflows_in_the_offer_itself(room: int, whole: int) -> None:
    """A joined run longer than the limit, half taken by the kernel, is cut behind the frame begun."""
    rig = Rig(room)
    rig.outbox.offer(b"".join(frame(100) for _ in range(40)))
    assert rig.overflows.count == 1
    assert rig.outbox.pending_bytes <= LIMIT
    assert rig.read_all() == frame(100) * whole + SLOW_CONSUMER


def test_a_frame_longer_than_the_limit_is_still_finished_once_begun() -> None:
    """The one case above the cap: half a frame would be worse, so a frame begun is sent to its end."""
    rig = Rig(10)
    rig.outbox.offer(frame(3_000))
    assert rig.overflows.count == 1
    assert rig.read_all() == frame(3_000) + SLOW_CONSUMER


def test_nothing_is_taken_after_an_overflow() -> None:
    """After 3008 offers are dropped and a second close is not sent, however the kernel fares."""
    rig = Rig(0)
    for _ in range(30):
        rig.outbox.offer(frame(100))
    rig.outbox.seal(GOING_AWAY)
    assert rig.read_all() == SLOW_CONSUMER
    rig.outbox.offer(frame(100))
    rig.outbox.seal(GOING_AWAY)
    assert rig.read_all() == SLOW_CONSUMER
    assert rig.overflows.count == 1


def test_overflow_keeps_what_the_write_task_has_in_hand() -> None:
    """Bytes that were taken and are on their way stay counted; the queue behind them is dropped."""
    rig = Rig(inline=False)
    rig.outbox.offer(frame(100, b"a"))
    rig.outbox.offer(frame(100, b"b"))
    piece = bytes(rig.outbox.take())
    for _ in range(20):
        rig.outbox.offer(frame(100, b"c"))
    assert rig.overflows.count == 1
    assert rig.outbox.pending_bytes == 200 + len(SLOW_CONSUMER)
    rig.outbox.taken(len(piece))
    assert piece + bytes(rig.outbox.take()) == frame(100, b"a") + frame(100, b"b") + SLOW_CONSUMER


def test_overflow_finishes_a_long_frame_of_which_a_slice_is_in_hand() -> None:
    """A frame over JOIN_BYTES leaves in slices; an overflow between two of them does not cut it."""
    rig = Rig(limit=4 * JOIN_BYTES, inline=False)
    long = build_frame(Opcode.TEXT, b"a" * (2 * JOIN_BYTES))
    rig.outbox.offer(long)
    received = bytes(rig.outbox.take())
    assert len(received) == JOIN_BYTES
    for _ in range(3):
        rig.outbox.offer(frame(60_000))
    rig.outbox.taken(len(received))
    assert rig.overflows.count == 1
    while rig.outbox.pending_bytes:
        piece = bytes(rig.outbox.take())
        assert len(piece) <= JOIN_BYTES
        received += piece
        rig.outbox.taken(len(piece))
    assert received == long + SLOW_CONSUMER


@pytest.mark.parametrize("room", [1, len(HEAD) - 1, len(HEAD), len(HEAD) + 50])
def test_the_handshake_answer_is_never_cut(room: int) -> None:
    """However early the peer stops reading, it gets the whole 101 and then whole frames only."""
    rig = Rig(0)
    rig.outbox.offer(HEAD)
    rig.outbox.offer(frame(100))
    rig.kernel.room = room
    rig.outbox.flush()
    for _ in range(30):
        rig.outbox.offer(frame(100))
    received = rig.read_all()
    assert received.startswith(HEAD)
    frames = split_frames(received.removeprefix(HEAD))
    assert frames[-1] == SLOW_CONSUMER
    assert set(frames[:-1]) <= {frame(100)}


@pytest.mark.parametrize("room", [None, 10])
def test_the_seal_is_the_last_frame(room: int | None) -> None:
    """The first seal leaves behind everything that waits; what comes later is dropped."""
    rig = Rig(room)
    rig.outbox.offer(frame(100))
    rig.outbox.seal(GOING_AWAY)
    rig.outbox.offer(frame(100))
    rig.outbox.seal(SLOW_CONSUMER)
    assert rig.read_all() == frame(100) + GOING_AWAY
    rig.outbox.offer(frame(100))
    assert rig.read_all() == frame(100) + GOING_AWAY
    assert (rig.outbox.sealed, rig.overflows.count) == (True, 0)


def test_discard_forgets_what_is_in_hand() -> None:
    """After a discard between `take` and `taken`, nothing waits and nothing is counted as waiting."""
    rig = Rig(inline=False)
    rig.outbox.offer(frame(100))
    piece = rig.outbox.take()
    rig.outbox.discard()
    rig.outbox.taken(len(piece))
    rig.outbox.offer(frame(100))
    rig.outbox.seal(GOING_AWAY)
    assert (rig.outbox.pending_bytes, rig.outbox.sealed) == (0, True)


def test_what_is_held_leaves_as_one_piece() -> None:
    """Held offers reach the kernel in one call on release, in order; afterwards offers leave at once again."""
    rig = Rig()
    rig.outbox.hold()
    rig.outbox.offer(HEAD)
    rig.outbox.offer(frame(100))
    assert (rig.received, rig.outbox.pending_bytes) == (b"", len(HEAD) + 100)
    rig.outbox.release()
    assert (rig.received, rig.kernel.calls) == (HEAD + frame(100), 1)
    rig.outbox.offer(frame(50))
    assert (rig.outbox.pending_bytes, rig.kernel.calls) == (0, 2)


def test_a_release_of_nothing_lets_offers_leave_at_once() -> None:
    """Whoever held and offered nothing, or was served by the write task meanwhile, is as before."""
    rig = Rig()
    rig.outbox.hold()
    rig.outbox.offer(frame(100))
    rig.outbox.flush()
    rig.outbox.hold()
    rig.outbox.release()
    rig.outbox.offer(frame(50))
    assert rig.received == frame(100) + frame(50)
    assert rig.outbox.pending_bytes == 0


def test_a_release_loses_nothing_where_the_kernel_is_full() -> None:
    """What the kernel does not take on release waits for the write task, and so does what is offered next."""
    rig = Rig(room=150)
    rig.outbox.hold()
    rig.outbox.offer(HEAD)
    rig.outbox.offer(frame(100))
    rig.outbox.release()
    rig.outbox.offer(frame(50))
    assert rig.outbox.pending_bytes == len(HEAD) + 150 - 150
    assert rig.read_all() == HEAD + frame(100) + frame(50)


def test_a_release_does_not_send_where_only_the_write_task_may() -> None:
    """Without inline sends, and behind a last frame, releasing changes nothing."""
    rig = Rig(inline=False)
    rig.outbox.hold()
    rig.outbox.offer(frame(100))
    rig.outbox.release()
    assert (rig.kernel.calls, rig.outbox.pending_bytes) == (0, 100)
    sealed = Rig()
    sealed.outbox.hold()
    sealed.outbox.seal(GOING_AWAY)
    sealed.outbox.release()
    sealed.outbox.offer(frame(50))
    assert sealed.read_all() == GOING_AWAY
