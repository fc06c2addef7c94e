"""Doors of apps: who comes in by one, what they are told and hear, and that they leave it once."""

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from support.client import Closed, RawClient, masked
from support.doors import (
    CLOSED,
    DASHBOARD,
    DEVICE,
    EXPECTS,
    FAULT,
    TRIES,
    UNKNOWN,
    Club,
    ClubSite,
    DeviceDoor,
    UndeclaredAnswer,
    change,
    club_site,
    greeting,
    heard,
    line,
    lives,
    received,
    refused,
    said,
    status,
    updated,
)
from support.served import served
from support.site import configured, memory_site
from trio.testing import MockClock

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.lines import AuthSuccess, HeartbeatAck
from tidings.server.app import Server
from tidings.server.config import Heartbeat, Limits
from tidings.server.edge.transport import StreamTransport
from tidings.server.extension import App, Guest, NameConflict


@pytest.fixture
async def club(autojump_clock: MockClock) -> AsyncIterator[ClubSite]:
    """A server with the club's app, on virtual time."""
    async with club_site() as club:
        yield club


# --- who keeps a door --------------------------------------------------------------------------------


def test_a_dialect_has_one_door() -> None:
    """Two apps that keep one keep the server from starting, which names both; so does one app that keeps two."""
    one, other = App("one"), App("other")
    one.door(DEVICE, DeviceDoor())
    other.door(DEVICE, DeviceDoor())
    with pytest.raises(NameConflict, match=r"'line_board_device'.*'one'.*'other'"):
        Server(configured(), apps=[one, other])
    with pytest.raises(NameConflict, match="'one' declares the door of 'line_board_device' twice"):
        one.door(DEVICE, DeviceDoor())


async def test_without_its_app_a_dialect_is_spoken_nowhere(autojump_clock: MockClock) -> None:
    """Its paths, which the defaults name, are 404, also for plain HTTP; `?dialect=` says which app is missing."""
    async with memory_site() as site:
        for path in ("/ws/device", "/ws/dashboard"):
            _, _, body = asked = await (await site.open()).handshake(path, token=site.token())
            assert (asked[0], body["error"]["code"]) == (404, "not_found")
            client = await site.open()
            await client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert (await client.response())[0] == 404
        for dialect in (DEVICE, DASHBOARD):
            answered, _, body = await (await site.open()).handshake(f"/ws?dialect={dialect}")
            assert (answered, body["error"]["code"]) == (400, "bad_request")
            assert "[server] apps" in body["error"]["message"]


async def test_one_app_may_keep_one_door_alone(autojump_clock: MockClock) -> None:
    """Then its dialect is spoken at its path, and the other is not there."""
    app = App("devices")
    app.door(DEVICE, DeviceDoor())
    app.answer("auth_success", AuthSuccess)
    async with served(Server(configured(), apps=[app])) as site:
        client = await site.open()
        assert (await client.handshake("/ws/device?activation_code=ONE"))[0] == 101
        assert await client.receive_json() == greeting()
        assert (await (await site.open()).handshake("/ws/dashboard", token=site.token()))[0] == 404


async def test_a_door_is_the_dialects_at_whatever_path(club: ClubSite) -> None:
    """Chosen by `?dialect=`, it lets in as at its own path."""
    client = await club.stranger(f"/ws?dialect={DEVICE}&activation_code=ONE")
    assert await client.receive_json() == greeting()
    client = await club.stranger(f"/ws?dialect={DASHBOARD}&token={club.site.token('7', group_id='1')}")
    assert (await client.receive_json())["data"]["user_id"] == 7
    assert (await club.asked(f"/ws?dialect={DASHBOARD}"))[0] == 401


async def test_others_come_in_as_ever(club: ClubSite) -> None:
    """The doors are asked about nobody whose dialect has none."""
    client = await club.peers.connect("alice")
    assert (await client.command("ping"))["type"] == "pong"
    assert club.club.devices.admissions == club.club.dashboards.admissions == 0


