"""The outbox and the write tasks that drain it: over trio streams, and over the kernel's own buffers."""

import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import Calls, Kernel, frame_payload, split_frames

from tidings.protocol.close_codes import REASONS, CloseCode
from tidings.protocol.frames import Opcode, build_close, build_frame
from tidings.server.delivery.outbox import Outbox
from tidings.server.edge.transport import SocketTransport, StreamTransport

GOING_AWAY = build_close(CloseCode.GOING_AWAY)
SLOW_CONSUMER = build_close(CloseCode.SLOW_CONSUMER, REASONS[CloseCode.SLOW_CONSUMER])


def make_outbox(limit: int = 100_000, *, kernel: Kernel | None = None) -> tuple[Outbox, Calls]:
    overflows = Calls()
    send = kernel.send if kernel else None
    return Outbox(limit, send=send, on_overflow=overflows, on_broken=Calls()), overflows


async def test_the_write_task_sleeps_until_something_waits() -> None:
    """`wait_pending` wakes for the first byte, and ends when the last frame has gone out."""
    outbox, _ = make_outbox()
    seen: list[bytes] = []

    async def drain() -> None:
        while await outbox.wait_pending():
            piece = bytes(outbox.take())
            seen.append(piece)
            outbox.taken(len(piece))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []
        outbox.offer(build_frame(Opcode.TEXT, b"a"))
        outbox.offer(build_frame(Opcode.TEXT, b"b"))
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [build_frame(Opcode.TEXT, b"a") + build_frame(Opcode.TEXT, b"b")]
        outbox.seal(GOING_AWAY)
        await trio.testing.wait_all_tasks_blocked()
        assert seen[1:] == [GOING_AWAY]
        assert not nursery.child_tasks, "the write task has ended by itself"


@pytest.mark.parametrize("end", ["seal", "discard", "break"])
async def test_the_write_task_ends_when_an_inline_send_was_the_last(end: str) -> None:
    """A write task that sleeps wakes up to end, though nothing ever waited for it."""
    kernel = Kernel()
    outbox, _ = make_outbox(kernel=kernel)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.wait_pending)
        await trio.testing.wait_all_tasks_blocked()
        if end == "seal":
            outbox.seal(GOING_AWAY)
        elif end == "discard":
            outbox.discard()
        else:
            kernel.error = ConnectionResetError()
            outbox.offer(GOING_AWAY)
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
    assert await outbox.wait_pending() is False


async def test_a_cancelled_wait_loses_nothing() -> None:
    """The wait may be cancelled and begun again: what was offered meanwhile is there."""
    outbox, _ = make_outbox()
    with trio.CancelScope() as scope:
        scope.cancel()
        await outbox.wait_pending()
    assert scope.cancelled_caught
    outbox.offer(build_frame(Opcode.TEXT, b"a"))
    assert await outbox.wait_pending() is True


STEPS = st.lists(
    st.tuples(st.just("offer"), st.integers(0, 300) | st.just(70_000))
    | st.tuples(st.just("read"), st.integers(1, 100_000))
    | st.tuples(st.just("pass"), st.just(0)),
    max_size=25,
)


@settings(max_examples=60)
@given(steps=STEPS, limit=st.sampled_from([1_000, 150_000, 1_000_000]))
async def test_the_stream_write_task_never_hangs_and_cuts_no_frame(
    steps: list[tuple[str, int]], limit: int
) -> None:
    """Over a stream that takes only what the peer reads, the peer gets whole frames in order, then the close."""
    near, far = trio.testing.lockstep_stream_pair()
    outbox, overflows = make_outbox(limit)
    received = bytearray()
    offered: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(StreamTransport(near).pump, outbox)
        for step, size in steps:
            if step == "offer":
                frame = build_frame(Opcode.BINARY, b"%d:" % len(offered) + b"x" * size)
                if not outbox.sealed:
                    offered.append(frame)
                outbox.offer(frame)
            elif step == "read" and outbox.pending_bytes:
                received += await far.receive_some(size)
            await trio.testing.wait_all_tasks_blocked()
            assert outbox.pending_bytes <= limit
        outbox.seal(GOING_AWAY)
        while outbox.pending_bytes:
            received += await far.receive_some()
            await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks, "the write task has ended by itself"
    frames = split_frames(bytes(received))
    assert frames.pop() == (SLOW_CONSUMER if overflows.count else GOING_AWAY)
    assert frames == offered[: len(frames)]
    assert overflows.count or frames == offered
    assert overflows.count <= 1
    assert outbox.bytes_sent == len(received)


async def test_a_stream_that_breaks_ends_the_write_task() -> None:
    """When the peer is gone the write task drops what waits and ends without raising."""
    near, far = trio.testing.lockstep_stream_pair()
    outbox, _ = make_outbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(StreamTransport(near).pump, outbox)
        outbox.offer(build_frame(Opcode.TEXT, b"a"))
        await trio.testing.wait_all_tasks_blocked()
        await far.aclose()
    assert (outbox.pending_bytes, outbox.sealed) == (0, True)


@pytest.fixture
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection with small buffers; the first, the server's, does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.connect(listener.getsockname())
            server, _ = listener.accept()
            with server:
                server.setblocking(False)
                yield server, client


async def test_a_peer_that_resumes_reads_whole_frames_then_3008(
    tcp_pair: tuple[socket.socket, socket.socket],
) -> None:
    """A peer that stops reading and comes back gets an unbroken run from the first frame on, then 3008."""
    server, client = tcp_pair
    transport = SocketTransport(server)
    overflows = Calls()
    outbox = Outbox(64_000, send=transport.send_nowait, on_overflow=overflows, on_broken=Calls())
    number = 0
    while not overflows.count:
        # Odd sizes, so that the kernel stops in the middle of a frame.
        outbox.offer(build_frame(Opcode.TEXT, b"%d:" % number + b"x" * 3001))
        number += 1
        assert outbox.pending_bytes <= 64_000
    outbox.offer(build_frame(Opcode.TEXT, b"too late"))
    received = bytearray()

    async def read() -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(client.dup()))
        async with stream:
            async for data in stream:
                received.extend(data)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await transport.pump(outbox)
            await transport.close()
    frames = split_frames(bytes(received))
    assert frames.pop() == SLOW_CONSUMER
    assert [int(frame_payload(frame).partition(b":")[0]) for frame in frames] == list(range(len(frames)))
    assert 0 < len(frames) < number
    assert outbox.bytes_sent == len(received)


async def test_nothing_is_lost_on_a_slow_but_living_peer(
    tcp_pair: tuple[socket.socket, socket.socket],
) -> None:
    """Below the limit every frame arrives, in order, however often the kernel's buffer is full."""
    server, client = tcp_pair
    transport = SocketTransport(server)
    outbox = Outbox(1_000_000, send=transport.send_nowait, on_overflow=Calls(), on_broken=Calls())
    offered = b"".join(build_frame(Opcode.TEXT, b"%d:" % number + b"x" * 997) for number in range(500))
    for frame in split_frames(offered):
        outbox.offer(frame)
    outbox.seal(GOING_AWAY)
    assert outbox.pending_bytes, "the kernel's buffers are smaller than this"
    received = bytearray()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.pump, outbox)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(client.dup()))
            async with stream:
                while len(received) < len(offered) + len(GOING_AWAY):
                    received += await stream.receive_some(1000)
    assert bytes(received) == offered + GOING_AWAY
    assert not outbox.pending_bytes
