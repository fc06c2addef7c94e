"""Every peer does the same job as all others, and comes to be where it is missing."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio

from tidings.bench import peers
from tidings.bench.options import PEERS
from tidings.bench.peers import makers
from tidings.bench.processes import Child, ChildFailed
from tidings.bench.replies import Done
from tidings.bench.wire import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    client_frame,
    close_frame,
    handshake,
    split_frames,
)
from tidings.bench.workbench import workbench

SECONDS = 60
PATIENCE = 20
BURST = 20

SEGMENT_BYTES = 1448
WINDOW_BYTES = 16384

OFFER = b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


@dataclass
class Member:
    """One client of a peer."""

    stream: trio.SocketStream
    _frames: list[Frame] = field(default_factory=list)
    _rest: bytes = b""

    async def say(self, *texts: str) -> None:
        """All of them in one write."""
        await self.stream.send_all(b"".join(client_frame(TEXT, text.encode()) for text in texts))

    async def hear(self) -> Frame:
        """The next frame; fails at the end of TCP."""
        while not self._frames:
            data = await self.stream.receive_some(65536)
            assert data, "the end of TCP"
            self._frames, self._rest = split_frames(self._rest + data)
        return self._frames.pop(0)

    async def hear_text(self) -> str:
        """The next frame, which is a text."""
        frame = await self.hear()
        assert frame.opcode == TEXT
        return frame.payload.decode()

    async def expect(self, *texts: str) -> None:
        """Exactly these, in order."""
        assert [await self.hear_text() for _ in texts] == list(texts)


@dataclass
class House:
    """A peer, and its clients."""

    child: Child
    _stack: AsyncExitStack

    async def enter(self, room: str, count: int) -> list[Member]:
        """So many in a room, all of whom hear: a server may answer a handshake before it has entered them."""
        members = [await self._enter(room) for _ in range(count)]
        for number, member in enumerate(members):
            await member.say(f"here {number}")
            while await member.hear_text() != f"here {number}":
                pass
        # Who came first has heard the later ones too: all are even when all have heard the last word.
        await members[0].say("even")
        for member in members:
            while await member.hear_text() != "even":
                pass
        return members

    async def _enter(self, room: str) -> Member:
        """One, who offered compression, and was not taken at its word."""
        sock = trio.socket.socket()
        stream = await self._stack.enter_async_context(trio.SocketStream(sock))
        # An Ethernet's segment and a small window: for loopback's the kernel would keep megabytes for who is late.
        sock.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_MAXSEG, SEGMENT_BYTES)
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, WINDOW_BYTES)
        await sock.connect(("127.0.0.1", self.child.ready.port))
        await stream.send_all(handshake(f"/{room}").removesuffix(b"\r\n\r\n") + OFFER)
        received = b""
        while b"\r\n\r\n" not in received:
            data = await stream.receive_some(65536)
            assert data, received
            received += data
        head, _, rest = received.partition(b"\r\n\r\n")
        assert b" 101 " in head.split(b"\r\n")[0]
        assert b"sec-websocket-extensions" not in head.lower()
        assert not rest
        return Member(stream)


@pytest.fixture(params=peers.NAMES)
def peer(request: pytest.FixtureRequest) -> peers.Peer:
    name = request.param
    found, missing = peers.find((name,), PEERS)
    if missing:
        pytest.skip(f"{name}: {missing[name]}")
    return found[name]


@asynccontextmanager
async def started(peer: peers.Peer) -> AsyncIterator[House]:
    with trio.fail_after(SECONDS):
        async with workbench() as bench, AsyncExitStack() as stack:
            yield House(await bench.peer("peer", peer), stack)


@pytest.mark.slow
async def test_each_does_what_all_do(peer: peers.Peer) -> None:
    """Of one process of it, which costs more than all that is asked of it: room after room, and then its end."""
    async with started(peer) as house:
        await _what_one_says_is_heard_by_its_room_alone_as_it_is(house)
        await _pings_and_closes_are_answered_and_who_leaves_is_missed_by_nobody(house)
        # A room of fifty; and more than waits for the late in the kernel.
        await _bursts_of_two_reach_all_in_one_order(house, "fifty", 50, burst=20, size=64)
        await _bursts_of_two_reach_all_in_one_order(house, "late", 10, burst=300, size=8192)
        await _each_line_is_answered_and_the_end_of_input_is_the_end(house)


async def _what_one_says_is_heard_by_its_room_alone_as_it_is(house: House) -> None:
    """By the speaker too, once; of any length; and nothing is heard in another room."""
    said = ["x" * 64, "y" * 16384, "å∀😀" * 10, "", "z" * 70_000, "last"]
    here, there = await house.enter("here", 3), await house.enter("there", 2)
    for number, text in enumerate(said):
        # All at once: a peer that waits for one who does not read has nothing for the others.
        async with trio.open_nursery() as nursery:
            for member in here:
                nursery.start_soon(member.expect, text)
            await here[number % 3].say(text)
    await there[0].say("from there")
    for member in there:
        await member.expect("from there")
    await here[0].say("the end")
    for member in here:
        await member.expect("the end")


async def _bursts_of_two_reach_all_in_one_order(
    house: House, room: str, count: int, *, burst: int, size: int
) -> None:
    """Each says many in one write: everybody has all of them once, in one order that is each speaker's.

    Also those who begin to read when others have heard the first: who is behind is waited for, or has a queue.
    """
    said = {who: [f"{who} {number} ".ljust(size, "x") for number in range(burst)] for who in "ab"}
    heard: list[list[str]] = []
    begun = trio.Event()

    async def listen(member: Member, *, is_late: bool) -> None:
        if is_late:
            await begun.wait()
        texts = [await member.hear_text()]
        begun.set()
        heard.append([*texts, *[await member.hear_text() for _ in range(2 * burst - 1)]])

    members = await house.enter(room, count)
    async with trio.open_nursery() as nursery:
        for number, member in enumerate(members):
            nursery.start_soon(partial(listen, member, is_late=number % 3 == 2))
        for speaker, who in zip(members, "ab", strict=False):
            nursery.start_soon(speaker.say, *said[who])
    for who, texts in said.items():
        assert [text for text in heard[0] if text[0] == who] == texts
    assert all(order == heard[0] for order in heard)
    await members[-1].say("nothing else")
    for member in members:
        await member.expect("nothing else")


async def _pings_and_closes_are_answered_and_who_leaves_is_missed_by_nobody(house: House) -> None:
    """A pong with the ping's bytes, a close frame with the close's code and then the end of TCP; a reset, too."""
    staying, leaving, failing = await house.enter("left", 3)
    await staying.stream.send_all(client_frame(PING, b"are you there"))
    assert await staying.hear() == Frame(PONG, b"are you there")
    await leaving.stream.send_all(close_frame(1000))
    answer = await leaving.hear()
    assert (answer.opcode, answer.payload[:2]) == (CLOSE, (1000).to_bytes(2))
    assert await leaving.stream.receive_some(1) == b""
    failing.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, bytes([1] + [0] * 7))
    await failing.stream.aclose()
    await staying.say(*[str(number) for number in range(BURST)])
    await staying.expect(*[str(number) for number in range(BURST)])


async def _each_line_is_answered_and_the_end_of_input_is_the_end(house: House) -> None:
    """So that memory can be measured without garbage, and nothing stays behind."""
    (member,) = await house.enter("line", 1)
    for _ in range(2):
        assert (await house.child.ask(Done, "collect")).done
    await member.say("still there")
    await member.expect("still there")
    await house.child._requests.aclose()
    assert await house.child.wait(PATIENCE) is not None
    with pytest.raises(ChildFailed):
        await house.child.line()


@pytest.mark.slow
async def test_fastapi_as_engines_measures_it_asks_for_a_token() -> None:
    """Whoever bears one is `connected`; whoever does not is refused; and no path is a room."""
    peer = peers.fastapi(PEERS)
    if peer is None:
        pytest.skip(peers.find(("fastapi",), PEERS)[1]["fastapi"])
    # The link inside the environment is what tells Python that it is in one: it must not be resolved.
    assert Path(peer.program[0]).is_relative_to(PEERS.absolute())
    with trio.fail_after(SECONDS):
        async with workbench() as bench:
            child = await bench.peer("fastapi", peer)
            clients = await bench.clients("bearers", "arrival")
            assert (await clients.connect(child.ready.port, 3)).joined == 3
            for path in ("/ws", "/ws?token=none", "/room"):
                async with await trio.open_tcp_stream("127.0.0.1", child.ready.port) as stream:
                    await stream.send_all(handshake(path))
                    assert b" 403 " in await stream.receive_some(100)


# --- what is there, and what is missing -------------------------------------------------------------------


needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed")


@contextmanager
def only(monkeypatch: pytest.MonkeyPatch, *directories: Path) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("PATH", os.pathsep.join(map(str, directories)))
        yield


def test_a_name_that_is_no_peers_is_refused_with_those_that_are(tmp_path: Path) -> None:
    """A comparison is never smaller than it was asked to be without a word."""
    with pytest.raises(ValueError, match=r"'floors'.*floor, send-loop, .*go-gorilla, and all"):
        peers.find(("floors",), tmp_path)


def test_of_each_missing_peer_it_is_said_why_and_what_cures_it(tmp_path: Path) -> None:
    """All are either found or missing; those of our own environment are always found."""
    found, missing = peers.find(("all",), tmp_path)
    assert tuple(found) == ("send-loop", "trio-websocket")
    assert {*found, *missing} == set(peers.NAMES)
    assert all("peers --install" in why for why in missing.values())
    assert peers.fastapi(tmp_path) is None
    assert set(peers.versions(tmp_path)) == set(found)
    lines = peers.listing(tmp_path).splitlines()[1:]
    assert tuple(line.split()[0] for line in lines) == peers.NAMES
    assert ["missing: " in line for line in lines] == [name in missing for name in peers.NAMES]


def test_what_has_no_tools_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a compiler, Node and Go, and without a way to get them."""
    with only(monkeypatch, tmp_path):
        missing = peers.install(tmp_path / "peers", ("floor", "node-ws", "send-loop", "go-gorilla"))
    assert tuple(missing) == ("floor", "node-ws", "go-gorilla")
    assert "needs cc" in missing["floor"]
    assert "needs node and npm" in missing["node-ws"]
    assert "golang-go" in missing["go-gorilla"]
    said = capsys.readouterr().err
    assert all(f"{name}: missing: {why}" in said for name, why in missing.items())