async def test_a_path_that_names_a_user_lets_in_no_device(club: ClubSite) -> None:
    """Whatever dialect is chosen, the path is its user's: who is another, or says nothing, is refused."""
    path = f"/api/v1/ws/alice?dialect={DEVICE}"
    for more, answer in (("&activation_code=ONE", 403), ("", 403), ("&activation_code=NO", 401)):
        assert (await club.asked(path + more))[0] == answer
    assert not club.club.devices.gone


# --- the handshake -----------------------------------------------------------------------------------


async def test_a_handshake_lets_in(club: ClubSite) -> None:
    """Who bears a credential is in at once: greeted before anything else, and known to the app."""
    client = await club.device(more="&device=pos-1")
    guest = club.club.devices.guest
    assert (guest.identity.user_id, guest.identity.kind) == ("device:1.ONE", "device")
    assert (guest.device, guest.peer, guest.is_closing, guest.has_room) == (
        "pos-1",
        "192.0.2.1",
        False,
        True,
    )
    (connection,) = club.site.server.context.hub.connections_of("device:1.ONE")
    assert guest.connection_id == connection.connection_id
    # Nothing of what users hear by being connected.
    assert not any(guest.hears(channel) for channel in ("all", "user:device:1.ONE", "group:1"))
    await lives(client)


@pytest.mark.parametrize(
    ("path", "answer", "code", "message"),
    [
        ("/ws/device?activation_code=NO", 401, "unauthorized", UNKNOWN),
        ("/ws/device?activation_code=", 401, "unauthorized", UNKNOWN),
        ("/ws/device?activation_code=MANY", 429, "rate_limited", TRIES.message),
        ("/ws/dashboard", 401, "unauthorized", "a token is needed: Authorization: Bearer, or ?token="),
        ("/ws/dashboard?token=no", 401, "unauthorized", "the token is not a well-formed JWT"),
        ("/ws/dashboard?activation_code=ONE", 401, "unauthorized", None),
    ],
)
async def test_a_bad_credential_is_refused_before_the_upgrade(
    club: ClubSite, path: str, answer: int, code: str, message: str | None
) -> None:
    """401, or 429 where it was tried too often, with a body that says why."""
    answered, headers, body = await club.asked(path)
    assert (answered, body["error"]["code"]) == (answer, code)
    assert message is None or body == {"error": {"code": code, "message": message}}
    # Whole seconds, rounded up: who waits exactly that long must not come too early.
    assert headers.get("retry-after") == ("8" if answer == 429 else None)
    challenge = "Bearer" if "dashboard" in path else "Tidings"
    assert headers.get("www-authenticate") == (challenge if answer == 401 else None)
    assert not club.club.devices.admissions


async def test_who_is_not_admitted_is_refused_before_the_upgrade(club: ClubSite) -> None:
    """403 with the app's own words, through either door."""
    club.club.devices.refuses = club.club.dashboards.refuses = CLOSED
    for path, token in (
        ("/ws/device?activation_code=ONE", None),
        ("/ws/dashboard", club.site.token(group_id="1")),
    ):
        answered, _, body = await club.asked(path, token=token)
        assert (answered, body) == (403, {"error": {"code": "forbidden", "message": CLOSED.message}})
    assert not club.club.devices.gone


async def test_a_door_counts_connections_as_everywhere(autojump_clock: MockClock) -> None:
    """`connections_per_user` holds for who an app lets in: 429 at the handshake, 3504 by a first message."""
    async with club_site(configured(limits=Limits(connections_per_user=2))) as club:
        first, second = await club.device(), await club.device()
        answered, headers, body = await club.asked("/ws/device?activation_code=ONE")
        assert (answered, body["error"]["code"]) == (429, "limit_reached")
        assert "retry-after" in headers
        late = await club.stranger()
        await late.send_json({"type": "heartbeat", "activation_code": "ONE"})
        assert (await late.closed()).code == 3504
        await club.device("TWO")
        for client in (first, second):
            await lives(client)


