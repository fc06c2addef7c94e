"""A bad line is exactly as bad as was asked for, and otherwise a stream like any other."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tidings.server.testing.faults import Faults, FaultyStream

DATA = bytes(range(200))


def line(
    *, sending: Faults | None = None, receiving: Faults | None = None, seed: int = 0
) -> tuple[FaultyStream, trio.abc.HalfCloseableStream]:
    """A faulty stream over memory, and its sound other end."""
    near, far = trio.testing.memory_stream_pair()
    return FaultyStream(near, sending=sending, receiving=receiving, seed=seed), far


async def pieces_of(stream: trio.abc.ReceiveStream) -> list[tuple[float, bytes]]:
    """Every piece until the end, with the time at which it came."""
    pieces = []
    start = trio.current_time()
    while data := await stream.receive_some():
        pieces.append((round(trio.current_time() - start, 6), bytes(data)))
    return pieces


async def test_without_faults_it_keeps_the_contract_of_a_stream() -> None:
    """Trio's own suite for half-closeable streams: closing, cancelling, clogging, and two tasks at once."""

    async def wrapped(pair: tuple[trio.abc.HalfCloseableStream, ...]) -> tuple[FaultyStream, FaultyStream]:
        return FaultyStream(pair[0]), FaultyStream(pair[1])

    await trio.testing.check_half_closeable_stream(
        lambda: wrapped(trio.testing.memory_stream_pair()),
        lambda: wrapped(trio.testing.lockstep_stream_pair()),
    )


# An example is a loop of its own, with hundreds of turns.
@settings(max_examples=30)
@given(
    chop=st.one_of(st.none(), st.integers(1, 300), st.just((1, 7))),
    rate=st.one_of(st.none(), st.floats(0.5, 10_000)),
    delay=st.floats(0, 1000),
    jitter=st.floats(0, 1000),
    asked=st.one_of(st.none(), st.integers(1, 300)),
)
async def test_what_is_late_or_chopped_arrives_whole(
    chop: int | tuple[int, int] | None, rate: float | None, delay: float, jitter: float, asked: int | None
) -> None:
    """Delay, jitter, rate and chopping never lose, repeat or reorder a byte, in either direction."""

    async def both_ways() -> None:
        faults = Faults(chop=chop, rate=rate, delay=delay, jitter=jitter)
        near, far = line(sending=faults, receiving=faults)
        await far.send_all(DATA)
        await far.send_eof()
        arrived = b""
        while data := await near.receive_some(asked):
            assert asked is None or len(data) <= asked
            arrived += data
        assert arrived == DATA
        await near.send_all(DATA)
        await near.send_eof()
        assert b"".join([data for _, data in await pieces_of(far)]) == DATA

    # Its own clock: a fixture's would be used up by the first example.
    await trio.to_thread.run_sync(lambda: trio.run(both_ways, clock=MockClock(autojump_threshold=0)))


async def test_every_piece_is_chopped_and_late(autojump_clock: MockClock) -> None:
    """`chop` bounds each piece; `delay` is each piece's own, one after another."""
    near, far = line(receiving=Faults(chop=80, delay=2))
    await far.send_all(DATA)
    await far.send_eof()
    assert await pieces_of(near) == [(2, DATA[:80]), (4, DATA[80:160]), (6, DATA[160:])]


async def test_a_capped_rate_is_kept_in_both_directions(autojump_clock: MockClock) -> None:
    """So many bytes take so long, however they are asked for."""
    near, far = line(sending=Faults(rate=100), receiving=Faults(rate=50))
    start = trio.current_time()
    await near.send_all(DATA)
    # The last piece leaves when the one before it is through.
    assert trio.current_time() - start == pytest.approx(2, abs=0.1)
    await far.send_all(DATA)
    await far.send_eof()
    assert (await pieces_of(near))[-1][0] == pytest.approx(4, abs=0.1)


async def test_the_same_seed_gives_the_same_line(autojump_clock: MockClock) -> None:
    """Chance is repeatable: a failure found once can be looked at again; another seed is another line."""

    async def flow(seed: int) -> list[tuple[float, bytes]]:
        near, far = line(receiving=Faults(chop=(1, 50), jitter=3), seed=seed)
        await far.send_all(DATA)
        await far.send_eof()
        return await pieces_of(near)

    assert await flow(1) == await flow(1)
    assert await flow(1) != await flow(2)


async def test_a_corrupted_byte_is_the_one_asked_for() -> None:
    """Counted over the whole flow, whatever the pieces; every other byte arrives as it was."""
    near, far = line(sending=Faults(corrupt={0, 130}, chop=64), receiving=Faults(corrupt={199}))
    await near.send_all(DATA)
    await near.send_eof()
    arrived = b"".join([data for _, data in await pieces_of(far)])
    assert {at for at in range(200) if arrived[at] != DATA[at]} == {0, 130}
    assert arrived[130] == 130 ^ 0xFF
    await far.send_all(DATA)
    assert await near.receive_some() == DATA[:199] + bytes([199 ^ 0xFF])


