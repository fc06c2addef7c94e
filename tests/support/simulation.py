"""A whole server, a population of clients and a bad network between them, in virtual time.

`simulate` runs one and returns its summary. Everything is drawn from one seed: what clients do and say, what
is published, what goes wrong for whom and when, and every delay. Trio's own choice among runnable tasks is
made repeatable through Hypothesis, whose public doing it is: loading it makes trio sort and shuffle them by
a random source that Hypothesis seeds within a test.

What is reproducible: the same seed and settings give the same run, which `digest` proves: it sums up, for each
light client in its own order and with the virtual times, what came (channel and offset, answers, closes, ends).
Not covered by it: ids and texts that the server draws from the system's randomness (they have the same lengths in
every run), what the real clients saw, and the log.
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import msgspec
import structlog.testing
import trio
import trio.testing
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from support.served import WallClock, served
from support.sim_client import LightClient
from support.sim_ends import LinkTransport, stream_transport
from support.sim_faithful import FaithfulClient
from support.sim_ledger import Ledger
from support.sim_network import Link, Wire
from support.sim_script import Script
from support.site import Site, configured
from support.tasks import living_tasks, quiet
from tidings.server.app import Server
from tidings.server.apps.rooms import talk
from tidings.server.brokers import memory
from tidings.server.config import Heartbeat, Limits
from tidings.server.edge import connection as connections
from tidings.server.edge.transport import Transport
from tidings.server.shutdown import drain

DEFAULT_ENGINE: str = configured().server.engine

AUDIT_SECONDS = 15.0

# Rounds of trio's loop at one moment; a round with a thousand deliveries needs some dozens.
ROUNDS_AT_ONCE = 20_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One simulation. Times are virtual seconds, and those of a client on average."""

    seed: int
    engine: str = DEFAULT_ENGINE
    clients: int = 100
    faithful: int = 5
    """How many real Python clients there are beside them."""
    minutes: float = 10
    acts_every: float = 30
    fails_every: float = 60
    published_every: float = 0.5
    ping_interval: float = 20
    pong_timeout: float = 10


@dataclass(kw_only=True)
class Summary:
    """What became of it."""

    settings: Settings
    violations: list[str]
    digest: str
    counts: dict[str, int]
    closes: dict[int, int]
    virtual_seconds: float
    real_seconds: float = field(compare=False)

    def __str__(self) -> str:
        settings = self.settings
        course = (
            f"{self.virtual_seconds:.0f} virtual seconds in {self.real_seconds:.1f}, digest {self.digest}"
        )
        lines = [
            f"seed {settings.seed}: {settings.clients} clients on {settings.engine}, {course}",
            *(f"  {count:>9,} {name}" for name, count in sorted(self.counts.items())),
            f"  closed: {', '.join(f'{count:,} x {code}' for code, count in sorted(self.closes.items()))}",
            *(f"  WRONG at {violation}" for violation in self.violations),
        ]
        return "\n".join(lines)


def simulate(settings: Settings) -> Summary:
    """Run a simulation to its end, or to the first wrong found."""
    return _repeatably(lambda: trio.run(_Simulation(settings).run, clock=_clock()))


def _clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


def _repeatably(run: Callable[[], Summary]) -> Summary:
    """Call within a Hypothesis test of one example: there it has seeded trio's scheduler."""
    results: list[Summary | BaseException] = []

    @hypothesis_settings(
        max_examples=1,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.just(None))
    def once(_nothing: None) -> None:
        if not results:
            try:
                results.append(run())
            except BaseException as error:
                results.append(error)

    once()
    (result,) = results
    if isinstance(result, BaseException):
        raise result
    return result


class _Progress(trio.abc.Instrument):
    """Notices when virtual time stands still, since somebody is busy for ever."""

    def __init__(self, on_standstill: Callable[[], None]) -> None:
        self._on_standstill = on_standstill
        self._time = -1.0
        self._rounds = 0

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  as trio calls it
        """One more round."""
        now = trio.current_time()
        self._rounds = self._rounds + 1 if now == self._time else 0
        self._time = now
        if self._rounds == ROUNDS_AT_ONCE:
            self._on_standstill()