@pytest.mark.parametrize("by_message", [False, True])
async def test_whose_place_is_taken_does_not_count(autojump_clock: MockClock, by_message: bool) -> None:
    """A device that comes back before its old connection is found dead gets in, also where no other would."""
    async with club_site(configured(limits=Limits(connections_per_user=1))) as club:
        old = await club.device(more="&device=pos-1")
        path = "/ws/device?device=pos-1" + ("" if by_message else "&activation_code=ONE")
        new = await club.stranger(path)
        if by_message:
            await new.send_json({"type": "heartbeat", "activation_code": "ONE"})
        assert await new.receive_json() == greeting()
        closed = await old.closed()
        assert closed.code == 3508
        other = await club.asked("/ws/device?device=pos-2&activation_code=ONE")
        assert (other[0], other[2]["error"]["code"]) == (429, "limit_reached")
        assert len(club.club.devices.gone) == 1
        if not by_message:
            await lives(new)


async def test_a_fault_at_the_handshake_is_one_connections(club: ClubSite) -> None:
    """A door that raises there costs that connection and is logged; the next comes in."""
    for method in ("identify", "recognize", "admit"):
        club.club.devices.faults = {method}
        with pytest.raises(Closed):
            await club.asked("/ws/device?activation_code=ONE")
        club.expected_faults("request failed")
    club.club.devices.faults = set()
    await lives(await club.device())


# --- the first message -------------------------------------------------------------------------------


async def test_a_first_message_lets_in_and_is_handled(club: ClubSite) -> None:
    """The greeting comes first, then the answer to what was asked with it."""
    client = await club.stranger()
    await client.send_json(line("c-1", activation_code="ONE"))
    assert await heard(client, 2) == [greeting(), received("c-1")]
    assert club.club.devices.guest.identity.user_id == "device:1.ONE"
    # Known now: nothing more need be said of who it is.
    await client.send_json(line("c-2"))
    assert await client.receive_json() == received("c-2")
    assert len(club.club.devices.inside) == 1


async def test_the_first_message_of_several_lets_in(club: ClubSite) -> None:
    """All of them are handled then, with a credential of their own or none; one greeting comes before."""
    client = await club.stranger()
    await said(client, line("c-1", activation_code="ONE"), status("a", activation_code="ONE"), line("c-2"))
    assert await heard(client, 4) == [greeting(), received("c-1"), updated("a"), received("c-2")]
    assert len(club.club.devices.inside) == 1


async def test_a_later_message_of_several_may_let_in(club: ClubSite) -> None:
    """What came before it is refused, since it was not known who spoke; nothing of it is done."""
    client = await club.stranger()
    await said(client, line("c-1"), line("c-2", activation_code="ONE"), line("c-3", activation_code="ONE"))
    assert await heard(client, 4) == [
        refused(EXPECTS, 1, 3),
        greeting(),
        received("c-2"),
        received("c-3"),
    ]
    assert club.club.runs == [["c-2", "c-3"]]


async def test_who_says_nothing_of_themselves_is_told_what_is_expected(club: ClubSite) -> None:
    """And stays, to say it: nothing else is done for them, not even `heartbeat`."""
    client = await club.stranger()
    for message in ({"type": "heartbeat"}, line("c"), line("c", activation_code="")):
        await client.send_json(message)
        assert await client.receive_json() == refused(EXPECTS)
    assert not club.club.runs
    assert not club.site.server.context.hub.connections
    await client.send_json({"type": "heartbeat", "activation_code": "TWO"})
    assert await client.receive_json() == greeting("TWO")


@pytest.mark.parametrize(
    ("credential", "text", "code"),
    [("NO", UNKNOWN, 3500), ("MANY", TRIES.message + "; try again in 7.5 s", 3013)],
)
@pytest.mark.parametrize("several", [False, True])
async def test_a_bad_first_message_closes(
    club: ClubSite, credential: str, text: str, code: int, several: bool
) -> None:
    """With the refusal, then 3500, or 3013 where it was tried too often; of several none is handled."""
    client = await club.stranger()
    message = line("c", activation_code=credential)
    if several:
        await said(client, message, message, status("a"), line("d", activation_code="ONE"))
    else:
        await client.send_json(message)
    messages, closed = await client.until_closed()
    assert (messages, closed.code) == ([refused(text)], code)
    assert not club.club.runs
    assert not club.club.devices.gone
    assert (
        club.site.server.context.refusals["door", "unauthorized" if code == 3500 else "rate_limited"] == 1
    )


