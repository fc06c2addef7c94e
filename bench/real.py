"""Real clients: `tidings.client` as applications use it, asked over standard input as the light ones are.

`python -m tidings.bench.real [tls]`, with the server's secret in `TIDINGS_AUTH_SECRET`. Each joins the room and
iterates over it; latency is up to the moment at which the iteration hands a publication over. Some hundred
times as dear as a light client, so a few of them stand beside thousands: to see that what the light ones
measure is what an application would.
"""

import gc
import os
import ssl
import sys
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from tidings.bench import certificate
from tidings.bench.fleet import CLIENTS_PER_ADDRESS, HANDSHAKES_AT_ONCE, LEAVE_SECONDS, TAIL_SECONDS
from tidings.bench.ledger import Ledger
from tidings.bench.observe import cpu_seconds
from tidings.bench.profiles import ROOM
from tidings.bench.quantiles import quantiles
from tidings.bench.replies import Done, FleetState, Joined, Left, Quantiles, Ready, Refused
from tidings.client import (
    Address,
    ClientError,
    Dial,
    Event,
    Gap,
    Publication,
    Reconnect,
    Reconnecting,
    connect,
)
from tidings.server.auth import Authenticator
from tidings.server.config import Auth

# A handshake and a `join_room`, on a machine that is busy.
JOIN_SECONDS = 30.0

_INPUT_BYTES = 65536

_HOST = "127.0.0.1"


def dialing(source: str, tls: ssl.SSLContext | None) -> Dial:
    """How to connect from an address of 127/8; by TLS where there is a context."""

    async def dial(address: Address) -> trio.abc.Stream:
        tcp = await trio.open_tcp_stream(address.host, address.port, local_address=source)
        if tls is None:
            return tcp
        stream = trio.SSLStream(tcp, tls, server_hostname=address.host, https_compatible=True)
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    return dial


class RealClient:
    """One client, and what its application has seen."""

    def __init__(self, number: int, ledger: Ledger, measured: Callable[[float], None]) -> None:
        """Take the number, where to note what is wrong, and whom to tell of each latency in seconds."""
        self.number = number
        self.last = 0
        """Offset of the last publication; 0 before the first."""
        self.joined = False
        self.why = ""
        """Why it is not in the room, unless it was told to leave."""
        self.settled = trio.Event()
        """It has joined, or failed."""
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        self._ledger = ledger
        self._measured = measured

    async def live(self, url: str, token: str, dial: Dial, room: str) -> None:
        """Connect, join and read, until `scope` is cancelled. What the client raises is noted."""
        try:
            with self.scope:
                # Whoever lost a connection has lost publications: it does not come back as if nothing were.
                once = Reconnect(attempts=0)
                async with (
                    connect(url, token=token, reconnect=once, dial=dial, on_event=self.told) as client,
                    await client.join(room) as publications,
                ):
                    self.joined = True
                    self.settled.set()
                    async for item in publications:
                        self.take(item)
                self._fail("the iteration ended")
        except ClientError as error:  # Overflow and a lost subscription, too
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            self.joined = False
            self.settled.set()
            self.ended.set()

    def take(self, item: Publication | Gap) -> None:
        """Note what the iteration handed over."""
        now = time.monotonic()
        if isinstance(item, Gap):
            # The publication behind it is not the next one: that is where it counts.
            self._ledger.problem(f"real client {self.number}: {item}")
            return
        if self.last and item.offset != self.last + 1:
            self._ledger.out_of_order(self.number, self.last + 1, item.offset)
        self.last = item.offset
        self._ledger.received += 1
        self._measured(now - item.fields["sent"])

    def told(self, event: Event) -> None:
        """Note an event of the connection."""
        if isinstance(event, Reconnecting) and self.joined:
            self._ledger.problem(f"real client {self.number}: {event.code} {event.why}")

    def _fail(self, why: str) -> None:
        if self.scope.cancel_called:
            return
        self.why = why
        if self.joined:
            self._ledger.problem(f"real client {self.number}: {why}")


