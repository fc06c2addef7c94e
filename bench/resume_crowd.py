"""A crowd of light clients that are cut off all at once and return to where they were.

`python -m tidings.bench.resume_crowd [tls]`, with the server's secret in `TIDINGS_AUTH_SECRET`; takes the requests
of `light.py`, and those of `Gatherer`.
"""

import gc
import os
import ssl
import sys
from array import array
from collections import Counter
from copy import copy
from time import monotonic

import msgspec

from tidings.bench import certificate
from tidings.bench.answering import answer
from tidings.bench.client import Client, State
from tidings.bench.eventloop import EventLoop
from tidings.bench.fleet import Fleet
from tidings.bench.light import Light, Reply
from tidings.bench.profiles import ROOM, Away
from tidings.bench.replies import Done, Left, Ready
from tidings.bench.resume_ledger import id_of
from tidings.bench.resume_tape import Tape
from tidings.bench.rooms import Room
from tidings.bench.wire import TEXT, Malformed, client_frame, split_frames
from tidings.protocol.positions import Position


class Progress(msgspec.Struct, frozen=True):
    """How far the crowd is."""

    joined: int
    complete: int
    """Clients that have all up to the offset aimed at."""
    first: float
    """`time.monotonic()` at which the first of them had; 0 before."""
    last: float
    curve: list[float]
    """… of some of them, evenly spread, in rising order."""
    lowest: int
    """The offset at which the last of the joined stands."""
    unrecovered: int
    """Returns to a position that the server did not go on from."""
    closes: dict[str, int]
    """Close frames that came, by code."""
    problem_count: int
    problems: list[str]


class Ids(msgspec.Struct, frozen=True):
    """What was published, as the crowd got it: every client the same."""

    ids: list[str]


# Points of a drawn return.
POINTS = 200


class _Data(msgspec.Struct):
    channel: str = ""
    epoch: str = ""
    offset: int = 0
    recovered: bool = False
    code: int | str = 0


class _Message(msgspec.Struct):
    type: str
    data: _Data
    channel: str = ""
    offset: int = 0


class _Event(msgspec.Struct):
    data: msgspec.Raw


_decode = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode


class Returning(Away):
    """Joins the room at a position, where it has one."""

    since: Position | None = None

    def greeting(self, room: str = ROOM) -> bytes:
        """Join the room, from where one was."""
        data: dict[str, object] = {"room": room}
        if self.since is not None:
            data["since"] = self.since
        return client_frame(TEXT, _encode({"type": "join_room", "data": data}))

    def standing(self, since: Position | None) -> "Returning":
        """The same users with the same tokens, from another position."""
        twin = copy(self)
        twin.since = since
        return twin