async def test_who_says_nothing_in_time_is_closed(club: ClubSite) -> None:
    """3502 after `authenticate_timeout`, however much else is said; who is let in just in time stays."""
    late, punctual = await club.stranger(), await club.stranger()
    await trio.sleep(9.9)
    await late.send_json({"type": "heartbeat"})
    await punctual.send_json({"type": "heartbeat", "activation_code": "ONE"})
    assert await heard(punctual, 2) == [greeting(), _alive("ONE")]
    messages, closed = await late.until_closed()
    assert (messages, closed.code) == ([refused(EXPECTS)], 3502)
    assert trio.current_time() == pytest.approx(10)
    await trio.sleep(5)
    await lives(punctual)


def _alive(code: str) -> dict[str, Any]:
    data = {"status": "ok", "message": "心跳正常"}
    return {
        "type": "heartbeat_ack",
        "activation_code": code,
        "timestamp": pytest.approx(time.time(), abs=30),
        "data": data,
    }


async def test_later_messages_are_checked(club: ClubSite) -> None:
    """Another credential is refused, whether it would let in or not; the connection stays who it is."""
    client = await club.device()
    for code, other in (("ONE", False), ("TWO", True), ("NO", True), ("MANY", True), ("", False)):
        await client.send_json(line("c", activation_code=code))
        told = refused("activation_code: not this connection's") if other else received("c")
        assert await client.receive_json() == told
    assert club.club.devices.guest.identity.user_id == "device:1.ONE"
    await said(client, line("c"), line("d", activation_code="TWO"), line("e", activation_code="ONE"))
    assert await heard(client, 3) == [
        received("c"),
        refused("activation_code: not this connection's", 2, 3),
        received("e"),
    ]


async def test_a_token_lets_no_device_in(club: ClubSite) -> None:
    """A door's own dialect asks its app alone: neither a token nor a key in the handshake counts."""
    client = await club.stranger(f"/ws/device?token={club.site.token('alice')}")
    await client.send_json({"type": "heartbeat"})
    assert await client.receive_json() == refused(EXPECTS)
    assert not club.site.server.context.hub.connections_of("alice")
    # Nor does it speak what others say to tell who they are.
    await client.send_json({"type": "authenticate", "data": {"token": club.site.token("alice")}})
    assert "no command 'authenticate'" in (await client.receive_json())["error"]


async def test_a_fault_in_a_first_message_lets_nobody_in(club: ClubSite) -> None:
    """A door that raises is logged and told as a fault of ours, and the next try may succeed."""
    client = await club.stranger()
    for method in ("recognize", "channels", "admit"):
        club.club.devices.faults = {method}
        await client.send_json(line("c", activation_code="ONE"))
        assert await client.receive_json() == refused(FAULT)
        club.expected_faults("handler failed")
        assert not club.site.server.context.hub.connections
    club.club.devices.faults = set()
    await client.send_json(line("c", activation_code="ONE"))
    assert await heard(client, 2) == [greeting(), received("c")]
    club.club.devices.faults = {"check"}
    await client.send_json(line("c", activation_code="ONE"))
    assert await client.receive_json() == refused(FAULT)
    club.expected_faults("handler failed")
    assert not club.club.devices.gone


# --- the step that lets in ---------------------------------------------------------------------------


class _SlowOpening:
    """A broker that answers later, so that there is a time between the look and the letting in."""

    def __init__(self, club: ClubSite) -> None:
        self._open = club.site.server.context.inboxes.open
        self.asked, self.answered = trio.Event(), trio.Event()
        club.site.server.context.inboxes.open = self._wait  # type: ignore[method-assign]

    async def _wait(self, *args: Any, **more: Any) -> Any:
        self.asked.set()
        await self.answered.wait()
        return await self._open(*args, **more)


