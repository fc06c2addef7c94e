"""The ledger drill: real clients on bad lines, a publisher that insists, and a server that is killed."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import msgspec
import trio

from tidings.bench.processes import ChildFailed
from tidings.bench.progress import progress
from tidings.bench.resume_client import DrillClient
from tidings.bench.resume_cuts import PING_SECONDS, PONG_SECONDS, Cutter, Kill, kill_often
from tidings.bench.resume_judge import Findings, judge
from tidings.bench.resume_ledger import Handed, Sheet
from tidings.bench.resume_publisher import DrillPublisher
from tidings.bench.resume_server import Mortal, mortal
from tidings.bench.workbench import poll
from tidings.server.auth import Authenticator
from tidings.server.config import Auth

# Rooms of each kind, for each hundred clients: two to four clients hear each publication. Real clients take a third
# of a millisecond for each, and shall keep up on one core.
ROOMS_PER_HUNDRED = 50

# Kinds of room, and the policy of each. A brief one forgets what a longer absence misses, which then has to be
# announced; one that keeps nothing has every absence announced in which something was said.
KINDS: Final = {
    "durable": {"durable": "true", "history_size": "1000000", "history_age": "86400"},
    "memory": {"durable": "false", "history_size": "1000"},
    "brief": {"durable": "false", "history_size": "3"},
    "none": {"durable": "false", "history_size": "0"},
}
EACH: Final = {"durable": 2, "memory": 1, "brief": 1, "none": 1}
"""How many rooms of each kind a client is in."""

INBOX_SHARE = 0.2
"""Of the publications."""

# Every so many clients, one is another device of the user before it.
DEVICES_EVERY = 5

# Connecting is not what is measured: so many at a time.
AT_ONCE = 20

QUIET_SECONDS = 60.0
"""Within which everybody must have everything, at the end."""

WORD_SECONDS = 5.0
"""Within which a word that all are there to hear is heard by all, even on a busy machine."""

PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Drill:
    """How hard it is."""

    clients: int = 200
    seconds: float = 60.0
    rate: float = 500.0
    """Publications a second."""
    kills: int = 2
    cut_every: float = 12.0
    """Seconds between two cuts of one client's line, on average."""
    payload: int = 200
    """Bytes of text in a publication."""
    seed: int = 1
    engine: str = "native"
    tls: bool = False


@dataclass
class Outcome:
    """What came of it."""

    sheet: Sheet
    findings: Findings
    cuts: Counter[str]
    kills: list[Kill]
    seconds: float
    """From the first publication to the acknowledgement of the last, but for the words in every channel before and
    after."""
    published: int
    """Publications acknowledged in these."""
    quiet: bool
    """Whether everybody stood at the end of every channel at last."""
    connections: int
    recovered: int
    unrecovered: int
    replayed: int
    retries: int
    errors: list[str] = field(default_factory=list)
    """Faults in the server's logs."""

    @property
    def up_seconds(self) -> float:
        """Of `seconds`, those in which the server listened."""
        return self.seconds - sum(kill.up - kill.at for kill in self.kills)

    @property
    def deliveries(self) -> int:
        """Publications that were handed over."""
        return sum(1 for stream in self.sheet.streams for _ in stream.handed)

    @property
    def gaps(self) -> Counter[str]:
        """What was announced as missed, by what it was."""
        return Counter(
            "a new epoch" if gap.last is None else "no longer kept"
            for stream in self.sheet.streams
            for gap in stream.gaps
        )


async def drill(options: Drill, directory: Path, core: int) -> Outcome:
    """Run it, with the server on a core and its data in `directory`. Raises ChildFailed."""
    settings: dict[str, object] = {
        "server.engine": options.engine,
        "heartbeat.ping_interval": PING_SECONDS,
        "heartbeat.pong_timeout": PONG_SECONDS,
    }
    for kind, policy in KINDS.items():
        settings |= {f"channels.room:{kind}-*.{key}": value for key, value in policy.items()}
    async with mortal(directory, settings, core=core, tls=options.tls) as server:
        return await _Scene(options, server).play()


