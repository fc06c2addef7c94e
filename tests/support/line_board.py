"""A server with a line board, and its devices and dashboards as document S3 has them."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from support.accounts import FrontEnd, _client
from support.client import RawClient
from support.records import _migrated
from support.site import ENGINE, SECRET, Site, listening_site
from support.tasks import Peers, quiet
from tidings.server.choosing import choose_apps, migrations_of
from tidings.server.config import Auth, Config, History, Limits, Lines, Server, Store
from tidings.server.store.records.files import NAME

GREETING: Final = "认证成功，请同步Line账号列表"
CONNECTED: Final = "WebSocket连接成功"
ALIVE: Final = {"status": "ok", "message": "心跳正常"}

# What a group of nothing shows; the document's names.
NOTHING: Final = {
    "total_accounts": 0,
    "online_accounts": 0,
    "total_incoming": 0,
    "today_incoming": 0,
    "duplicate_incoming": 0,
    "today_duplicate": 0,
}
COUNTS: Final = ("total_incoming", "today_incoming", "duplicate_incoming", "today_duplicate")


def lines_config(folder: Path, url: str = "", *, limits: Limits | None = None, **settings: Any) -> Config:
    """A server's configuration that keeps a line board at `url`, if given, else in `folder`."""
    return Config(
        auth=Auth(secret=SECRET),
        server=Server(engine=ENGINE, port=0, apps=("rooms", "lines"), data_dir=str(folder)),
        history=History(log="sqlite"),
        limits=limits or Limits(connections_per_address=5_000),
        store=Store(url=url),
        lines=Lines(**settings),
    )


#: Unix seconds, as the server has them: a test on virtual time sets another one.
clock = time.time


def is_now(seconds: Any, now: Callable[[], float] | None = None) -> bool:
    """Whether it is Unix seconds, whole, and of this moment."""
    return type(seconds) is int and abs(seconds - (now or clock)()) < 30


def stamped(message: Any) -> Any:
    """A message without its times, which must be now: of itself, and of its data."""
    told = dict(message)
    if "timestamp" in told:
        # The envelope's is the machine's, as of every message.
        assert is_now(told.pop("timestamp"), time.time), message
    if isinstance(told.get("data"), dict) and "timestamp" in told["data"]:
        told["data"] = dict(told["data"])
        assert is_now(told["data"].pop("timestamp")), message
    return told


def counts(total: int = 0, duplicate: int = 0) -> dict[str, int]:
    """The figures of lines that all came today."""
    return dict(zip(COUNTS, (total, total, duplicate, duplicate), strict=True))


@dataclass(frozen=True)
class Group:
    """A group, as an administrator has made it."""

    id: int
    code: str


class Device:
    """A Windows client of the document."""

    def __init__(self, client: RawClient) -> None:
        self.client = client

    async def send(self, kind: str, data: Any = None, **more: Any) -> None:
        """Send a message of the document's envelope."""
        await self.client.send_json({"type": kind, **({} if data is None else {"data": data}), **more})

    async def next(self) -> Any:
        """The next message as it is."""
        return await self.client.receive_json()

    async def ask(self, kind: str, data: Any = None, **more: Any) -> Any:
        """Send a message; the next that comes is its answer, whose times are now."""
        await self.send(kind, data, **more)
        return stamped(await self.next())

    async def sync(self, *names: str, **status: str) -> Any:
        """Sync accounts, online unless `status` has another; the answer's data."""
        accounts = [
            {"line_account_id": name, "online_status": status.get(name, "online")} for name in names
        ]
        answer = await self.ask("sync_line_accounts", accounts)
        assert answer["type"] == "sync_result", answer
        return answer["data"]

    async def incoming(self, account: str, customer: str, **more: Any) -> Any:
        """Report a line; the answer's data."""
        answer = await self.ask(
            "incoming", {"line_account_id": account, "incoming_line_id": customer, **more}
        )
        assert answer["type"] == "incoming_received", answer
        return answer["data"]

    async def refused(self, kind: str, data: Any = None, **more: Any) -> str:
        """The text of the refusal of a message, which has nothing else in it."""
        answer = await self.ask(kind, data, **more)
        assert answer.keys() == {"type", "error"}, answer
        assert answer["type"] == "error", answer
        return str(answer["error"])

    async def lives(self) -> None:
        """That nothing is on its way, and that the connection lives."""
        assert (await self.ask("heartbeat"))["type"] == "heartbeat_ack"


