"""What must arrive, against what did: the truth of a simulated run, kept apart from the server's own books.

The truth is what the broker handed to the hub, in order, and when each connection entered and left each
channel: both are noted at the hub's door, before the hub does anything. Everything else is judged from the
bytes that reach the clients.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec
import trio

from support.sim_network import Link
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.app import Server
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.hold import Hold

# Some wrongs are one wrong seen by many.
MOST_VIOLATIONS = 20

# Seconds after which everything sent must have arrived where nothing is wrong with the way.
ARRIVES_WITHIN = 4.0

# Seconds within which who is being sent what it missed must have got some more of it, and for which, once it
# is live, that may stand ahead of the rest: half of an outbox (8 KiB), of which the narrowest way takes 1 KiB
# there and back in at most half a second.
ARRIVES_BEHIND_REPLAY_WITHIN = 10.0


class Message(msgspec.Struct, frozen=True):
    """Everything the server sends."""

    type: str
    data: msgspec.Raw
    timestamp: str
    id: str | None = None
    channel: str | None = None
    offset: int | None = None
    user_id: str | None = None


READERS: dict[bool, Callable[[bytes], Message]] = {
    False: msgspec.json.Decoder(Message).decode,
    True: msgspec.msgpack.Decoder(Message).decode,
}


@dataclass(slots=True)
class Record:
    """One publication, and the message that carries it, as the first receiver of each encoding got it."""

    publication: Publication
    messages: dict[bool, bytes] = field(default_factory=dict)


class Log:
    """All that was published to one channel; offset n stands at n - 1."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.times: list[float] = []
        self.epoch = ""

    def length_at(self, time: float) -> int:
        """How much had been published by then."""
        return bisect_right(self.times, time)