@pytest.mark.parametrize("by_message", [False, True])
async def test_who_is_admitted_is_asked_again_in_the_step_that_lets_in(
    club: ClubSite, by_message: bool
) -> None:
    """A code that is disabled between the handshake and the registration lets nobody in: told why, and 3503."""
    slow = _SlowOpening(club)
    client = await club.peers.open()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            if by_message:
                assert (await client.handshake("/ws/device"))[0] == 101
                await client.send_json(line("c", activation_code="ONE"))
            else:
                assert (await client.handshake("/ws/device?activation_code=ONE"))[0] == 101

        await slow.asked.wait()
        assert club.club.devices.admissions
        club.club.devices.refuses = CLOSED
        slow.answered.set()
    messages, closed = await client.until_closed()
    assert (messages, closed.code) == ([refused(CLOSED.message)], int(CloseCode.DENIED))
    assert not club.club.runs
    assert not club.club.devices.gone
    assert club.site.server.context.refusals["door", "forbidden"] == 1


@pytest.mark.parametrize("by_message", [False, True])
@pytest.mark.parametrize("how", ["gone", "closed", "late"])
async def test_who_ends_while_being_let_in_has_never_entered(
    club: ClubSite, by_message: bool, how: str
) -> None:
    """Closed by the server, or kept waiting too long: the app hears of nobody, and nothing is left.

    Of a peer that has gone nobody knows before its next byte is asked for: it may enter, and leaves at once.
    """
    slow = _SlowOpening(club)
    client = await club.peers.open()
    path = "/ws/device" + ("" if by_message else "?activation_code=ONE")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_try, client, path, line("c", activation_code="ONE") if by_message else None)
        await slow.asked.wait()
        if how == "gone":
            await client.aclose()
        elif how == "closed":
            for connection in club.site.server.front.connections:
                connection.close(CloseCode.SHUTDOWN)
        else:
            await trio.sleep(30)
        await trio.testing.wait_all_tasks_blocked()
        slow.answered.set()
    await trio.testing.wait_all_tasks_blocked()
    assert not club.club.devices.inside
    if how != "gone":
        assert not club.club.devices.gone
        assert not club.club.runs
    assert len(club.club.devices.gone) <= 1


async def _try(client: RawClient, path: str, message: Any) -> None:
    try:
        await client.handshake(path)
        if message is not None:
            await client.send_json(message)
        await client.closed()
    except (Closed, trio.ClosedResourceError, trio.BrokenResourceError):
        return


# --- entered, and left -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["peer's close", "gone", "garbage", "closed", "guest", "cancelled"])
@pytest.mark.parametrize("waiting", [False, True])
async def test_whoever_entered_leaves_once(club: ClubSite, how: str, waiting: bool) -> None:
    """However it ends, and also while a handler is at work: `left` is told in time, once, and of the same guest."""
    door = club.club.devices
    ours, theirs = trio.testing.memory_stream_pair()
    client = club.peers.adopt(RawClient(ours))
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            with scope:
                await club.site.server.front.serve(StreamTransport(theirs), "192.0.2.1")

        assert (await client.handshake("/ws/device?activation_code=ONE"))[0] == 101
        assert await client.receive_json() == greeting()
        guest = door.guest
        if waiting:
            await client.send_json(status("wait-5"))
            await trio.testing.wait_all_tasks_blocked()
        match how:
            case "peer's close":
                await client.send_close(1000)
            case "gone":
                await client.aclose()
            case "garbage":
                await client.send(b"\xff" * 20)
            case "closed":
                (connection,) = club.site.server.front.connections
                connection.close(CloseCode.SHUTDOWN)
            case "guest":
                assert guest.close(CloseCode.INVALID_TOKEN, "activation code disabled")
                assert not guest.close(CloseCode.SHUTDOWN)
                assert guest.is_closing
                guest.tell(HeartbeatAck("to nobody"))
            case "cancelled":
                scope.cancel()
        with trio.fail_after(11):
            await door.someone_left.wait()
        assert door.gone == [guest]
        assert not door.inside
        if how == "guest":
            messages, closed = await client.until_closed()
            assert (closed.code, closed.reason) == (3500, "activation code disabled")
            assert not any(message["type"] == "heartbeat_ack" for message in messages)
        await client.aclose()
    assert door.gone == [guest]