@dataclass
class Dashboard:
    """A front end of the document: what it has been told, sorted."""

    client: RawClient
    stats: dict[str, Any] = field(default_factory=dict)
    """The last figures of each group, by its code."""
    accounts: dict[str, Any] = field(default_factory=dict)
    """The last figures of each account."""
    events: list[Any] = field(default_factory=list)
    """All else, in order, without times; not yet asked for."""
    updates: list[tuple[float, str]] = field(default_factory=list)
    """When which figures came."""

    async def read(self) -> Any:
        """Read one message and sort it away."""
        message = stamped(await self.client.receive_json())
        kind, data = message["type"], message.get("data")
        match kind:
            case "group_stats_update":
                assert data.keys() == {"activation_code", *NOTHING}, message
                assert message.keys() == {"type", "data"}, message
                self.stats[data.pop("activation_code")] = data
                self.updates.append((trio.current_time(), kind))
            case "account_stats_update":
                assert data.keys() == {"line_id", *COUNTS}, message
                assert message.keys() == {"type", "data"}, message
                self.accounts[line := data.pop("line_id")] = data
                self.updates.append((trio.current_time(), line))
            case _:
                self.events.append(message)
        return message

    async def event(self) -> Any:
        """The next that is no update of figures."""
        while not self.events:
            await self.read()
        return self.events.pop(0)

    async def shows(self, group: Group, figures: Mapping[str, int]) -> None:
        """Read until the group has these figures; hangs where they never come."""
        while self.stats.get(group.code) != NOTHING | dict(figures):
            await self.read()

    async def shows_account(self, account: str, figures: Mapping[str, int]) -> None:
        """Read until an account has these."""
        while self.accounts.get(account) != figures:
            await self.read()

    async def line(self, group: Group, account: str, customer: str, *, duplicate: bool = False) -> int:
        """That the next event is this incoming line, to the field; its id."""
        event = await self.event()
        number = event["data"].pop("id")
        assert type(number) is int
        assert event == {
            "type": "incoming",
            "data": {
                "line_account_id": account,
                "incoming_line_id": customer,
                "group_id": group.id,
                "duplicate": duplicate,
            },
        }, event
        return number

    async def status(self, group: Group, account: str, status: str) -> None:
        """That the next event is this change of status, to the field."""
        assert await self.event() == {
            "type": "account_status_change",
            "data": {"line_account_id": account, "online_status": status, "group_id": group.id},
        }

    async def statuses(self, group: Group, status: str, *accounts: str) -> None:
        """That the next events are these changes, in any order."""
        found = [await self.event() for _ in accounts]
        data = {"online_status": status, "group_id": group.id}
        assert sorted(found, key=lambda event: event["data"]["line_account_id"]) == [
            {"type": "account_status_change", "data": {"line_account_id": account, **data}}
            for account in sorted(accounts)
        ]

    async def quiet(self) -> None:
        """That nothing but figures is on its way, and that the connection lives."""
        await self.client.send_json({"type": "heartbeat"})
        assert await self.event() == {"type": "heartbeat_ack", "activation_code": "", "data": ALIVE}


@dataclass
class LineBoard(FrontEnd):
    """A running server with a line board."""

    site: Site

    @property
    def root(self) -> str:
        """An administrator's token."""
        return self.site.token("1", roles=["admin"])

    async def group(self, name: str = "group", time_zone: str = "UTC") -> Group:
        """Make a group."""
        body = {"name": name, "time_zone": time_zone}
        made = await self.done("POST", "/api/v1/lines/groups", self.root, json=body)
        return Group(made["id"], made["activation_code"])

    async def renewed(self, group: Group) -> Group:
        """Give a group another code, in place of the one that it has."""
        made = await self.done("POST", f"/api/v1/lines/groups/{group.id}/codes", self.root)
        return Group(group.id, made["activation_code"])

    async def device(self, group: Group, name: str = "", *accounts: str) -> Device:
        """A device that has been greeted, and has synced accounts if any are given."""
        client, status = await self.handshake(f"/ws/device?activation_code={group.code}&device={name}")
        assert status == 101, status
        device = Device(client)
        greeting = await device.next()
        assert greeting == {
            "type": "auth_success",
            "data": {"group_id": group.id, "activation_code": group.code, "message": GREETING},
        }, greeting
        if accounts:
            assert (await device.sync(*accounts))["success"]
        return device

    async def dashboard(
        self, group: Group | None, user: str = "7", *, shown: bool = True, **more: Any
    ) -> Dashboard:
        """A dashboard of a group's user, or (None) an administrator's, that has been greeted.

        And, unless not `shown`, told how its group stands: what happens before that is told twice.
        """
        rights: dict[str, Any] = {"roles": ["admin"]} if group is None else {"group_id": str(group.id)}
        client, status = await self.handshake(
            f"/ws/dashboard?token={self.site.token(user, **rights, **more)}"
        )
        assert status == 101, status
        greeting = await client.receive_json()
        assert greeting == {
            "type": "connected",
            "data": {
                "user_id": int(user) if user.isdigit() else user,
                "group_id": None if group is None else group.id,
                "message": CONNECTED,
            },
        }, greeting
        dashboard = Dashboard(client)
        while shown and group is not None and group.code not in dashboard.stats:
            await dashboard.read()
        return dashboard


@asynccontextmanager
async def line_board(config: Config, *, seconds: float = 60) -> AsyncIterator[LineBoard]:
    """A server on a free port; at the end nothing of its clients may be left with it. Fails after `seconds`."""
    if not config.store.url:
        put_migrated(config)
    with trio.fail_after(seconds):
        async with listening_site(config) as site:
            peers = Peers(site)
            try:
                async with _client(site.port) as client:
                    yield LineBoard(client, peers.open, site)
            finally:
                await peers.aclose()
            await quiet(site)


def put_migrated(config: Config) -> None:
    """Lay the tables down, where none are, from a file that was migrated before: half of what a site costs."""
    path = Path(config.server.data_dir) / NAME
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_migrated(tuple(migrations_of(config, choose_apps(config)))))
        path.chmod(0o600)