@dataclass(slots=True)
class Account:
    """One connection as the hub was told of it."""

    connection_id: str
    user_id: str
    link: Link
    subscriber: Subscriber
    open: dict[str, int] = field(default_factory=dict)
    """Channels that it is in: the offset behind which it gets everything."""
    left: dict[str, int] = field(default_factory=dict)
    """Channels that it has left: the last offset that it must have got."""
    gone_at: float | None = None
    silence: float = 0.0
    """Seconds since the server had read something, when it was taken out."""
    owed: dict[str, int] = field(default_factory=dict)
    """What it must have got when it is closed: the script says so where it knows."""
    was_behind_at: float = -float("inf")
    """When it was last being sent what it had missed of any channel."""
    replayed: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Channels of which it is being sent what it missed: how far that was, and since when it is no further."""
    code: int | None = None


class Ledger:
    """The books of one run, and everything found wrong."""

    def __init__(self, server: Server, seed: int) -> None:
        self.seed = seed
        self.server = server
        self.logs: defaultdict[str, Log] = defaultdict(Log)
        self.accounts: dict[str, Account] = {}
        self.living: dict[str, Account] = {}
        self.links: dict[str, Link] = {}
        """By the peer's address."""
        self.violations: list[str] = []
        self.failed = trio.Event()
        self.counts: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.most_acked: Counter[str] = Counter()
        """The furthest that any device of a user has said that it has: where a new one begins."""
        self._seen: defaultdict[int, int] = defaultdict(int)
        self.draining = False
        self._log_lines = 0
        self._witness()

    def violation(self, what: str) -> None:
        """Note a wrong."""
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(f"{trio.current_time():.3f} s: {what}")
        self.failed.set()

    def saw(self, who: int, what: str, number: int = 0) -> None:
        """Add to the digest what a client saw, with the time."""
        self._seen[who] = crc32(f"{trio.current_time()} {what} {number}".encode(), self._seen[who])

    @property
    def digest(self) -> str:
        """Of everything that each light client saw, in the order in which it saw it."""
        return f"{crc32(repr(sorted(self._seen.items())).encode()):08x}"

    def new_link(self, link: Link) -> Link:
        """Keep a new connection in sight until its end is explained."""
        self.links[link.peer] = link
        self.counts["connections"] += 1
        return link

    # --- at the hub's door ---------------------------------------------------------------------------

    def _witness(self) -> None:
        hub: Any = self.server.context.hub
        broker: Any = self.server.context.broker
        given = {
            name: getattr(hub, name)
            for name in ("connect", "subscribe", "hold_back", "join", "unsubscribe", "disconnect")
        }

        def deliver(publication: Publication) -> None:
            self._published(publication)
            hub.deliver(publication)

        def connect(subscriber: Subscriber) -> None:
            self._connected(subscriber)
            given["connect"](subscriber)

        def subscribe(subscriber: Subscriber, name: str, position: Position) -> Position:
            account = self.living.get(subscriber.connection_id)
            if account is not None:
                account.open.setdefault(name, len(self.logs[name].records))
                account.left.pop(name, None)
            told: Position = given["subscribe"](subscriber, name, position)
            if account is not None and told.offset != len(self.logs[name].records):
                self.violation(
                    f"{name}: the position told is {told.offset}, not {len(self.logs[name].records)}"
                )
            return told

        def hold_back(subscriber: Subscriber, name: str, position: Position, *, limit: int) -> Hold | None:
            account = self.living.get(subscriber.connection_id)
            if account is not None:
                account.open[name] = len(self.logs[name].records)
                account.left.pop(name, None)
            hold: Hold | None = given["hold_back"](subscriber, name, position, limit=limit)
            if hold is not None and hold.head.offset != len(self.logs[name].records):
                self.violation(f"{name}: cut at {hold.head.offset}, not {len(self.logs[name].records)}")
            return hold

        def join(subscriber: Subscriber, hold: Hold) -> bool:
            account = self.living.get(subscriber.connection_id)
            if account is not None:
                account.was_behind_at = trio.current_time()
                account.replayed.pop(hold.channel, None)
            is_live: bool = given["join"](subscriber, hold)
            return is_live

        def unsubscribe(subscriber: Subscriber, name: str) -> bool:
            account = self.living.get(subscriber.connection_id)
            is_behind = hub.is_held(subscriber, name)
            if account is not None:
                account.replayed.pop(name, None)
            if account is not None and account.open.pop(name, None) is not None and not is_behind:
                account.left[name] = len(self.logs[name].records)
            done: bool = given["unsubscribe"](subscriber, name)
            return done

        def disconnect(subscriber: Subscriber) -> None:
            account = self.living.pop(subscriber.connection_id, None)
            if account is not None:
                account.gone_at = trio.current_time()
                account.silence = account.link.receiver.silence()
            given["disconnect"](subscriber)

        hub.connect, hub.subscribe = connect, subscribe
        hub.hold_back, hub.join = hold_back, join
        hub.unsubscribe, hub.disconnect = unsubscribe, disconnect
        broker._deliver = deliver

    def _published(self, publication: Publication) -> None:
        log = self.logs[publication.channel]
        if (
            publication.offset != len(log.records) + 1
            or (log.epoch or publication.epoch) != publication.epoch
        ):
            self.violation(f"{publication.channel}: offset {publication.offset} is not the next")
        log.epoch = publication.epoch
        log.records.append(Record(publication))
        log.times.append(trio.current_time())
        self.counts["publications"] += 1

    def _connected(self, subscriber: Subscriber) -> None:
        link = self.links[subscriber.peer]
        account = Account(subscriber.connection_id, subscriber.identity.user_id, link, subscriber)
        self.accounts[account.connection_id] = self.living[account.connection_id] = account

    # --- what a client got ---------------------------------------------------------------------------

    def check_publication(self, who: str, message: Message, raw: bytes, *, binary: bool) -> None:
        """Judge the content of a publication that came: the truth's, and the same bytes as everybody's."""
        assert message.channel is not None
        assert message.offset is not None
        self.counts["deliveries"] += 1
        records = self.logs[message.channel].records
        if not 0 < message.offset <= len(records):
            self.violation(f"{who}: {message.channel} {message.offset} was never published")
            return
        record = records[message.offset - 1]
        known = record.messages.get(binary)
        if known is not None:
            if known != raw:
                self.violation(
                    f"{who}: {message.channel} {message.offset} in other bytes than others got: {raw!r}"
                )
            return
        record.messages[binary] = raw
        published = record.publication
        codec: Any = msgspec.msgpack if binary else msgspec.json
        about = message.channel[5:] if message.channel.startswith("user:") else None
        if (
            message.type != published.event
            or codec.decode(message.data) != msgspec.json.decode(published.payload)
            or message.user_id != about
        ):
            self.violation(f"{who}: {message.channel} {message.offset} is not what was published: {raw!r}")

    def must_recover(self, channel: str, since: int) -> bool:
        """Whether who comes back from an offset must be sent all that was missed: it is kept."""
        policy = self.server.context.policies.of(channel)
        log = self.logs[channel]
        if since == len(log.records):
            return True
        age = trio.current_time() - log.times[since]
        return len(log.records) - since <= policy.history_size and age < policy.history_age - 1

    def overdue(self, account: Account, got: dict[str, int]) -> Iterable[str]:
        """Channels of which something has not come that must have; `got` is the last offset of each."""
        now = trio.current_time()
        hub = self.server.context.hub
        for channel in account.open:
            if hub.is_held(account.subscriber, channel):
                # It goes as fast as it is read, and that may be much; but it goes on.
                account.was_behind_at = now
                has = got.get(channel, 0)
                far, at = account.replayed.get(channel, (-1, now))
                if far != has:
                    account.replayed[channel] = (has, now)
                elif now - at > ARRIVES_BEHIND_REPLAY_WITHIN:
                    yield f"{channel}: still {has}, and it is behind"
        if now - account.was_behind_at < ARRIVES_BEHIND_REPLAY_WITHIN:
            return
        for channel, since in account.open.items():
            due = self.logs[channel].length_at(now - ARRIVES_WITHIN)
            if due > since and got.get(channel, since) < due:
                yield f"{channel}: {got.get(channel, since)} of {due}"

    # --- ends ----------------------------------------------------------------------------------------

    def read_log(self, lines: list[Any]) -> None:
        """Take the new lines of the server's log: each connection has one end, and none is an error."""
        for line in lines[self._log_lines :]:
            if line["log_level"] in ("error", "critical", "exception"):
                self.violation(f"an error in the log: {line['event']}: {line.get('exc_info')!r}")
            if line["event"] == "disconnected":
                self._disconnected(line)
            elif line["event"] == "refused":
                self.counts[f"refused at the {line['stage']}"] += 1
        self._log_lines = len(lines)

    def _disconnected(self, line: dict[str, Any]) -> None:
        code, link = line["code"], self.links[line["peer"]]
        self.closes[code] += 1
        account = self.accounts.get(line["connection"])
        why = self._unexplained(code, link, account)
        if why is not None:
            self.violation(f"connection {link.number} was closed with {code}, {why}; {link}; {line}")
        if account is None:
            return
        if account.code is not None:
            self.violation(f"connection {link.number} has two ends: {account.code} and {code}")
        account.code = code

    def _unexplained(self, code: int, link: Link, account: Account | None) -> str | None:
        """Why a close is not explained by what was done to the connection; None when it is."""
        heartbeat = self.server.context.config.heartbeat
        within = heartbeat.ping_interval + heartbeat.pong_timeout
        was_blocked = link.down.blocked_until > 0 or link.up.blocked_until > 0
        match code:
            case CloseCode.NORMAL:
                fine = link.said == CloseCode.NORMAL
            case CloseCode.ABNORMAL:
                fine = link.cut_at is not None or link.left_at is not None
            case CloseCode.SHUTDOWN:
                fine = self.draining
            case CloseCode.SLOW_CONSUMER | CloseCode.INSUFFICIENT_STATE:
                fine = was_blocked or link.slow_until > 0
            case CloseCode.DISCONNECTED:
                fine = link.kicked
            case CloseCode.NOT_AUTHENTICATED:
                fine = was_blocked and account is None
            case CloseCode.NO_PONG:
                if account is not None:
                    least = 0.8 * heartbeat.ping_interval + heartbeat.pong_timeout
                    if not least <= account.silence <= within:
                        return f"after {account.silence} s of silence"
                # On a slow way with a small room a ping may wait behind what its connection has to read.
                fine = was_blocked or link.slow_until > 0
            case _:
                fine = False
        return None if fine else "for no reason that the script gave"

    def audit(self) -> None:
        """Compare the hub's books with ours, and look for connections that should have ended."""
        hub = self.server.context.hub
        figures = hub.statistics()
        subscriptions = sum(len(account.open) for account in self.living.values())
        users = {account.user_id for account in self.living.values()}
        ours = (len(self.living), len(users), subscriptions)
        if (figures.connections, figures.users, figures.subscriptions) != ours:
            self.violation(f"the hub holds {figures}, which should be {ours}")
        if set(hub.online_users()) != users:
            self.violation("the hub's users are not those who are connected")
        most = self.server.context.config.limits.outbox_bytes
        for connection in self.server.front.connections:
            if connection.pending_bytes > most:
                self.violation(f"{connection.peer} has {connection.pending_bytes} bytes in its outbox")
        heartbeat = self.server.context.config.heartbeat
        bound = heartbeat.ping_interval + heartbeat.pong_timeout + heartbeat.close_timeout + 1
        now = trio.current_time()
        for peer, link in list(self.links.items()):
            if link.freed_at is None and now - link.receiver.last_read > bound:
                self.violation(f"connection {link.number} has been silent for over {bound} s and lives")
            if link.freed_at is not None and now - link.freed_at > bound:
                del self.links[peer]