@pytest.mark.parametrize("by_message", [False, True])
@pytest.mark.parametrize("fault", ["raised", "undeclared"])
async def test_a_fault_in_entering_ends_the_connection(
    club: ClubSite, by_message: bool, fault: str
) -> None:
    """Nobody stays who is half in: 1011, logged, and `left` is told of whom the app had taken in."""
    door = club.club.devices
    if fault == "raised":
        door.faults = {"entered"}
    else:
        door.greeting = UndeclaredAnswer()
    client = await club.stranger("/ws/device" + ("" if by_message else "?activation_code=ONE"))
    if by_message:
        await said(client, line("c", activation_code="ONE"), line("d"))
    messages, closed = await client.until_closed()
    assert (messages, closed.code) == ([], 1011)
    assert not club.club.runs
    await trio.testing.wait_all_tasks_blocked()
    assert not club.site.server.context.hub.connections
    assert len(door.gone) == (fault == "undeclared")
    club.expected_faults("connection failed")
    door.faults, door.greeting = set(), None
    await lives(await club.device())


async def test_a_fault_in_leaving_spoils_no_end(club: ClubSite) -> None:
    """It is logged; the connection is gone all the same, and the app is not told a second time."""
    club.club.devices.faults = {"left"}
    client = await club.device()
    await client.send_close(1000)
    assert (await client.closed()).code == 1000
    await trio.testing.wait_all_tasks_blocked()
    assert len(club.club.devices.gone) == 1
    assert not club.site.server.context.hub.connections
    club.expected_faults("door failed")


# --- what guests are told and hear -------------------------------------------------------------------


async def test_what_is_told_comes_in_its_place(club: ClubSite) -> None:
    """Behind what was published or answered before, and before what comes after, though those wait for a tick."""
    client = await club.dashboard()
    guest = club.club.dashboards.guest
    # The answer to it, and the publication, wait for the end of the tick in which they were given.
    await client.send_json({"type": "heartbeat"})
    await trio.testing.wait_all_tasks_blocked()
    assert (await client.receive_json())["type"] == "heartbeat_ack"
    for turn in range(3):
        await club.publish(10 * turn)
        guest.tell(change(10 * turn + 1), HeartbeatAck(""), change(10 * turn + 2))
        await club.publish(10 * turn + 3)
        guest.tell(change(10 * turn + 4))
    told = await heard(client, 18)
    assert [message["type"] for message in told[2::6]] == ["heartbeat_ack"] * 3
    numbers = [message["data"]["timestamp"] for message in told if message["type"] != "heartbeat_ack"]
    assert numbers == [10 * turn + step for turn in range(3) for step in range(5)]


async def test_what_a_handler_tells_comes_behind_earlier_answers(club: ClubSite) -> None:
    """Of two messages, the first one's answer is not overtaken by what is told while the second is handled."""
    client = await club.device()
    guest = club.club.devices.guest
    frames = [status("a"), line("tell"), status("b")]
    inner = club.club._reply

    def reply(customer: str) -> Any:
        guest.tell(HeartbeatAck("told"))
        return inner(customer)

    club.club._reply = reply  # type: ignore[method-assign]
    await client.send(b"".join(masked(Opcode.TEXT, msgspec.json.encode(frame)) for frame in frames))
    first, told, *rest = await heard(client, 4)
    assert (first, told["type"], rest) == (updated("a"), "heartbeat_ack", [received("tell"), updated("b")])


async def test_what_is_not_declared_is_not_told(club: ClubSite) -> None:
    """All of it or nothing: where one is not declared, that raises and the others are not sent either."""
    client = await club.device()
    guest = club.club.devices.guest
    with pytest.raises(LookupError):
        guest.tell(HeartbeatAck("x"), UndeclaredAnswer("x"))
    # What the dialect has no word for is passed over: devices hear no events.
    guest.tell(change(1))
    guest.tell()
    guest.tell(change(2), HeartbeatAck("y"), change(3))
    assert (await client.receive_json())["activation_code"] == "y"
    await lives(client)