class _Scene:
    def __init__(self, options: Drill, server: Mortal) -> None:
        self._options = options
        self._server = server
        self._sheet = Sheet()
        chance = random.Random(f"rooms {options.seed}")
        count = max(2, options.clients * ROOMS_PER_HUNDRED // 100)
        self._rooms = {kind: [f"room:{kind}-{number}" for number in range(count)] for kind in KINDS}
        self._clients = [self._client(number, chance) for number in range(options.clients)]
        self._channels = sorted({stream.channel for stream in self._sheet.streams})
        inboxes = [channel for channel in self._channels if channel.startswith("user:")]
        rooms = [channel for channel in self._channels if not channel.startswith("user:")]
        self._sheet.durable = {*inboxes, *self._rooms["durable"]} & set(self._channels)

        def draw(chance: random.Random) -> str:
            return chance.choice(inboxes if chance.random() < INBOX_SHARE else rooms)

        self._publisher = DrillPublisher(
            server.url("http"),
            server.api_key,
            self._sheet,
            draw_channel=draw,
            payload=options.payload,
            seed=options.seed,
            tls=server.trust(),
        )

    def _client(self, number: int, chance: random.Random) -> DrillClient:
        shares = number % DEVICES_EVERY == DEVICES_EVERY - 1
        rooms = [
            room
            for kind, each in EACH.items()
            for room in chance.sample(self._rooms[kind], min(each, len(self._rooms[kind])))
        ]
        return DrillClient(
            f"client-{number}",
            f"127.60.{number // 250}.{1 + number % 250}",
            f"drill-{number - shares}",
            f"device-{number}",
            rooms,
            self._sheet,
        )

    async def play(self) -> Outcome:
        options, server = self._options, self._server
        tokens = Authenticator(Auth(secret=server.secret))
        limiter = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as clients:

            async def come(client: DrillClient) -> None:
                async with limiter:
                    token = tokens.issue(client.user, ttl=86400)
                    await clients.start(client.live, server.url("ws"), token, server.trust())

            progress(f"{options.clients} clients connect")
            async with trio.open_nursery() as nursery:
                for client in self._clients:
                    nursery.start_soon(come, client)
            # Until somebody has published to it a channel has nothing to lose, and its epoch ends with the server:
            # on a slow machine the first kill would come to channels like that.
            await self._publisher.say(self._channels)
            begun_with = len(self._sheet.accepted)
            cutter = Cutter(self._clients, every=options.cut_every, seed=options.seed)
            kills: list[Kill] = []

            async def kill() -> None:
                kills.extend(
                    await kill_often(
                        server,
                        self._clients,
                        kills=options.kills,
                        seconds=options.seconds,
                        seed=options.seed,
                    )
                )

            progress(f"{options.rate:g} publications/s for {options.seconds:g} s, and cuts")
            seconds, published = 0.0, 0

            async def publish() -> None:
                nonlocal seconds, published
                begun = time.monotonic()
                await self._publisher.publish(options.rate, options.seconds)
                seconds = time.monotonic() - begun
                published = len(self._sheet.accepted) - begun_with

            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish)
                nursery.start_soon(cutter.run, options.seconds)
                nursery.start_soon(kill)
            progress("quiet: what is handed over yet, and the server's histories")
            quiet = await self._quiet()
            await self._read_histories()
            clients.cancel_scope.cancel()
        return Outcome(
            sheet=self._sheet,
            findings=judge(self._sheet),
            cuts=cutter.cuts,
            kills=kills,
            seconds=seconds,
            published=published,
            quiet=quiet,
            connections=sum(client.connections for client in self._clients),
            recovered=sum(client.recovered for client in self._clients),
            unrecovered=sum(client.unrecovered for client in self._clients),
            replayed=sum(client.replayed for client in self._clients),
            retries=self._publisher.retries,
            errors=server.errors(),
        )

    async def _quiet(self) -> bool:
        """Say a last word in every channel until everybody stands at it; whether that came to be.

        A line that was cut in the last moment looks connected until its client reads from it. A channel that keeps
        nothing tells that client of a gap where the word would have been: the next word is for those.
        """
        deadline = trio.current_time() + QUIET_SECONDS

        async def connected() -> bool:
            return all(client.is_connected for client in self._clients)

        async def heard() -> bool:
            return all(stream.stands == last[stream.channel] for stream in self._sheet.streams)

        while (left := deadline - trio.current_time()) > 0:
            await poll(connected, bool, left)
            await self._publisher.say(self._channels)
            last = {each.channel: (each.epoch, each.offset) for each in self._sheet.accepted}
            if await poll(heard, bool, WORD_SECONDS):
                return True
        return False

    async def _read_histories(self) -> None:
        """What durable rooms keep; an inbox keeps only what somebody has not acknowledged."""
        async with httpx.AsyncClient(
            base_url=self._server.url("http"),
            headers={"X-API-Key": self._server.api_key},
            verify=self._server.trust() or False,
            trust_env=False,
        ) as http:
            for channel in self._rooms["durable"]:
                if channel in self._sheet.durable:
                    self._sheet.kept[channel] = await _history(http, channel)


class _Kept(msgspec.Struct):
    offset: int
    data: msgspec.Raw


class _Page(msgspec.Struct):
    publications: list[_Kept]
    epoch: str


async def _history(http: httpx.AsyncClient, channel: str) -> list[Handed]:
    kept: list[Handed] = []
    while True:
        since = kept[-1].offset if kept else 0
        try:
            answer = await http.get(
                f"/api/v1/history/{channel}", params={"since": str(since), "limit": str(PAGE)}
            )
            page = msgspec.json.decode(answer.raise_for_status().content, type=_Page)
        except httpx.HTTPError as error:
            raise ChildFailed(f"the history of {channel}: {error}") from None
        kept += [Handed(page.epoch, each.offset, bytes(each.data)) for each in page.publications]
        if len(page.publications) < PAGE:
            return kept
