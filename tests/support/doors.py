"""An app with two doors of its own, devices' and dashboards', and handlers that do what a message asks for."""

# ruff: noqa: ARG002  a door is asked what every door is asked

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog.testing
import trio

from support.client import RawClient
from support.served import served
from support.site import Site, configured
from support.tasks import Peers, living_tasks, peers_of
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.lines import (
    AccountStatus,
    AccountStatusChange,
    AccountStatusUpdated,
    AuthSuccess,
    BoardConnected,
    GroupStats,
    Heartbeat,
    HeartbeatAck,
    Incoming,
    IncomingReceived,
)
from tidings.server.app import Server
from tidings.server.config import Config
from tidings.server.extension import App, Call, Guest, Push
from tidings.server.http import Request
from tidings.server.identity import NO_END, Identity

DEVICE: Final = "line_board_device"
DASHBOARD: Final = "line_board"

EXPECTS: Final = "activation_code: say it first"
UNKNOWN: Final = "activation_code: unknown"
TRIES: Final = Refusal(ErrorCode.RATE_LIMITED, "too many wrong codes", retry_after=7.5)
CLOSED: Final = Refusal(ErrorCode.FORBIDDEN, "this group is closed")

CODES: Final = {"ONE": 1, "ALSO": 1, "TWO": 2}

FAULT: Final = "the server failed to do this; it was not your fault"
LATE: Final = "the server took too long; it may or may not have been done"
NOT_BEGUN: Final = "the server took too long with an earlier one; it was not done"


def change(number: int) -> AccountStatusChange:
    """An event that a number tells from others."""
    return AccountStatusChange(str(number), "online", 1, number)


class UndeclaredAnswer(Heartbeat, frozen=True):
    """What no app has declared."""


class _Door:
    """What both doors have in common: what a test sets, and what it looks at afterwards."""

    expects = EXPECTS

    def __init__(self) -> None:
        self.silence_seconds: float | None = None
        self.message_bytes: int | None = None
        self.refuses: Refusal | None = None
        """What is against everybody, as `admit` says it."""
        self.faults: set[str] = set()
        """Which of the methods raise."""
        self.inside: list[Guest] = []
        self.gone: list[Guest] = []
        self.admissions = 0
        self.greeting: Any = None
        """In place of the usual one."""
        self.on_entered: Any = None
        """Called with whom a dashboard's door lets in."""
        self.someone_left = trio.Event()

    def _may_fail(self, method: str) -> None:
        if method in self.faults:
            raise RuntimeError(method)

    def admit(self, identity: Identity) -> Refusal | None:
        self._may_fail("admit")
        self.admissions += 1
        return self.refuses

    def replaces(self, identity: Identity, device: str) -> int:
        self._may_fail("replaces")
        return len(self._older(identity, device))

    def _older(self, identity: Identity, device: str) -> list[Guest]:
        """Connections in whose place a new one would come: those that call their device as it does."""
        return [
            guest
            for guest in self.inside
            if device and guest.identity == identity and guest.device == device and not guest.is_closing
        ]

    def left(self, guest: Guest) -> None:
        self.inside.remove(guest)
        self.gone.append(guest)
        self.someone_left.set()
        assert not guest.hears(f"group:{guest.identity.group_id or 1}"), "it hears nothing any more"
        self._may_fail("left")

    def _enter(self, guest: Guest) -> None:
        self._may_fail("entered")
        assert guest not in self.inside
        assert guest not in self.gone
        for older in self._older(guest.identity, guest.device):
            older.close(CloseCode.LOGGED_IN_ELSEWHERE)
        self.inside.append(guest)

    @property
    def guest(self) -> Guest:
        """The one who is in."""
        (guest,) = self.inside
        return guest


class DeviceDoor(_Door):
    """Lets in whoever has one of a few codes."""

    def identify(self, request: Request) -> Identity | Refusal | None:
        self._may_fail("identify")
        code = request.query("activation_code")
        return None if code is None else self.recognize(code, request.peer)

    def recognize(self, credential: str, peer: str) -> Identity | Refusal:
        self._may_fail("recognize")
        if credential == "MANY":
            return TRIES
        group = CODES.get(credential)
        if group is None:
            return Refusal(ErrorCode.UNAUTHORIZED, UNKNOWN)
        return Identity(f"device:{group}.{credential}", f"group {group}", NO_END, kind="device")

    def check(self, identity: Identity, credential: str) -> Refusal | None:
        self._may_fail("check")
        if identity.user_id.endswith(f".{credential}"):
            return None
        return Refusal(ErrorCode.FORBIDDEN, "activation_code: not this connection's")

    def channels(self, identity: Identity) -> Sequence[str]:
        self._may_fail("channels")
        return ()

    def entered(self, guest: Guest) -> Any:
        self._enter(guest)
        group, _, code = guest.identity.user_id.removeprefix("device:").partition(".")
        return self.greeting or AuthSuccess(int(group), code)