class _Simulation:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = random.Random(f"population {settings.seed}")
        self._users = [f"u{number}" for number in range(max(1, settings.clients * 9 // 10))]
        self._rooms = [f"r{number}" for number in range(max(2, settings.clients // 12))]
        self._links = itertools.count(1)
        self._is_closing = False
        self._clients: list[LightClient] = []
        self._tokens: dict[str, str] = {}

    async def run(self) -> Summary:
        """The whole course: a population, a bad time, a calm one, the drain, and nothing left."""
        began = time.perf_counter()
        settings = self._settings
        config = configured(
            limits=Limits(message_bytes=2048, outbox_bytes=16384),
            heartbeat=Heartbeat(ping_interval=settings.ping_interval, pong_timeout=settings.pong_timeout),
        )
        section: Any = msgspec.structs.replace(config.server, engine=settings.engine)
        # Ids of one length: where they count connections, each run would have longer ones than the last.
        numbers = mock.patch.object(connections, "_numbers", itertools.count(10_000_000))
        epochs = mock.patch.object(memory, "_lives", itertools.count(0x1000_0000))
        messages = mock.patch.object(talk, "_numbers", itertools.count(0x1000_0000))
        with (
            numbers,
            epochs,
            messages,
            living_tasks() as tasks,
            structlog.testing.capture_logs() as self._logs,
        ):
            server = Server(msgspec.structs.replace(config, server=section))
            self._ledger = ledger = Ledger(server, settings.seed)
            async with served(server) as self._site:
                WallClock(self._site)
                server.context.jitter = self._jitter
                self._wire = Wire()
                async with trio.open_nursery() as nursery:
                    progress = _Progress(self._stand_still)
                    trio.lowlevel.add_instrument(progress)
                    nursery.start_soon(self._wire.run)
                    if await self._live(nursery):
                        await self._end(self._site)
                    trio.lowlevel.remove_instrument(progress)
                    nursery.cancel_scope.cancel()
            if tasks.living:
                ledger.violation(f"tasks left: {list(tasks.names.values())}")
        return Summary(
            settings=settings,
            violations=ledger.violations,
            digest=ledger.digest,
            counts=dict(ledger.counts),
            closes=dict(ledger.closes),
            virtual_seconds=trio.current_time(),
            real_seconds=time.perf_counter() - began,
        )

    async def _live(self, nursery: trio.Nursery) -> bool:
        """Everything up to the calm; whether nothing was wrong."""
        settings, ledger, wire = self._settings, self._ledger, self._wire
        self._script = script = Script(wire, ledger, self._clients, self._rooms, settings.seed)
        for number in range(settings.clients):
            self._add_client(number)
        over = trio.Event()
        left = trio.Event()
        nursery.start_soon(self._run_faithful, over, left)
        wire.after(30, lambda: script.go_wrong(nursery, settings.fails_every / settings.clients))
        nursery.start_soon(script.publish, settings.published_every, self._users)
        wire.after(AUDIT_SECONDS, self._audit)
        if not await self._passes(settings.minutes * 60):
            return False
        script.is_over = True
        # Time for all that went wrong to be noticed, and for everybody to be back.
        if not await self._passes(2 * (settings.ping_interval + settings.pong_timeout) + 90):
            return False
        for client in self._clients:
            client.do(("ping", {}, ""))
        if not await self._passes(5):
            return False
        for client in self._clients:
            self._must_have_everything(client)
        over.set()
        with trio.move_on_after(60):
            await left.wait()
            return not ledger.failed.is_set()
        ledger.violation("a real client does not end")
        return False

    async def _end(self, site: Site) -> None:
        """Drain: everybody is told, gets what is owed, and nothing of anybody is left."""
        ledger, context = self._ledger, site.server.context
        self._is_closing = ledger.draining = True
        await drain(context, site.server.front)
        await trio.sleep(5)
        ledger.read_log(self._logs)
        unended = [client.name for client in self._clients if client.link is not None]
        if unended or any(account.code is None for account in ledger.accounts.values()):
            ledger.violation(f"after the drain: {unended}")
        try:
            await quiet(site)
        except (AssertionError, trio.TooSlowError) as error:
            ledger.violation(f"the server still holds something: {error!r:.1000}")

    def _stand_still(self) -> None:
        self._ledger.violation("time stands still: somebody is busy for ever")
        self._site.nursery.cancel_scope.cancel()

    async def _passes(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._ledger.failed.wait()
        return not self._ledger.failed.is_set()

    def _jitter(self) -> float:
        # The heartbeat takes a fifth of it: so its beats fall on ticks.
        return self._random.randrange(0, 13, 2) * 5 / 64

    # --- the population ------------------------------------------------------------------------------

    def _add_client(self, number: int) -> None:
        rng = random.Random(f"client {self._settings.seed} {number}")
        user = self._users[number % len(self._users)]
        rooms = rng.sample(self._rooms, min(len(self._rooms), rng.choice((1, 1, 2, 3))))
        client = LightClient(number, user, rooms, rng, self._ledger)
        client.on_over = self._client_over
        self._clients.append(client)
        self._wire.after(rng.uniform(0, 20), lambda: self._dial(client))
        self._wire.after(rng.uniform(20, 50), lambda: self._script.live(client, self._settings.acts_every))

    def _dial(self, client: LightClient) -> None:
        if client.link is None and not self._is_closing:
            client.token = self._token(client.user)
            client.dial(self._open_link())

    def _client_over(self, client: LightClient) -> None:
        if not self._is_closing:
            self._wire.after(client.returns_in, lambda: self._dial(client))

    def _open_link(self) -> Link:
        number = next(self._links)
        rng = random.Random(f"link {self._settings.seed} {number}")
        link = self._ledger.new_link(Link(self._wire, rng, number))
        # Every third as TLS has it: everything goes through the write task.
        transport: Transport = stream_transport(link) if number % 3 == 0 else LinkTransport(link)
        self._site.nursery.start_soon(self._site.server.front.serve, transport, link.peer)
        return link

    def _token(self, user: str) -> str:
        if user not in self._tokens:
            self._tokens[user] = self._site.token(user, ttl=86400, logged_in_ms=int(time.time()) * 1000)
        return self._tokens[user]

    async def _run_faithful(self, over: trio.Event, left: trio.Event) -> None:
        settings = self._settings
        async with trio.open_nursery() as nursery:
            for number in range(settings.faithful):
                rng = random.Random(f"faithful {settings.seed} {number}")
                user = f"faithful{number}"
                client = FaithfulClient(
                    user,
                    rng.sample(self._rooms, 2),
                    rng,
                    self._ledger,
                    self._open_link,
                    lambda user=user: self._token(user),  # type: ignore[misc]
                    lambda: self._script.is_over,
                )
                nursery.start_soon(client.run, settings.acts_every, over)
                self._wire.after(60 + number, lambda client=client, rng=rng: self._trouble(client, rng))  # type: ignore[misc]
        left.set()

    def _trouble(self, client: FaithfulClient, rng: random.Random) -> None:
        """Cut a real client off now and then, or let its way be dead for good or for a while."""
        if self._script.is_over:
            return
        link = client.link
        if link is not None and link.is_clear(1):
            match rng.randrange(4):
                case 0:
                    link.cut(reset=rng.random() < 0.5)
                case 1:
                    link.up.block(dead=True)
                    link.down.block(dead=True)
                case 2:
                    link.down.block(dead=True)
                    self._wire.after(rng.uniform(1, 9), link.heal)
                case _:
                    link.up.sliced = link.down.sliced = True
        self._wire.after(
            rng.expovariate(1 / self._settings.fails_every), lambda: self._trouble(client, rng)
        )

    # --- the audit -----------------------------------------------------------------------------------

    def _audit(self) -> None:
        if self._is_closing:
            return
        self._ledger.read_log(self._logs)
        self._ledger.audit()
        settings = self._settings
        patience = settings.ping_interval + settings.pong_timeout + 5
        now = trio.current_time()
        for client in self._clients:
            if client.link is None:
                continue
            if now - client.heard_at > patience:
                client.hang_up()
            elif client.is_up and client.link.is_clear(10):
                assert client.account is not None
                for channel in self._ledger.overdue(client.account, client.got):
                    self._ledger.violation(
                        f"{client.name}: what it must have by now has not come: {channel}"
                    )
        self._wire.after(AUDIT_SECONDS, self._audit)

    def _must_have_everything(self, client: LightClient) -> None:
        if client.account is None or not client.is_up or client.asked:
            self._ledger.violation(f"{client.name}: not up in the calm, or not answered: {client.asked}")
            return
        for channel in client.account.open:
            length = len(self._ledger.logs[channel].records)
            if client.got.get(channel) != length:
                self._ledger.violation(
                    f"{client.name}: it has {client.got.get(channel)} of {length} of {channel}"
                )
        client.account.owed = {
            channel: len(self._ledger.logs[channel].records) for channel in client.account.open
        }
