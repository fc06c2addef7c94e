"""Light clients: thousands of raw sockets on one loop, told what to do over standard input.

`python -m tidings.bench.light PROFILE [ROOMS [tls]]`, with the server's secret in `TIDINGS_AUTH_SECRET`. A
request is a line `{"do": "connect", …}`, an answer a line of one of the Structs in `replies`. Ends with its
input.
"""

import gc
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from tidings.bench import certificate
from tidings.bench.answering import answer
from tidings.bench.churn import Churn, Coming
from tidings.bench.eventloop import EventLoop
from tidings.bench.fleet import HANDSHAKES_AT_ONCE, Fleet
from tidings.bench.load import ClosedLoop, OpenLoop
from tidings.bench.profiles import profile_named
from tidings.bench.replies import Clients, Done, Left, Ready, Refused

_INPUT_BYTES = 65536

Reply = Callable[[msgspec.Struct], None]


class Light:
    """The requests that a process of light clients takes. Each gets one answer, some only later."""

    def __init__(self, loop: EventLoop, fleet: Fleet) -> None:
        self._loop = loop
        self._fleet = fleet
        self._load: OpenLoop | None = None
        self._churn: Churn | None = None
        self._input = b""

    def readable(self) -> None:
        """Read requests from standard input."""
        data = os.read(0, _INPUT_BYTES)
        if not data:
            self._loop.stop()
            return
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            self._request(msgspec.json.decode(line))

    def _request(self, fields: dict[str, Any]) -> None:
        handler = getattr(self, f"do_{fields.pop('do')}")
        try:
            handler(answer, **fields)
        except (ValueError, LookupError, OSError) as error:
            answer(Refused(f"{type(error).__name__}: {error}"))

    def do_connect(
        self,
        reply: Reply,
        *,
        port: int,
        count: int,
        group: str,
        network: int,
        ethernet: int = 0,
        at_once: int = HANDSHAKES_AT_ONCE,
        server: int | None = None,
        timeline: bool = False,
    ) -> None:
        """Connect clients; answered when each has joined or failed."""

        def joined(answer: msgspec.Struct) -> None:
            # What lives now lives for long: no collection shall walk it in the middle of a measurement.
            gc.collect()
            gc.freeze()
            reply(answer)

        self._fleet.connect(
            port, count, group, network, ethernet, joined, at_once=at_once, server=server, timeline=timeline
        )

    def do_place(self, reply: Reply, *, host: str, sources: list[str]) -> None:
        """Connect to another host than 127.0.0.1, and from some addresses, none for those of 127/8."""
        self._fleet.host, self._fleet.sources = host, sources
        reply(Done())

    def do_closed_loop(
        self,
        reply: Reply,
        *,
        rounds: int,
        payload: int,
        server: int,
        seed: str = "",
        burst: int = 1,
        acknowledged: bool = False,
    ) -> None:
        """Run rounds; answered at their end."""
        ClosedLoop(
            self._fleet,
            rounds=rounds,
            payload=payload,
            server=server,
            done=reply,
            failed=lambda why: reply(Refused(why)),
            seed=seed,
            burst=burst,
            acknowledged=acknowledged,
        ).start()

    def do_load(
        self,
        reply: Reply,
        *,
        rate: float,
        payload: int,
        seed: str = "",
        backlog: float = math.inf,
        acknowledged: bool = True,
        steady: bool = False,
    ) -> None:
        """Publish at a rate, until `load_end` or until too much is still to be delivered."""
        self._load = OpenLoop(
            self._fleet,
            rate=rate,
            payload=payload,
            seed=seed,
            backlog=backlog,
            acknowledged=acknowledged,
            steady=steady,
        )
        self._load.start()
        reply(Done())

    def do_load_end(self, reply: Reply) -> None:
        """Publish nothing more."""
        reply(self._load.stop() if self._load is not None else Done())

    def do_phase(self, reply: Reply, *, name: str) -> None:
        """Keep latencies under another name from here on."""
        self._fleet.phase(name)
        reply(Done())

    def do_latency(self, reply: Reply, *, phase: str, forget: bool = False) -> None:
        """The latencies of a phase, which must not be the present one if they are to be forgotten."""
        reply(self._fleet.latency(phase, forget=forget))

    def do_samples(self, reply: Reply, *, phase: str, path: str) -> None:
        """Write the latencies of a phase, one by one, to a file: seconds, as 8-byte floats."""
        self._fleet.write_samples(phase, path)
        reply(Done())

    def do_stall(self, reply: Reply, *, number: int) -> None:
        """Let one client read nothing more."""
        self._fleet.clients[number].stall()
        reply(Done())

    def do_resume(self, reply: Reply, *, number: int) -> None:
        """Let it read on."""
        self._fleet.clients[number].resume()
        reply(Done())

    def do_state(self, reply: Reply) -> None:
        """All clients together."""
        reply(self._fleet.state())

    def do_clients(self, reply: Reply, *, numbers: list[int]) -> None:
        """Some clients (or all) one by one."""
        reply(Clients(self._fleet.client_states(numbers)))

    def do_drop(self, reply: Reply, *, reset: bool) -> None:
        """Close all sockets abruptly; answered when all are, with how many there were."""
        reply(Left(self._fleet.drop(reset=reset)))

    def do_churn(self, reply: Reply, **coming: Any) -> None:
        """Let clients come and go, until `churn_end`; `coming` are the fields of `Coming`."""
        fleet = self._fleet
        self._churn = Churn(lambda: Fleet(self._loop, fleet.profile, tls=fleet.tls), Coming(**coming))
        self._churn.start()
        reply(Done())

    def do_churn_end(self, reply: Reply) -> None:
        """Let nobody come any more, and all leave; answered when the last one's TCP has ended."""
        if self._churn is None:
            reply(Refused("nobody has come"))
        else:
            self._churn.end(reply)

    def do_leave(self, reply: Reply) -> None:
        """Close all clients; answered when the last one's TCP has ended."""
        self._fleet.leave(reply)


def main() -> None:
    """Run until standard input ends."""
    loop = EventLoop()
    name, rooms, encrypted = [*sys.argv[1:], "1", "plain"][:3]
    fleet = Fleet(
        loop,
        profile_named(name, os.environ["TIDINGS_AUTH_SECRET"]),
        rooms=int(rooms),
        tls=certificate.trust() if encrypted == "tls" else None,
    )
    light = Light(loop, fleet)
    gc.disable()
    loop.add(0, light.readable)
    answer(Ready(ready=True))
    loop.run()
    loop.close()


if __name__ == "__main__":
    main()