class DashboardDoor(_Door):
    """Lets in users with a token; they hear their group's channel, and nothing else."""

    def identify(self, request: Request) -> Identity | Refusal | None:
        raise AssertionError("its dialect needs a token")

    def recognize(self, credential: str, peer: str) -> Identity | Refusal:
        raise AssertionError("its dialect needs a token")

    def check(self, identity: Identity, credential: str) -> Refusal | None:
        raise AssertionError("its messages say nothing of who has sent them")

    def channels(self, identity: Identity) -> Sequence[str]:
        self._may_fail("channels")
        return [f"group:{identity.group_id}"] if identity.group_id else []

    def entered(self, guest: Guest) -> Any:
        self._enter(guest)
        identity = guest.identity
        if self.on_entered is not None:
            self.on_entered(guest)
        return BoardConnected(identity.user_id, int(identity.group_id) if identity.group_id else None)


@dataclass
class Club:
    """The app's two doors, and what its handlers were given."""

    devices: DeviceDoor = field(default_factory=DeviceDoor)
    dashboards: DashboardDoor = field(default_factory=DashboardDoor)
    runs: list[list[str]] = field(default_factory=list)
    """The customers of the lines that were handled together, or alone."""
    push: Push | None = None

    def app(self) -> App:
        """The app. Each server has one of its own."""
        app = App("club")
        app.door(DEVICE, self.devices)
        app.door(DASHBOARD, self.dashboards)
        for name, answer in (
            ("auth_success", AuthSuccess),
            ("board_connected", BoardConnected),
            ("heartbeat_ack", HeartbeatAck),
            ("incoming_received", IncomingReceived),
            ("account_status_updated", AccountStatusUpdated),
        ):
            app.answer(name, answer)
        app.event("account_status_change", AccountStatusChange)
        app.event("group_stats_update", GroupStats)
        app.command("heartbeat", Heartbeat)(self._heartbeat)
        app.command("account_status_change", AccountStatus)(self._status)
        app.command("incoming", Incoming, open_fields=True)(self._incoming)
        app.many("incoming")(self._incoming_together)
        return app

    async def _heartbeat(self, call: Call[Heartbeat]) -> Any:
        self.push = call.push
        return HeartbeatAck(call.data.activation_code)

    async def _status(self, call: Call[AccountStatus]) -> Any:
        """A command that is handled alone: the account's name says what is to become of it."""
        name = str(call.data.line_account_id)
        match name.partition("-"):
            case ("wait", _, seconds):
                await trio.sleep(float(seconds))
            case ("fail", _, _):
                raise RuntimeError(name)
            case ("close", _, _):
                self.devices.guest.close(CloseCode.INVALID_TOKEN, "activation code disabled")
            case ("publish", _, number):
                await call.push.publish("group:1", "account_status_change", change(int(number)))
            case ("refuse", _, _):
                return Refusal(ErrorCode.NOT_FOUND, "line_account_id: no such account")
        return AccountStatusUpdated(name, call.data.online_status, "updated")

    async def _incoming(self, call: Call[Incoming]) -> Any:
        (reply,) = await self._handled([call])
        return reply

    async def _incoming_together(self, calls: Sequence[Call[Incoming]]) -> Sequence[Any]:
        assert len(calls) > 1, "of one alone the handler of one is asked"
        return await self._handled(calls)

    async def _handled(self, calls: Sequence[Call[Incoming]]) -> list[Any]:
        customers = [str(call.data.incoming_line_id) for call in calls]
        self.runs.append(customers)
        # The last that asks for something decides for all.
        for customer in customers:
            match customer.partition("-"):
                case ("wait", _, seconds):
                    await trio.sleep(float(seconds))
                case ("fail", _, _):
                    raise RuntimeError(customer)
                case ("few", _, _):
                    return [IncomingReceived("a", customer, "processed")]
                case ("close", _, _):
                    self.devices.guest.close(CloseCode.INVALID_TOKEN, "activation code disabled")
        return [self._reply(customer) for customer in customers]

    def _reply(self, customer: str) -> Any:
        match customer.partition("-")[0]:
            case "refuse":
                return Refusal(ErrorCode.NOT_FOUND, f"incoming_line_id: {customer}")
            case "undeclared":
                return UndeclaredAnswer()
            case "nothing":
                return None
        return IncomingReceived("a", customer, "processed")