async def test_a_stall_holds_both_ends_until_it_is_released(autojump_clock: MockClock) -> None:
    """Nothing passes meanwhile, not even what was under way; afterwards nothing is missing."""
    near, far = line(receiving=Faults(delay=1))
    log = []

    async def receive() -> None:
        log.append(await near.receive_some())

    async def send() -> None:
        await near.send_all(b"out")
        log.append(b"sent")

    async with trio.open_nursery() as nursery:
        await far.send_all(b"in")
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()  # read from below, and late
        near.stall()
        nursery.start_soon(send)
        await trio.sleep(1000)
        assert log == []
        near.release()
    assert sorted(log) == [b"in", b"sent"]
    assert await far.receive_some() == b"out"


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_it_drops_after_so_many_bytes_sent(how: str) -> None:
    """Exactly those arrive; the sender is told, and the receiver sees the end."""
    near, far = line(sending=Faults(drop_after=130, drop=how, chop=100))  # type: ignore[arg-type]  # a parameter
    with pytest.raises(trio.BrokenResourceError, match=how):
        await near.send_all(DATA)
    assert b"".join([data for _, data in await pieces_of(far)]) == DATA[:130]
    assert near.ending == how


@pytest.mark.parametrize("after", [0, 130])
async def test_it_drops_after_so_many_bytes_received(after: int) -> None:
    """Those still arrive; then there is an end, or a break, for both directions."""
    for how in ("close", "reset"):
        near, far = line(receiving=Faults(drop_after=after, drop=how))
        await far.send_all(DATA)
        if after:
            assert await near.receive_some() == DATA[:after]
        if how == "close":
            assert await near.receive_some() == b""
        else:
            with pytest.raises(trio.BrokenResourceError):
                await near.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await near.send_all(b"more")
        with pytest.raises(trio.BrokenResourceError):
            await far.send_all(b"more")


@pytest.mark.parametrize("stuck", ["stalled", "late", "below"])
@pytest.mark.parametrize("how", ["close", "reset", "aclose"])
async def test_cutting_it_wakes_whoever_waits(how: str, stuck: str, autojump_clock: MockClock) -> None:
    """A task that is stuck in a stall, in a delay or in the stream below learns of the end at once."""
    inner, _far = trio.testing.lockstep_stream_pair()
    faults = Faults(delay=1000) if stuck == "late" else Faults()
    near = FaultyStream(inner, sending=faults, receiving=faults)
    if stuck == "stalled":
        near.stall()
    ends: list[tuple[str, object]] = []

    async def send() -> None:
        try:
            await near.send_all(b"x" * 100)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            ends.append(("send", type(error)))

    async def receive() -> None:
        try:
            ends.append(("receive", await near.receive_some()))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            ends.append(("receive", type(error)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await {"close": near.drop, "reset": near.reset, "aclose": near.aclose}[how]()
    assert trio.current_time() < 1000
    gone = trio.ClosedResourceError if how == "aclose" else trio.BrokenResourceError
    assert dict(ends) == {"send": gone, "receive": b"" if how == "close" else gone}


async def test_a_cancelled_receive_loses_nothing_and_gets_on(autojump_clock: MockClock) -> None:
    """Who polls with a deadline shorter than the delay gets the bytes in the end, all of them."""
    near, far = line(receiving=Faults(delay=10))
    await far.send_all(DATA)
    polls = 0
    data = b""
    while not data:
        polls += 1
        with trio.move_on_after(3):
            data = await near.receive_some()
    assert (polls, data) == (4, DATA)


async def test_a_plan_may_change_on_the_way() -> None:
    """What is assigned to a living line counts from the next piece on."""
    near, far = line()
    await far.send_all(DATA)
    assert await near.receive_some(10) == DATA[:10]
    near.receiving.chop = 3
    assert await near.receive_some() == DATA[10:13]
    near.receiving.drop_after = 14
    assert await near.receive_some() == DATA[13:14]
    assert await near.receive_some() == b""


@pytest.mark.parametrize("wrong", [{"chop": 0}, {"chop": (0, 3)}, {"rate": 0}])
def test_a_plan_that_would_never_pass_anything_is_refused(wrong: dict[str, int]) -> None:
    """A rate of 0 is a stall, and has a name."""
    with pytest.raises(ValueError, match=r"stall\(\)"):
        Faults(**wrong)  # type: ignore[arg-type]  # a parameter