async def test_the_greeting_comes_first(club: ClubSite) -> None:
    """Though the app tells, from a task, and others publish from the very moment in which somebody enters."""
    async with trio.open_nursery() as nursery:

        def entered(guest: Guest) -> None:
            nursery.start_soon(_tell, guest)
            nursery.start_soon(club.publish, 1)

        club.club.dashboards.on_entered = entered
        client = await club.stranger(f"/ws/dashboard?token={club.site.token('7', group_id='1')}")
        first, *rest = await heard(client, 3)
    assert first["type"] == "connected"
    assert sorted(message["data"]["timestamp"] for message in rest) == [1, 2]


@pytest.mark.parametrize("dialect", ["its door", "none"])
async def test_nothing_overtakes_the_greeting(club: ClubSite, dialect: str) -> None:
    """Who comes in while much is published is greeted first, and hears from then on each, in order."""

    async def chatter() -> None:
        number = 0
        while True:
            await club.publish(number)
            number += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(chatter)
        token = club.site.token("7", group_id="1")
        for _ in range(10):
            client = await club.stranger(
                f"/ws{'/dashboard' if dialect == 'its door' else ''}?token={token}"
            )
            first, *rest = await heard(client, 6)
            assert first["type"] == "connected"
            numbers = [message["data"]["timestamp"] for message in rest]
            assert numbers == [numbers[0] + step for step in range(5)]
        nursery.cancel_scope.cancel()


async def _tell(guest: Guest) -> None:
    guest.tell(change(2))


async def test_who_comes_in_hears_its_doors_channels_alone(club: ClubSite) -> None:
    """A group's dashboards hear their group and no other, nor what users hear by being connected."""
    one, two, none = (
        await club.dashboard("7"),
        await club.dashboard("8", "2"),
        await club.dashboard("9", None),
    )
    assert [guest.hears("group:1") for guest in club.club.dashboards.inside] == [True, False, False]
    for channel, number in (("all", 1), ("user:7", 2), ("group:2", 3), ("group:1", 4)):
        await club.publish(number, channel)
    assert (await one.receive_json())["data"]["timestamp"] == 4
    assert (await two.receive_json())["data"]["timestamp"] == 3
    for client in (one, two, none):
        await lives(client)


async def test_a_guest_may_hear_more(club: ClubSite) -> None:
    """`hear` subscribes without a word, once however often; who has left meanwhile hears nothing."""
    client = await club.dashboard(group=None)
    guest = club.club.dashboards.guest
    assert not guest.hears("group:3")
    for _ in range(2):
        await guest.hear("group:3")
    assert guest.hears("group:3")
    await club.publish(1, "group:3")
    assert (await client.receive_json())["data"]["timestamp"] == 1
    await lives(client)
    await client.send_close()
    await client.closed()
    await trio.testing.wait_all_tasks_blocked()
    await guest.hear("group:4")
    assert not guest.hears("group:3")
    assert not guest.hears("group:4")


async def test_a_guest_that_does_not_read_has_no_room(autojump_clock: MockClock) -> None:
    """`wait_room` ends once at most half of what may wait does, or with the connection."""
    limits = Limits(message_bytes=1_000, outbox_bytes=10_000)
    async with club_site(configured(limits=limits, heartbeat=Heartbeat(close_timeout=1))) as club:
        ours, theirs = trio.testing.lockstep_stream_pair()
        client = club.peers.adopt(RawClient(ours))
        club.site.nursery.start_soon(club.site.server.front.serve, StreamTransport(theirs), "192.0.2.1")
        assert (await client.handshake("/ws/device?activation_code=ONE"))[0] == 101
        assert await client.receive_json() == greeting()
        guest = club.club.devices.guest
        sent = await _fill(guest)
        assert 5 <= sent <= 12
        assert not guest.is_closing
        roomy, ended = trio.Event(), trio.Event()

        async def wait(event: trio.Event) -> None:
            await guest.wait_room()
            event.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, roomy)
            await trio.testing.wait_all_tasks_blocked()
            assert not roomy.is_set()
            await heard(client, sent)
            await trio.testing.wait_all_tasks_blocked()
            assert roomy.is_set()
            await _fill(guest)
            nursery.start_soon(wait, ended)
            await trio.testing.wait_all_tasks_blocked()
            assert not ended.is_set()
            await client.aclose()
        assert ended.is_set()


