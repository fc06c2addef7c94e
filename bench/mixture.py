"""Mixed load on one server: rooms, comings and goings, slow and hostile peers, HTTP publishers, pings."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.churn import WAVE_SECONDS
from tidings.bench.holdings import PATIENCE_SECONDS, Holdings, holdings
from tidings.bench.observe import cpu_seconds
from tidings.bench.options import Common, Count, CountOrNone, NotNegative, Positive
from tidings.bench.processes import Child
from tidings.bench.replies import Attacked, Churned, Done, FleetState, HttpRun, Left, ServerState
from tidings.bench.sampling import Sampler
from tidings.bench.workbench import Clients, Workbench, poll, progress

# Handed to the server and the publishers of this run alone.
API_KEY = "bench-" + "k" * 32

# Waves of newcomers after which the same users come again. A server keeps something of each name that it has
# met, within a bound of its own (10,000 channels); so it is reached within the warm-up.
USERS = 20

# HTTP publishers come again with new connections after so long, and wait so long between two requests.
HTTP_SECONDS = 5.0
HTTP_PAUSE = 0.1
HTTP_PAYLOAD = 512

WARM_UP_CLIENTS = 10
WARM_UP_SECONDS = 0.5
DRAIN_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class MixtureOptions(Common):
    """What is mixed."""

    every: Annotated[Positive, Parameter(help="Seconds between two looks at the server.")] = 1.0
    clients: Annotated[Count, Parameter(help="Clients in the steady room.")] = 200
    rate: Annotated[Positive, Parameter(help="Publications a second in it.")] = 50.0
    payload: Annotated[CountOrNone, Parameter(help="Bytes of text in a publication.")] = 4096
    small: Annotated[Count, Parameter(help="Clients in small rooms.")] = 150
    rooms: Annotated[Count, Parameter(help="Small rooms, over which they are divided.")] = 40
    small_rate: Annotated[Positive, Parameter(help="Publications a second in all small rooms.")] = 100.0
    idle: Annotated[CountOrNone, Parameter(help="Clients that do nothing but answer pings.")] = 200
    ping_interval: Annotated[
        Positive, Parameter(help="Seconds of silence after which the server pings.")
    ] = 2.0
    churn: Annotated[
        float,
        Parameter(
            help="Clients a second that come to the steady room, and go; in waves, of one at least.",
            validator=Number(gte=1 / WAVE_SECONDS),
        ),
    ] = 20.0
    comers: Annotated[Count, Parameter(help="How many of them are there at a time.")] = 50
    slow: Annotated[
        CountOrNone, Parameter(help="Clients that stop reading in the steady room, now and then.")
    ] = 3
    slow_pause: Annotated[
        NotNegative, Parameter(help="Seconds from the end of such a time to the next.")
    ] = 10.0
    slow_patience: Annotated[Positive, Parameter(help="Seconds within which they must be sealed.")] = 90.0
    outbox_bytes: Annotated[Count, Parameter(help="The server's limits.outbox_bytes.")] = 524288
    hostile: Annotated[
        CountOrNone, Parameter(help="Connections a second that send what no client sends.")
    ] = 5
    http: Annotated[
        CountOrNone, Parameter(help="HTTP publishers, each with ten requests a second at most.")
    ] = 4


class Sums(msgspec.Struct):
    """What was done, and what came of it."""

    states: dict[str, FleetState] = {}
    """The steady room, the small ones and the idle, at the end of the load."""
    dropped: dict[str, int] = {}
    """How many of these did not get away in order."""
    churned: Churned | None = None
    slow: int = 0
    """Clients that stopped reading."""
    sealed: int = 0
    """How many of them were closed with 3008 while it lasted."""
    attacks: Counter[str] = msgspec.field(default_factory=Counter)
    attack_closes: Counter[str] = msgspec.field(default_factory=Counter)
    wrong_count: int = 0
    wrong: list[str] = []
    requests: int = 0
    """HTTP requests that were answered."""
    statuses: Counter[str] = msgspec.field(default_factory=Counter)
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    closes: dict[str, int] = {}
    """Close codes of the run, as the server counts them."""
    seconds: float = 0.0
    load_share: float = 0.0
    """CPU time of all load processes together against wall time."""

    def expected(self) -> dict[str, int]:
        """The close codes that the server must have counted."""
        assert self.churned is not None
        ways = self.churned.ways
        counts = Counter(self.attack_closes)
        counts["1000"] += ways["closed"] + sum(state.joined for state in self.states.values())
        counts["1006"] += ways["reset"] + ways["killed"]
        counts["3008"] += self.slow
        return {code: count for code, count in sorted(counts.items()) if count}


class Mixture:
    """All that goes on at one server, from the first client to the last."""

    def __init__(self, options: MixtureOptions, bench: Workbench, server: Child) -> None:
        self.sums = Sums()
        self._options = options
        self._bench = bench
        self._server = server
        self._port = server.ready.port
        # Several activities look at the server, and it answers one question at a time.
        self._asking = trio.Lock()
        self._before: Counter[str] = Counter()
        self._deadline = 0.0

    async def warm_up(self) -> Holdings:
        """Start all processes and do everything once; what the empty server holds then.

        What the first of each kind loads or opens for good is no leak. Raises ChildFailed.
        """
        options, bench = self._options, self._bench
        self.steady = await self._fleet("steady")
        self._small = await bench.clients("small", rooms=options.rooms, tls=options.tls)
        self._idle = await bench.clients("idle", "arrival", tls=options.tls)
        self._comers = await self._fleet("comer")
        self._slow = await self._fleet("slow")
        self._hostile = await bench.hostile()
        self._http = await bench.http_load()
        self.sampler = Sampler(self._server, self._stats, self.steady, options.every)
        progress("warm-up: everything once")
        # In small rooms: their offsets matter to nobody.
        warm = await bench.clients("warm-up", rooms=2, tls=options.tls)
        await warm.connect(self._port, WARM_UP_CLIENTS, tell=False)
        await warm.ask(Done, "load", rate=options.rate, payload=options.payload)
        await trio.sleep(WARM_UP_SECONDS)
        await warm.ask(Done, "load_end")
        await warm.ask(Left, "leave")
        await warm.child.end()
        self._attacked(await self._attack(0, options.seed))
        await self._publish_http(HTTP_PAUSE)
        self.sums = Sums(wrong_count=self.sums.wrong_count, wrong=self.sums.wrong)
        await poll(self._stats, lambda state: not state.sockets, PATIENCE_SECONDS)
        empty = await holdings(self._server)
        self._before = Counter((await self._stats()).closes)
        return empty

    async def run(self, seconds: float) -> None:
        """Everybody comes; then all goes on for so long, or until slow ones of the last time are sealed.

        Raises ChildFailed.
        """
        options = self._options
        await self.steady.connect(self._port, options.clients)
        await self._small.connect(self._port, options.small)
        await self._idle.connect(self._port, options.idle)
        seed = {"seed": str(options.seed)}
        await self.steady.ask(Done, "load", rate=options.rate, payload=options.payload, **seed)
        await self._small.ask(Done, "load", rate=options.small_rate, payload=256, **seed)
        await self._comers.churn(
            self._port, rate=options.churn, population=options.comers, users=USERS, seed=options.seed
        )
        progress(f"mixed load for {seconds:g} s")
        began, spent = trio.current_time(), self._load_cpu()
        self._deadline = began + seconds
        async with trio.open_nursery() as sampling:
            sampling.start_soon(self.sampler.run)
            async with trio.open_nursery() as activities:
                for activity in (self._stall, self._annoy, self._publish, self._wait, self._tell):
                    activities.start_soon(activity)
            self.sampler.stop()
        self.sums.seconds = trio.current_time() - began
        self.sums.load_share = (self._load_cpu() - spent) / self.sums.seconds

    async def leave(self, empty: Holdings) -> Holdings:
        """Everybody leaves; what the server holds when it has had time to settle. Raises ChildFailed."""
        sums = self.sums
        fleets = {"steady": self.steady, "small": self._small, "idle": self._idle}
        for clients in (self.steady, self._small):
            await clients.ask(Done, "load_end")
        for name, clients in fleets.items():
            sums.states[name] = await self._drained(clients)
        progress("everybody leaves")
        sums.churned = await self._comers.ask(Churned, "churn_end")
        for name, clients in fleets.items():
            sums.dropped[name] = (await clients.ask(Left, "leave")).dropped
        left = await holdings(self._server, empty)
        closes = Counter((await self._stats()).closes)
        closes.subtract(self._before)
        sums.closes = {code: count for code, count in sorted(closes.items()) if count}
        return left

    # --- what goes on ----------------------------------------------------------------------------------

    async def _wait(self) -> None:
        await trio.sleep_until(self._deadline)

    async def _tell(self) -> None:
        """Show that it goes on."""
        while trio.current_time() < self._deadline:
            await trio.sleep(min(30.0, max(self._deadline - trio.current_time(), 0.0)))
            if self.sampler.samples:
                last = self.sampler.samples[-1]
                progress(f"{last.at:.0f} s: {last.connections} connections, {last.memory / 2**20:.1f} MiB")

    async def _stall(self) -> None:
        """Now and then some come, stop reading, and are left so until the server has closed them."""
        options, sums = self._options, self.sums
        while options.slow and trio.current_time() < self._deadline:
            # Behind an Ethernet's segment size, see `client.py`.
            await self._slow.connect(self._port, options.slow, ethernet=options.slow, tell=False)
            before = (await self._stats()).closes.get("3008", 0)
            for number in range(options.slow):
                await self._slow.ask(Done, "stall", number=number)
            sums.slow += options.slow
            sums.sealed += await self._sealed(before, options.slow) - before
            await self._slow.ask(Left, "drop", reset=False)
            await trio.sleep(min(options.slow_pause, max(self._deadline - trio.current_time(), 0.0)))

    async def _annoy(self) -> None:
        """Some hostile connections each second."""
        options, number, due = self._options, 0, trio.current_time()
        while options.hostile and trio.current_time() < self._deadline:
            for _ in range(options.hostile):
                number += 1
                self._attacked(await self._attack(1, options.seed * 1_000_000 + number))
            due = max(due + 1.0, trio.current_time())
            await trio.sleep_until(due)

    async def _publish(self) -> None:
        """HTTP publishers, with new connections every few seconds."""
        while self._options.http and trio.current_time() < self._deadline:
            await self._publish_http(
                min(HTTP_SECONDS, max(self._deadline - trio.current_time(), HTTP_PAUSE))
            )

    # --- single steps ----------------------------------------------------------------------------------

    async def _fleet(self, name: str) -> Clients:
        return await self._bench.clients(name, tls=self._options.tls)

    async def _stats(self) -> ServerState:
        async with self._asking:
            return await self._server.ask(ServerState, "stats")

    async def _sealed(self, before: int, count: int) -> int:
        """How many closes 3008 there are, once there are so many more than before, or patience is over."""

        async def look() -> int:
            return (await self._stats()).closes.get("3008", 0)

        return await poll(look, lambda found: found >= before + count, self._options.slow_patience)

    async def _attack(self, count: int, seed: int) -> Attacked:
        return await self._hostile.ask(
            Attacked, "attack", port=self._port, count=count, seed=seed, tls=self._options.tls
        )

    def _attacked(self, found: Attacked) -> None:
        self.sums.attacks.update(found.done)
        self.sums.attack_closes.update(found.closes)
        self.sums.wrong_count += found.wrong_count
        self.sums.wrong = (self.sums.wrong + found.wrong)[:20]

    async def _publish_http(self, seconds: float) -> None:
        options = self._options
        found = await self._http.ask(
            HttpRun,
            "run",
            port=self._port,
            connections=max(options.http, 1),
            seconds=seconds,
            payload=HTTP_PAYLOAD,
            key=API_KEY,
            pause=HTTP_PAUSE,
            tls=options.tls,
        )
        self.sums.requests += found.requests
        self.sums.statuses.update(found.statuses)
        self.sums.failures.update(found.failures)

    async def _drained(self, clients: Clients) -> FleetState:
        async def look() -> FleetState:
            return await clients.ask(FleetState, "state")

        return await poll(look, lambda state: state.received >= state.expected, DRAIN_SECONDS)

    def _load_cpu(self) -> float:
        fleets = (self.steady, self._small, self._idle, self._comers, self._slow)
        children = [*(clients.child for clients in fleets), self._hostile, self._http]
        return sum(cpu_seconds(child.pid) for child in children)