@needs_compiler
def test_a_compiler_that_fails_is_quoted_and_leaves_no_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is half made is not there, and is made anew by the next attempt."""
    compiler = tmp_path / "cc"
    compiler.write_text(
        '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n: > "$2"\nchmod +x "$2"\necho out of paper >&2\nexit 3\n'
    )
    compiler.chmod(0o755)
    place = tmp_path / "peers"
    with only(monkeypatch, tmp_path, Path("/bin")):
        assert "out of paper" in peers.install(place, ("floor",))["floor"]
    assert (place / "floor" / "floor").exists()
    assert peers.find(("floor",), place)[0] == {}
    assert peers.install(place, ("floor",)) == {}
    assert list(peers.find(("floor",), place)[0]) == ["floor"]


@needs_compiler
def test_what_is_there_is_left_alone_until_its_source_or_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second `--install` is quick; one after a change measures no older program."""
    assert peers.install(tmp_path, ("floor",)) == {}
    program = tmp_path / "floor" / "floor"
    before = program.stat()
    assert peers.install(tmp_path, ("floor",)) == {}
    assert program.stat() == before
    (tmp_path / "floor.c").write_text((makers.HERE / "floor.c").read_text() + "/* changed */\n")
    monkeypatch.setattr(makers, "HERE", tmp_path)
    assert peers.find(("floor",), tmp_path)[0] == {}
    assert peers.install(tmp_path, ("floor",)) == {}
    assert list(peers.find(("floor",), tmp_path)[0]) == ["floor"]
    program.unlink()
    assert peers.find(("floor",), tmp_path)[0] == {}