class Returner(Client):
    """Compares what it gets with the tape; only what is not on it is parsed."""

    __slots__ = ("_crowd", "_since", "is_settled")

    def __init__(self, crowd: "Crowd", profile: Returning, number: int, room: Room) -> None:
        super().__init__(crowd, profile, number, 0, room)
        self._crowd = crowd
        self._since = profile.since
        self.is_settled = False
        """Whether it was counted as complete, or never will be."""

    def _process(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if self.state is State.JOINED and not self._ending:
            found = self._crowd.tape.follows(self._last, data)
            if found is not None:
                self._last, length = found
                self._rest = data[length:]
                self._look()
                return
        try:
            frames, self._rest = split_frames(data)
            at = 0
            for frame in frames:
                size = len(frame.payload)
                end = at + size + (2 if size < 126 else 4 if size < 65536 else 10)
                if self.state is State.GONE:
                    return
                if frame.opcode == TEXT:
                    self._text(frame.payload, data[at:end])
                else:
                    self._control(frame)
                    if self.close_code is not None:
                        self._crowd.codes[str(self.close_code)] += 1
                at = end
        except (Malformed, msgspec.MsgspecError) as error:
            self._wrong(f"{error}")
            self._gone("malformed")
            return
        self._look()

    def _text(self, payload: bytes, frame: bytes) -> None:
        message = _decode(payload)
        if message.channel == self.room.channel and message.offset:
            if message.offset != self._last + 1 or self.state is not State.JOINED:
                self._crowd.notes.out_of_order(self.number, self._last + 1, message.offset)
            if not self._crowd.tape.take(message.offset, frame):
                self._wrong(f"offset {message.offset} has other bytes than elsewhere")
            self._last = message.offset
        elif message.type == self._profile.joined_by and message.data.channel == self.room.channel:
            self._told(message.data)
        elif message.type == "error":
            self._wrong(f"error {message.data.code}")
            if self.state is State.JOINING:
                self.give_up(f"error {message.data.code}")
        elif message.type == "disconnect":
            self._ending = True

    def _told(self, data: _Data) -> None:
        if self._since is None:
            self._join(data.offset)
        elif data.recovered and data.epoch == self._since.epoch:
            self._join(self._since.offset)
        else:
            self._crowd.unrecovered += 1
            self.is_settled = True  # what it has missed never comes
            self._join(data.offset)

    def _look(self) -> None:
        if not self.is_settled and self._crowd.aim and self._last >= self._crowd.aim:
            self.is_settled = True
            self._crowd.completions.append(monotonic())

    def _wrong(self, text: str) -> None:
        self._crowd.notes.problem(f"client {self.number}: {text}")


class Crowd(Fleet):
    """Clients that remember where they were when they were cut off."""

    def __init__(self, loop: EventLoop, secret: str, tls: ssl.SSLContext | None) -> None:
        self.returning = Returning(secret)
        super().__init__(loop, self.returning, tls=tls)
        self.tape = Tape()
        self.epoch = ""
        self.aim = 0
        """The offset with which a client is complete; 0: none."""
        self.completions: array[float] = array("d")
        self.codes: Counter[str] = Counter()
        self.unrecovered = 0
        self._stood: dict[int, int] = {}

    def make(self, number: int, room: Room) -> Client:
        """A client that returns to where its predecessor of that number stood."""
        stood = self._stood.get(number)
        since = None if stood is None else Position(self.epoch, stood)
        return Returner(self, self.returning.standing(since), number, room)

    def cut(self, *, reset: bool) -> int:
        """Close all sockets abruptly, and note who stood where."""
        self._stood = {client.number: client.last for client in self.joined()}
        return self.drop(reset=reset)


class Gatherer(Light):
    """The requests that are a crowd's own."""

    def __init__(self, loop: EventLoop, crowd: Crowd) -> None:
        super().__init__(loop, crowd)
        self._crowd = crowd

    def do_begin(self, reply: Reply, *, epoch: str, offset: int) -> None:
        """Know where the channel stands before the first client comes."""
        self._crowd.epoch, self._crowd.tape = epoch, Tape(offset)
        reply(Done())

    def do_cut(self, reply: Reply, *, reset: bool) -> None:
        """Cut everybody off; answered when all are."""
        reply(Left(self._crowd.cut(reset=reset)))

    def do_aim(self, reply: Reply, *, offset: int) -> None:
        """Call those complete, from here on, who have everything up to an offset."""
        self._crowd.aim = offset
        reply(Done())

    def do_progress(self, reply: Reply) -> None:
        """How far the crowd is."""
        crowd = self._crowd
        joined, times = crowd.joined(), crowd.completions
        steps = min(POINTS, len(times))
        reply(
            Progress(
                joined=len(joined),
                complete=len(times),
                first=times[0] if times else 0.0,
                last=times[-1] if times else 0.0,
                curve=[times[(step + 1) * len(times) // steps - 1] for step in range(steps)],
                lowest=min((client.last for client in joined), default=0),
                unrecovered=crowd.unrecovered,
                closes=dict(crowd.codes),
                problem_count=crowd.notes.problem_count,
                problems=crowd.notes.problems,
            )
        )

    def do_ids(self, reply: Reply) -> None:
        """What was published, in order."""
        payloads = [split_frames(frame)[0][0].payload for frame in self._crowd.tape.frames()]
        reply(Ids([id_of(bytes(_decode_event(payload).data)) for payload in payloads]))


def main() -> None:
    """Run until standard input ends."""
    loop = EventLoop()
    tls = certificate.trust() if sys.argv[1:] == ["tls"] else None
    gatherer = Gatherer(loop, Crowd(loop, os.environ["TIDINGS_AUTH_SECRET"], tls))
    gc.disable()
    loop.add(0, gatherer.readable)
    answer(Ready(ready=True))
    loop.run()
    loop.close()


if __name__ == "__main__":
    main()