class Real:
    """The requests that a process of real clients takes, one after another."""

    def __init__(self, nursery: trio.Nursery, secret: str, tls: ssl.SSLContext | None) -> None:
        self._nursery = nursery
        self._tls = tls
        self._authenticator = Authenticator(Auth(secret=secret))
        self._clients: list[RealClient] = []
        self._ledger = Ledger()
        self._latencies: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._samples = self._latencies["all"]
        self._asked = (time.monotonic(), time.process_time())

    async def do_connect(
        self,
        *,
        port: int,
        count: int,
        group: str,
        network: int,
        at_once: int = HANDSHAKES_AT_ONCE,
        server: int | None = None,
        room: str = ROOM,
        **other: Any,
    ) -> Joined:
        """Connect and join, from addresses of 127.NETWORK; what only light clients can do is refused."""
        if any(other.values()):
            raise ValueError(f"real clients know nothing of {', '.join(other)}")
        first = len(self._clients)
        comers = [
            RealClient(number, self._ledger, self._measured) for number in range(first, first + count)
        ]
        self._clients += comers
        tokens = [self._authenticator.issue(f"{group}-{client.number}", ttl=3600) for client in comers]
        started, cpu = time.monotonic(), time.process_time()
        server_cpu = 0.0 if server is None else cpu_seconds(server)
        limiter = trio.CapacityLimiter(at_once)
        url = f"{'ws' if self._tls is None else 'wss'}://{_HOST}:{port}/ws"

        async def come(client: RealClient, token: str) -> None:
            at = client.number // CLIENTS_PER_ADDRESS
            source = f"127.{network}.{at // 250}.{1 + at % 250}"
            async with limiter:
                self._nursery.start_soon(client.live, url, token, dialing(source, self._tls), room)
                with trio.move_on_after(JOIN_SECONDS):
                    await client.settled.wait()
                if not client.settled.is_set():
                    client.why = f"not joined within {JOIN_SECONDS:g} s"
                    client.scope.cancel()

        async with trio.open_nursery() as nursery:
            for client, token in zip(comers, tokens, strict=True):
                nursery.start_soon(come, client, token)
        seconds, load_cpu = time.monotonic() - started, time.process_time() - cpu
        await trio.sleep(TAIL_SECONDS)
        # What lives now lives for long.
        gc.collect()
        gc.freeze()
        refused = Counter(client.why for client in comers if not client.joined)
        spent = 0.0 if server is None else cpu_seconds(server) - server_cpu
        return Joined(count - refused.total(), dict(refused), seconds, load_cpu, spent)

    async def do_state(self) -> FleetState:
        """All clients together; `lowest` and `highest` are of what the applications were handed."""
        now, cpu = time.monotonic(), time.process_time()
        then, cpu_then = self._asked
        self._asked = now, cpu
        reading = [client.last for client in self._clients if client.joined]
        ledger = self._ledger
        return FleetState(
            joined=len(reading),
            received=ledger.received,
            missing=ledger.missing,
            repeated=ledger.repeated,
            pings=0,  # answered below what an application sees
            problem_count=ledger.problem_count,
            problems=ledger.problems,
            lowest=min(reading, default=0),
            highest=max(reading, default=0),
            published=0,
            acknowledged=0,
            load_share=(cpu - cpu_then) / max(now - then, 1e-9),
        )

    async def do_phase(self, *, name: str) -> Done:
        """Keep latencies under another name from here on."""
        self._samples = self._latencies[name]
        return Done()

    async def do_latency(self, *, phase: str) -> Quantiles:
        """The latencies of a phase."""
        return quantiles(self._latencies[phase])

    async def do_samples(self, *, phase: str, path: str) -> Done:
        """Write the latencies of a phase, one by one, to a file: seconds, as 8-byte floats."""
        await trio.Path(path).write_bytes(self._latencies[phase].tobytes())
        return Done()

    async def do_leave(self) -> Left:
        """Let all leave as applications do, by leaving the block of `connect`, which closes with 1000."""
        leaving = [client for client in self._clients if not client.ended.is_set()]
        for client in leaving:
            client.scope.cancel()
        with trio.move_on_after(LEAVE_SECONDS):
            for client in leaving:
                await client.ended.wait()
        return Left(sum(not client.ended.is_set() for client in leaving))

    async def serve(self) -> None:
        """Answer requests until their end."""
        received = b""
        # A duplicate: FdStream makes it non-blocking and closes it. Answers are short and leave at once.
        async with trio.lowlevel.FdStream(os.dup(0)) as requests:
            while data := await requests.receive_some(_INPUT_BYTES):
                *lines, received = (received + data).split(b"\n")
                for line in lines:
                    await self._request(msgspec.json.decode(line))

    async def _request(self, fields: dict[str, Any]) -> None:
        handler: Callable[..., Awaitable[msgspec.Struct]] = getattr(self, f"do_{fields.pop('do')}")
        try:
            _answer(await handler(**fields))
        except (ValueError, LookupError, OSError) as error:
            _answer(Refused(f"{type(error).__name__}: {error}"))

    def _measured(self, latency: float) -> None:
        self._samples.append(latency)


def _answer(answer: msgspec.Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


async def _run(secret: str, tls: ssl.SSLContext | None) -> None:
    async with trio.open_nursery() as nursery:
        _answer(Ready(ready=True))
        await Real(nursery, secret, tls).serve()
        nursery.cancel_scope.cancel()


def main() -> None:
    """Run until standard input ends."""
    tls = certificate.trust() if sys.argv[1:] == ["tls"] else None
    trio.run(_run, os.environ["TIDINGS_AUTH_SECRET"], tls)


if __name__ == "__main__":
    main()