def line(customer: str, **more: Any) -> dict[str, Any]:
    """A device's message of a line that came in."""
    return {"type": "incoming", "data": {"line_account_id": "a", "incoming_line_id": customer}, **more}


def received(customer: str) -> dict[str, Any]:
    """The answer to it."""
    data = {"line_account_id": "a", "incoming_line_id": customer, "status": "processed"}
    return {"type": "incoming_received", "data": data}


def status(name: str, **more: Any) -> dict[str, Any]:
    """A device's message that is handled alone."""
    return {
        "type": "account_status_change",
        "data": {"line_account_id": name, "online_status": "online"},
        **more,
    }


def updated(name: str) -> dict[str, Any]:
    """The answer to it."""
    data = {"line_account_id": name, "online_status": "online", "status": "updated"}
    return {"type": "account_status_updated", "data": data}


def refused(text: str, at: int | None = None, of: int = 0) -> dict[str, Any]:
    """A refusal, of a message by itself or of the one in this place."""
    return {"type": "error", "error": text if at is None else f"message {at} of {of}: {text}"}


def greeting(code: str = "ONE") -> dict[str, Any]:
    """What a device is greeted with."""
    text = "认证成功，请同步Line账号列表"
    data = {"group_id": CODES[code], "activation_code": code, "message": text}
    return {"type": "auth_success", "data": data}


@dataclass
class ClubSite:
    """A server with the club's app, and its clients."""

    club: Club
    site: Site
    peers: Peers
    faults: list[Any]
    """What was logged as an error."""

    async def stranger(self, path: str = "/ws/device") -> RawClient:
        """A device that has not said who it is."""
        client = await self.peers.open()
        status, _, body = await client.handshake(path)
        assert status == 101, (status, body)
        return client

    async def device(self, code: str = "ONE", more: str = "") -> RawClient:
        """A device that was let in by its handshake, and has been greeted."""
        client = await self.stranger(f"/ws/device?activation_code={code}{more}")
        assert await client.receive_json() == greeting(code)
        return client

    async def dashboard(self, user: str = "7", group: str | None = "1") -> RawClient:
        """A dashboard that has been greeted."""
        token = self.site.token(user, group_id=group)
        client = await self.stranger(f"/ws/dashboard?token={token}")
        assert (await client.receive_json())["type"] == "connected"
        return client

    async def asked(self, path: str, **more: Any) -> tuple[int, dict[str, str], Any]:
        """How a handshake is answered."""
        return await (await self.peers.open()).handshake(path, **more)

    async def publish(self, number: int, channel: str = "group:1") -> None:
        """Publish to a group what the number tells from others."""
        push = self.site.server.context.push
        await push.publish(channel, "account_status_change", change(number))

    def expected_faults(self, *events: str) -> None:
        """That these, and no others, were logged as errors; they are forgotten then."""
        assert [fault["event"] for fault in self.faults if fault["log_level"] == "error"] == [*events]
        self.faults.clear()


@asynccontextmanager
async def club_site(config: Config | None = None, club: Club | None = None) -> AsyncIterator[ClubSite]:
    """A server on memory streams with the club's app.

    At the end nobody may be in it, whoever was has left once, no task is left, and no error was logged but
    those that the test expected.
    """
    club = club or Club()
    with structlog.testing.capture_logs() as logs:
        async with served(Server(config or configured(), apps=[club.app()])) as site:
            with living_tasks() as tasks:
                async with peers_of(site) as peers:
                    yield ClubSite(club, site, peers, logs)
                # By name: of a fixture's site the test's own task has ended meanwhile.
                assert not tasks.names, tasks.names.values()
            for door in (club.devices, club.dashboards):
                assert not door.inside
                assert len(door.gone) == len(set(door.gone))
    assert [line for line in logs if line["log_level"] == "error"] == []


async def said(client: RawClient, *messages: Any) -> None:
    """Send several messages in one."""
    await client.send_json(list(messages))


async def heard(client: RawClient, count: int) -> list[Any]:
    """The next messages."""
    return [await client.receive_json() for _ in range(count)]


async def lives(client: RawClient) -> None:
    """That nothing is on its way to a device or a dashboard, and that it is served."""
    await client.send_json({"type": "heartbeat"})
    answer = await client.receive_json()
    assert answer["type"] == "heartbeat_ack", answer