async def _fill(guest: Guest) -> int:
    """Tell it what it does not read, until it has no room; how much that was."""
    told = 0
    while guest.has_room:
        guest.tell(HeartbeatAck("x" * 500))
        told += 1
        await trio.testing.wait_all_tasks_blocked()
    return told


# --- longer messages ---------------------------------------------------------------------------------


def _long(size: int, **more: Any) -> dict[str, Any]:
    """A message of so many bytes."""
    bare = line("c", **more)
    bare["data"]["note"] = ""
    bare["data"]["note"] = "x" * (size - len(msgspec.json.encode(bare)))
    assert len(msgspec.json.encode(bare)) == size
    return bare


@pytest.fixture
async def roomy(autojump_clock: MockClock) -> AsyncIterator[ClubSite]:
    """A server of short messages whose devices may send twenty times as much."""
    club = Club()
    club.devices.message_bytes = 20_000
    async with club_site(configured(limits=Limits(message_bytes=1_000, outbox_bytes=10_000)), club) as site:
        yield site


async def test_strangers_send_no_long_messages(roomy: ClubSite) -> None:
    """Before it is let in, a device has the limit of everybody: 1009 beyond, though it would say who it is."""
    client = await roomy.stranger()
    await client.send_json(_long(1_001, activation_code="ONE"))
    assert (await client.closed()).code == 1009
    assert not roomy.club.devices.gone
    client = await roomy.stranger()
    await client.send_json(_long(1_000, activation_code="ONE"))
    assert await heard(client, 2) == [greeting(), received("c")]


@pytest.mark.parametrize("by_message", [False, True])
@pytest.mark.parametrize("fragments", [1, 5])
async def test_who_is_in_may_send_as_much_as_its_door_allows(
    roomy: ClubSite, by_message: bool, fragments: int
) -> None:
    """The door's own limit holds from the greeting on, to the byte, in one frame or several."""
    if by_message:
        client = await roomy.stranger()
        await client.send_json(line("c", activation_code="ONE"))
        assert await heard(client, 2) == [greeting(), received("c")]
    else:
        client = await roomy.device()
    for size in (1_001, 20_000):
        await client.send(_fragmented(_long(size), fragments))
        assert await client.receive_json() == received("c")
    await client.send(_fragmented(_long(20_001), fragments))
    assert (await client.closed()).code == 1009
    assert len(roomy.club.devices.gone) == 1


def _fragmented(message: Any, count: int) -> bytes:
    data = msgspec.json.encode(message)
    step = -(-len(data) // count)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    return b"".join(
        masked(Opcode.CONTINUATION if at else Opcode.TEXT, piece, fin=at == len(pieces) - 1)
        for at, piece in enumerate(pieces)
    )


async def test_the_answers_to_a_long_message_may_be_as_long(roomy: ClubSite) -> None:
    """What waits for a device may be as much as it may say at once, also where that is over `outbox_bytes`."""
    client = await roomy.device()
    message = line("c" * 128)
    message["data"]["note"] = "x" * 30
    await said(client, *[message] * 80)
    assert await heard(client, 80) == [received("c" * 128)] * 80


async def test_other_doors_keep_the_usual_limit(roomy: ClubSite) -> None:
    """A door that says nothing of it has everybody's, as have connections without one."""
    for client in (await roomy.dashboard(), await roomy.peers.connect("alice")):
        await client.send_text('{"type":"heartbeat","x":"' + "x" * 1_000 + '"}')
        assert (await client.closed()).code == 1009


async def test_a_door_may_ask_for_less(autojump_clock: MockClock) -> None:
    """A limit below the usual one holds, too, once somebody is in."""
    club = Club()
    club.devices.message_bytes = 500
    async with club_site(club=club) as site:
        client = await site.device()
        await client.send_json(_long(500))
        assert await client.receive_json() == received("c")
        await client.send_json(_long(501))
        assert (await client.closed()).code == 1009
