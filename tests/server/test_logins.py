"""Logins of this server's own: what ends one is in force in that step, and whoever is connected hears why."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import pytest
import structlog.testing
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.client import RawClient
from support.fakes import JSON, Listener
from support.site import SECRET, Site, memory_site
from support.tokens import forged
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.catalogues import CATALOGUES, OTHER_DEVICE_LOGIN
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.frames import Opcode
from tidings.server import logins as logins_module
from tidings.server.auth import AuthConfigError, Authenticator, TokenRefusal
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import Auth
from tidings.server.delivery.hub import Hub
from tidings.server.identity import Identity
from tidings.server.login_cuts import LoginCut
from tidings.server.logins import Farewell, Logins
from tidings.server.revocations import MARGIN_MS, RESERVED, MemoryRevocations
from tidings.server.revoker import Revoked, Revoker

pytestmark = pytest.mark.usefixtures("autojump_clock")

FAREWELL = Farewell("force_logout", {"reason": OTHER_DEVICE_LOGIN, "message": "You logged in elsewhere."})
ELSEWHERE = CloseCode.LOGGED_IN_ELSEWHERE

NOW = 1_800_000_000
LONGEST, LEEWAY = 3600, 5


def cut_now(site: Site, user_id: str = "alice", spared: str | None = None) -> LoginCut:
    """What ends all logins of a user until now, but for one. Those of a site's tokens have no numbers."""
    logins = site.server.logins
    return logins.cut(user_id, logins.now_ms(), logins.now_ms() + 1, spared)


def end_now(site: Site, spared: str | None = None) -> int:
    """As a login does where only one may live."""
    return site.server.logins.end(cut_now(site, spared=spared), code=ELSEWHERE, farewell=FAREWELL)


async def enter(site: Site, path: str = "/ws", **token: Any) -> RawClient:
    """A client that has read the first word of its dialect."""
    client = await site.open()
    status, _, body = await client.handshake(path, token=site.token(**token))
    assert status == 101, body
    assert (await client.receive_json())["type"] == "connected"
    return client


async def hears_nothing(client: RawClient) -> None:
    """That nothing was said to it before: the next that it hears is its pong."""
    await wait_all_tasks_blocked()
    await client.send_json({"type": "ping", "data": {}})
    assert (await client.receive_json())["type"] == "pong"


# --- on one node: who is concerned -------------------------------------------------------------------


async def test_who_is_cut_off_hears_why_and_is_closed_and_nobody_else_hears_a_thing(site: Site) -> None:
    """The farewell, then 3508, on each connection of the ended login; the spared one's tabs and others live on."""
    phones = [await enter(site, session_id="phone") for _ in range(2)]
    tabs = [await enter(site, session_id="desk") for _ in range(3)]
    bob = await enter(site, user="bob", session_id="phone")
    assert end_now(site, spared="desk") == 2
    for phone in phones:
        said, closed = await phone.until_closed()
        assert [message["type"] for message in said] == ["force_logout", "disconnect"]
        assert said[0]["data"] == FAREWELL.payload
        assert said[0].get("offset") is None
        assert (said[1]["data"]["code"], said[1]["data"]["reconnect"]) == (3508, False)
        assert closed.code == 3508
    for client in (*tabs, bob):
        await hears_nothing(client)
    assert end_now(site, spared="desk") == 0, "each is closed once"
    for client in (*tabs, bob):
        await hears_nothing(client)


async def test_each_dialect_says_it_in_its_own_words(site: Site) -> None:
    """One call: JSON, MessagePack and the single-login clients are told, each in its shape, and closed alike."""
    native = await enter(site)
    packed = await enter(site, "/ws?dialect=native_msgpack")
    single = await enter(site, "/ws?dialect=single_login")
    assert end_now(site) == 3
    opcode, payload = await packed.receive_frame()
    assert opcode == Opcode.BINARY
    told = msgspec.msgpack.decode(payload)
    assert (told["type"], told["data"]) == ("force_logout", FAREWELL.payload)
    assert (await native.receive_json())["data"] == FAREWELL.payload
    assert await single.receive_json() == {
        "type": "force_logout",
        "message": CATALOGUES["ja"].forced_out[OTHER_DEVICE_LOGIN],
        "reason": OTHER_DEVICE_LOGIN,
    }
    for client, words in ((native, ["disconnect"]), (packed, ["disconnect"]), (single, [])):
        said, closed = await client.until_closed()
        assert ([message["type"] for message in said], closed.code) == (words, 3508)


async def test_what_was_published_before_comes_before(site: Site) -> None:
    """Also what the same tick has published, and answers to what was asked; what comes after never arrives."""
    push = site.server.context.push
    phone, desk = await enter(site, session_id="phone"), await enter(site, session_id="desk")
    for number in range(50):
        await push.to_user("alice", "note", {"n": number})
        await push.broadcast("note", {"n": number})
    end_now(site, spared="desk")
    await push.to_user("alice", "note", {"n": 99})
    said, closed = await phone.until_closed()
    numbers = [message["data"]["n"] for message in said if message["type"] == "note"]
    assert sorted(numbers) == sorted([*range(50), *range(50)])
    assert [message["type"] for message in said[100:]] == ["force_logout", "disconnect"]
    assert closed.code == 3508
    heard = [(await desk.receive_json())["data"]["n"] for _ in range(101)]
    assert sorted(heard) == sorted([*range(50), *range(50), 99])


async def test_nothing_of_it_is_kept(site: Site) -> None:
    """Neither the channel's history nor its inbox has it: who logs in later hears nothing of it."""
    push = site.server.context.push
    phone = await enter(site, "/ws?device=phone", session_id="phone")
    await push.to_user("alice", "note", {"n": 1})
    end_now(site)
    await phone.closed()
    page = await push.history("user:alice", None, limit=10)
    assert not isinstance(page, Refusal)
    assert [kept.type for kept in page.publications] == ["note"]
    assert page.offset == 1
    later = await enter(site, "/ws?device=phone", session_id="later", logged_in_ms=_after(site))
    assert (await later.receive_json())["data"] == {"n": 1}
    await hears_nothing(later)


def _after(site: Site) -> int:
    """The first moment that proves to be later than what was cut off."""
    return site.server.context.authenticator.revocations.cuts._cuts["alice"].before_ms


async def test_who_is_still_being_sent_what_it_missed_hears_why_too(site: Site) -> None:
    """In the middle of a long replay: the farewell does not wait behind all of that, which never comes."""
    push, broker = site.server.context.push, site.server.context.broker
    for number in range(300):
        await push.to_user("alice", "note", {"n": number})
    gate = Gate()
    gate.put_before(broker, "history")
    phone = await enter(site, "/ws?device=phone", session_id="phone")
    await gate.reached.wait()
    assert end_now(site) == 1
    gate.goes_on.set()
    said, closed = await phone.until_closed()
    assert [message["type"] for message in said[-2:]] == ["force_logout", "disconnect"]
    assert closed.code == 3508


async def test_one_that_is_closed_already_is_left_alone(site: Site) -> None:
    """Its peer has not answered the close yet: it is no connection that this ends, and hears no more."""
    phone = await enter(site, session_id="phone")
    assert end_now(site) == 1
    assert site.server.context.hub.connections_of("alice"), "it lingers"
    assert end_now(site) == 0
    said, closed = await phone.until_closed()
    assert [message["type"] for message in said] == ["force_logout", "disconnect"]
    assert closed.code == 3508


# --- on one node: who is let in ----------------------------------------------------------------------


class Gate:
    """Stands before some calls of a broker until it is opened, so that whoever calls is caught in between."""

    def __init__(self) -> None:
        self.reached, self.goes_on = trio.Event(), trio.Event()

    def put_before(self, broker: Any, *names: str) -> None:
        for name in names:
            setattr(broker, name, self._guarded(getattr(broker, name)))

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(*arguments: Any, **more: Any) -> Any:
            self.reached.set()
            await self.goes_on.wait()
            return await method(*arguments, **more)

        return guarded


async def test_who_is_in_the_middle_of_a_handshake_is_refused(site: Site) -> None:
    """Its token was good when it was looked at: the login ended meanwhile, and nobody is registered by it."""
    client, gate = await site.open(), Gate()
    gate.put_before(site.server.context.broker, "open", "attach")
    async with trio.open_nursery() as nursery:

        async def arrive() -> None:
            status, _, _ = await client.handshake(token=site.token(session_id="old"))
            assert status == 101

        nursery.start_soon(arrive)
        await gate.reached.wait()
        assert end_now(site, spared="new") == 0, "it is not there yet"
        gate.goes_on.set()
    said, closed = await client.until_closed()
    assert [message["type"] for message in said] == ["disconnect"]
    assert (closed.code, closed.reason) == (3500, "token revoked")
    assert not site.server.context.hub.connections


async def test_an_ended_login_opens_no_door_and_the_spared_one_does(site: Site) -> None:
    """401 for all tokens of it, whatever is left of their time; the spared login's next connection comes in."""
    old, new = site.token(session_id="old"), site.token(session_id="new")
    end_now(site, spared="new")
    client = await site.open()
    status, _, body = await client.handshake(token=old)
    assert (status, body["error"]["message"]) == (401, "the token was revoked")
    await site.connect(token=new)


async def test_without_a_code_they_stay_until_they_have_heard(site: Site) -> None:
    """From the first step on nobody new gets in; who is there is closed later, behind what it has to hear."""
    push, logins = site.server.context.push, site.server.logins
    token = site.token(session_id="phone")
    phone, desk = await site.connect(token=token), await enter(site, session_id="desk")
    assert logins.end(cut_now(site, spared="desk")) == 0
    assert (await (await site.open()).handshake(token=token))[0] == 401
    await hears_nothing(phone)
    await push.to_user("alice", "note", {"n": 1}, excluded_session="desk")
    assert logins.close_ended("alice", CloseCode.INVALID_TOKEN, "password changed") == 1
    said, closed = await phone.until_closed()
    assert [message["type"] for message in said] == ["note", "disconnect"]
    assert (closed.code, closed.reason) == (3500, "password changed")
    assert (await desk.receive_json())["type"] == "position"
    await hears_nothing(desk)
    assert logins.close_ended("alice", CloseCode.INVALID_TOKEN) == 0
    assert logins.close_ended("nobody", CloseCode.INVALID_TOKEN) == 0


async def test_what_a_record_says_is_in_force_before_the_first_connection(site: Site) -> None:
    """`restore` closes nobody and tells nobody: there is nobody yet."""
    told: list[bytes] = []
    site.server.messaging.listeners.append(lambda _sender, message: told.append(message))
    old, new = site.token(session_id="old"), site.token(session_id="new")
    site.server.logins.restore(cut_now(site, spared="new"))
    assert (await (await site.open()).handshake(token=old))[0] == 401
    await site.connect(token=new)
    await wait_all_tasks_blocked()
    assert told == []


async def test_a_login_names_its_device(site: Site) -> None:
    """Its connections sit at the inbox as that device, unless they say another."""
    logins = site.server.logins
    issued = logins.issue(
        "alice",
        username="Alice",
        roles=(),
        ttl=60,
        session_id="s",
        logged_in_ms=logins.now_ms(),
        device="kitchen",
    )
    assert issued is not None
    push, broker = site.server.context.push, site.server.context.broker
    receipt = await push.to_user("alice", "note", {"n": 1})
    for path in ("/ws", "/ws?device=pocket"):
        client = await site.open()
        assert (await client.handshake(path, token=issued.token))[0] == 101
        await client.receive_json()
        acked = await client.command("ack", {"channel": "user:alice", "offset": receipt.offset})
        assert acked["type"] == "acked", acked
    assert [device.name for device in await broker.devices("user:alice")] == ["kitchen", "pocket"]


# --- tokens ------------------------------------------------------------------------------------------


class Clock:
    """A wall clock that a test sets, in Unix milliseconds."""

    def __init__(self) -> None:
        self.ms = NOW * 1000

    def __call__(self) -> float:
        return self.ms / 1000


class Wire:
    """What nodes tell each other: everything to each, the sender included; it can be cut, or hold back."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.said: list[bytes] = []
        self.fails = 0
        """How many of the next messages are lost."""

    async def tell(self, message: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.fails:
            self.fails -= 1
            raise BrokerUnavailable("the network is down")
        self.said.append(message)
        for node in self.nodes:
            node.logins.told("a node", message)


class Member(Listener):
    """A connection that can be closed, and notes the order in which things happen to it."""

    def __init__(self, user_id: str, session_id: str) -> None:
        super().__init__(JSON, user_id)
        self.identity = Identity(user_id, user_id, NOW + LONGEST, session_id=session_id, login_number=1)
        self.closed: tuple[CloseCode, str | None] | None = None

    def close(self, code: CloseCode, reason: str | None = None) -> bool:
        if self.closed is not None:
            return False
        self.closed = (code, reason)
        return True

    def state(self) -> tuple[list[str], tuple[CloseCode, str | None] | None]:
        """What it has heard, and how it was closed."""
        return [message["type"] for message in self.messages], self.closed


class Node:
    """A hub and its logins, on a wire with others."""

    def __init__(self, wire: Wire, clock: Clock, **auth: Any) -> None:
        self.hub, self.wire, self.clock = Hub(), wire, clock
        given: dict[str, Any] = {"secret": SECRET, "max_ttl": LONGEST, "leeway": LEEWAY} | auth
        self.auth = Authenticator(Auth(**given), clock=clock)
        self.broker = MemoryBroker(self.hub.deliver, clock=clock)
        self.broker.tell_nodes = wire.tell  # type: ignore[method-assign]
        self.revoker = Revoker(
            self.auth.revocations,
            MemoryRevocations(),
            self.hub,
            self.broker,
            longest=LONGEST,
            leeway=LEEWAY,
            clock=clock,
        )
        self.logins = Logins(self.auth, self.revoker, self.hub, self.broker, clock=clock)
        wire.nodes.append(self)

    async def connect(self, *members: Member) -> None:
        for member in members:
            self.hub.connect(member)
            channel = f"user:{member.identity.user_id}"
            with self.hub.holding([channel]):
                self.hub.subscribe(member, channel, await self.broker.open(channel))

    def cut(self, spared: str | None = None, *, user_id: str = "alice", number: int = 2) -> LoginCut:
        """What ends the logins before a number, or elsewhere until now."""
        return self.logins.cut(user_id, number, self.logins.now_ms() + 1, spared)

    def issue(
        self, session_id: str = "s", *, logged_in_ms: int | None = None, ttl: int = 60, **more: Any
    ) -> Any:
        at_ms = self.logins.now_ms() if logged_in_ms is None else logged_in_ms
        given: dict[str, Any] = {"username": "Alice", "roles": ["editor"]} | more
        return self.logins.issue("alice", ttl=ttl, session_id=session_id, logged_in_ms=at_ms, **given)

    def identity(self, token: str) -> Identity:
        found = self.auth.verify(token)
        assert isinstance(found, Identity), found
        return found


@asynccontextmanager
async def nodes(count: int = 1, **auth: Any) -> AsyncIterator[tuple[Wire, Clock, list[Node]]]:
    """Nodes on one wire, with their tasks."""
    wire, clock = Wire(), Clock()
    made = [Node(wire, clock, **auth) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for node in made:
            nursery.start_soon(node.logins.run)
            nursery.start_soon(node.revoker.run)
            nursery.start_soon(node.hub.run_flusher)
        yield wire, clock, made
        nursery.cancel_scope.cancel()


async def test_a_token_is_issued_for_a_login_that_lives() -> None:
    """It says what it was asked to, and when it ends; of a login that has ended there is none."""
    async with nodes() as (_, clock, [node]):
        issued = node.issue("s", ttl=90, device="phone", number=4)
        identity = node.identity(issued.token)
        assert (issued.expires_at, identity.expires_at) == (NOW + 90, NOW + 90)
        assert (identity.username, identity.session_id, identity.device) == ("Alice", "s", "phone")
        assert (identity.roles, identity.logged_in_ms) == (frozenset({"editor"}), NOW * 1000)
        assert identity.login_number == 4
        assert not node.logins.has_ended(identity)
        node.logins.end(node.cut("new", number=5))
        assert node.logins.has_ended(identity)
        clock.ms += 5_000
        assert node.issue("s", number=4) is None, "renewed behind our back"
        clock.ms -= 7_000
        for session_id, number in (("new", 4), ("later", 5)):
            renewed = node.issue(session_id, number=number)
            assert not node.logins.has_ended(node.identity(renewed.token)), "whatever the clock says"


async def test_what_no_token_can_say_is_a_fault_and_not_an_ended_login() -> None:
    """A server without a key of its own, a life that is too long, a name that is none: each raises."""
    async with nodes() as (_, _, [node]):
        wrongs: list[dict[str, Any]] = [{"ttl": LONGEST + 1}, {"username": "\ud800"}, {"device": "a\nb"}]
        for wrong in wrongs:
            with pytest.raises(ValueError, match=r"ttl is|no such token"):
                node.issue(**wrong)
    async with nodes(role_claims=()) as (_, _, [node]):
        with pytest.raises(AuthConfigError, match="role_claims"):
            node.issue()


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_logout_ends_one_login_and_all_its_tokens(is_ours: bool) -> None:
    """Those that live longest too, for as long as they would, by the word of another issuer too; and no other's."""
    days = 3 * MARGIN_MS // 1000
    number = 1 if is_ours else None
    async with nodes(max_ttl=days) as (_, clock, [node]):
        mine, other = Member("alice", "s"), Member("alice", "other")
        await node.connect(mine, other)
        short, long, stays = (
            node.issue(sid, ttl=ttl, number=number) for sid, ttl in (("s", 10), ("s", days), ("t", days))
        )
        longest = days if is_ours else 10
        assert await node.logins.log_out(node.identity(short.token), longest=longest) == 1
        assert mine.state() == ([], (CloseCode.INVALID_TOKEN, "token revoked"))
        assert other.closed is None
        assert node.issue("s") is None
        clock.ms += (days + LEEWAY) * 1000 - 1
        node.auth.revocations.has_room("token", "t")  # forgets what has ended
        verdict = node.auth.verify(long.token)
        assert isinstance(verdict, TokenRefusal)
        assert verdict.reason == "revoked"
        node.identity(stays.token)


async def test_logouts_leave_room_for_what_administrators_revoke() -> None:
    """Who logs in and out without end is refused before nobody can revoke a stolen token any more."""
    async with nodes() as (_, _, [node]):
        node.auth.revocations._most = RESERVED + 1
        first, second = (node.identity(node.issue(session).token) for session in ("one", "two"))
        assert await node.logins.log_out(first, longest=LONGEST) == 0
        refusal = await node.logins.log_out(second, longest=LONGEST)
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.LIMIT_REACHED
        assert not node.logins.has_ended(second)
        assert await node.logins.log_out(first, longest=LONGEST) == 0, "it is known"
        assert isinstance(await node.revoker.revoke("session", "two"), Revoked)
        assert node.logins.has_ended(second)


async def test_a_logout_of_a_foreign_token_ends_that_token_or_says_who_can() -> None:
    """Without `sid` it is the one token; where it does not even name itself nobody here can tell it again."""
    async with nodes() as (_, _, [node]):
        named, twin = (forged(exp=NOW + 60, iat=NOW, jti=jti) for jti in ("one", "two"))
        assert await node.logins.log_out(node.identity(named), longest=LONGEST) == 0
        assert isinstance(node.auth.verify(named), TokenRefusal)
        nameless = node.identity(forged(exp=NOW + 60, iat=NOW))
        refusal = await node.logins.log_out(nameless, longest=LONGEST)
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.FORBIDDEN
        assert "issuer" in refusal.message
        assert not node.logins.has_ended(node.identity(twin))
        assert not node.logins.has_ended(nameless)


async def test_a_logout_that_could_not_be_told_says_so() -> None:
    """In force here, and to be repeated: the refusal is the answer, and no count of connections."""
    async with nodes() as (wire, _, [node]):
        identity = node.identity(node.issue("s").token)
        wire.fails = 1
        refusal = await node.logins.log_out(identity, longest=LONGEST)
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.UNAVAILABLE
        assert node.logins.has_ended(identity)


@given(
    ttl=st.integers(1, LONGEST),
    cut_at=st.integers(0, LONGEST),
    looked_at=st.integers(0, LONGEST + LEEWAY),
    ahead=st.integers(0, MARGIN_MS // 1000 - LONGEST) | st.integers(0, 2 * LONGEST),
    leeway=st.integers(0, LEEWAY),
)
async def test_an_ended_login_never_comes_back_to_life(
    ttl: int, cut_at: int, looked_at: int, ahead: int, leeway: int
) -> None:
    """Whenever one looks, also after the clock was ahead by most of a day: it has expired, or is remembered."""
    node = Node(Wire(), Clock(), leeway=leeway)
    tokens, start_ms = [node.issue(ttl=ttl, number=number).token for number in (1, None)], node.clock.ms
    cuts = node.auth.revocations.cuts
    node.clock.ms = start_ms + cut_at * 1000
    cuts.apply(node.cut())
    node.clock.ms = start_ms + (max(cut_at, looked_at) + ahead) * 1000
    cuts.apply(node.cut(user_id="bob"))  # forgets what is over
    node.clock.ms = start_ms + looked_at * 1000
    assert not [token for token in tokens if isinstance(node.auth.verify(token), Identity)]


# --- other nodes -------------------------------------------------------------------------------------


async def test_what_one_node_ends_the_others_close_with_the_same_words() -> None:
    """The same farewell, code and cut, on each node; the spared login's connections there live on, too."""
    async with nodes(3) as (_, clock, [here, *there]):
        old, new = ([Member("alice", session) for _ in range(3)] for session in ("old", "new"))
        for node, *members in zip((here, *there), old, new, strict=True):
            await node.connect(*members)
        cut = here.cut("new")
        assert here.logins.end(cut, code=ELSEWHERE, reason="elsewhere", farewell=FAREWELL) == 1
        assert old[0].closed is not None
        assert old[1].closed is None, "not in that step"
        await wait_all_tasks_blocked()
        for member in old:
            assert member.state() == (["force_logout"], (ELSEWHERE, "elsewhere"))
            assert member.messages[0]["data"] == FAREWELL.payload
        for member in new:
            assert member.state() == ([], None)
        clock.ms += 5_000
        assert [node.issue("old", number=1) for node in there] == [None, None]


async def test_what_has_to_be_heard_first_is_heard_first_on_other_nodes_too() -> None:
    """The cut is in force there at once; the close comes with `close_ended`, and needs no cut again."""
    async with nodes(2) as (_, _, [here, there]):
        member = Member("alice", "old")
        await there.connect(member)
        here.logins.end(here.cut())
        await wait_all_tasks_blocked()
        assert there.logins.has_ended(member.identity)
        assert member.closed is None
        assert here.logins.close_ended("alice", CloseCode.ACCOUNT_DELETED) == 0
        await wait_all_tasks_blocked()
        assert member.state() == ([], (CloseCode.ACCOUNT_DELETED, None))


async def test_two_logins_at_once_on_two_nodes_leave_the_later_one_alone() -> None:
    """Each node hears of the other's: the later cut holds on both, and its login hears nothing of the earlier."""
    async with nodes(2) as (_, _, [here, there]):
        first, second, lingering = (
            Member("alice", "first"),
            Member("alice", "second"),
            Member("alice", "old"),
        )
        await here.connect(first)
        await there.connect(second, lingering)
        here.logins.end(here.cut("first"), code=ELSEWHERE, farewell=FAREWELL)
        there.logins.end(there.cut("second", number=3), code=ELSEWHERE, farewell=FAREWELL)
        assert lingering.closed is not None
        await wait_all_tasks_blocked()
        assert second.state() == ([], None)
        assert first.state() == (["force_logout"], (ELSEWHERE, None))
        for node in (here, there):
            assert node.logins.has_ended(first.identity)
            assert not node.logins.has_ended(second.identity)


async def test_whole_servers_end_each_others_connections(autojump_clock: object) -> None:
    """Two servers, real clients: a login on one closes the login of before on the other."""
    async with memory_site() as here, memory_site() as there:
        sites = (here, there)

        async def tell(message: bytes) -> None:
            for site in sites:
                for listener in site.server.messaging.listeners:
                    listener("a node", message)

        for site in sites:
            site.server.context.broker.tell_nodes = tell  # type: ignore[method-assign]
        old, new = await enter(there, session_id="old"), await enter(there, session_id="new")
        assert end_now(here, spared="new") == 0
        said, closed = await old.until_closed()
        assert [message["type"] for message in said] == ["force_logout", "disconnect"]
        assert closed.code == 3508
        await hears_nothing(new)


async def test_a_node_does_not_do_twice_what_it_has_said_itself() -> None:
    """Its own words come back to it: whoever came in meanwhile by a login that lives is not looked at again."""
    async with nodes() as (wire, _, [node]):
        await node.connect(Member("alice", "old"))
        node.logins.end(node.cut(), code=ELSEWHERE, farewell=FAREWELL)
        late = Member("alice", "old")
        await node.connect(late)  # as no door lets it: to see whether somebody looks
        await wait_all_tasks_blocked()
        assert len(wire.said) == 1
        assert late.state() == ([], None)
        # From another node the same words would close it.
        [said] = wire.said
        told = msgspec.json.decode(said)
        node.logins.told("a node", msgspec.json.encode(told | {"origin": "another"}))
        assert late.state() == (["force_logout"], (ELSEWHERE, None))


WHOLE = msgspec.json.encode(
    {
        "type": "logins_ended",
        "origin": "another",
        "user_id": "alice",
        "cut": {
            "user_id": "alice",
            "number": 2,
            "before_ms": NOW * 1000 + 1,
            "spared": None,
            "until_ms": 2**50,
        },
        "code": 3508,
        "reason": None,
        "farewell": None,
    }
)


def _garbage() -> Iterator[bytes]:
    yield from (b"", b"\xff", b"null", b"[" * 100_000, b'{"type":"revoked"}', WHOLE[:-1], WHOLE + b"}")
    for name, wrong in (
        ("type", "revoked"),
        ("origin", None),
        ("user_id", 7),
        ("cut", {}),
        ("code", 4321),
        ("code", "3508"),
        ("reason", []),
        ("farewell", {"event": "force_logout"}),
    ):
        yield msgspec.json.encode(msgspec.json.decode(WHOLE) | {name: wrong})
    yield WHOLE.replace(b"alice", b"\xed\xa0\x80")


async def test_garbage_from_a_node_does_nothing() -> None:
    """Other kinds of messages, half ones, values of a later version: none raises, and nobody is closed."""
    async with nodes() as (_, _, [node]):
        member = Member("alice", "s")
        await node.connect(member)
        for message in _garbage():
            node.logins.told("a node", message)
        assert member.state() == ([], None)
        assert not node.logins.has_ended(member.identity)
        node.logins.told("a node", WHOLE)
        assert member.state() == ([], (ELSEWHERE, None))


@contextmanager
def errors() -> Iterator[list[Any]]:
    """What is logged as an error."""
    with structlog.testing.capture_logs() as logs:
        yield (said := [])
    said += [line for line in logs if line["log_level"] == "error"]


async def test_a_node_that_cannot_be_told_is_reported_and_the_next_message_goes_out() -> None:
    """A broker that is away for one message does not end the task, nor hold back what follows."""
    with errors() as said:
        async with nodes(2) as (wire, _, [here, there]):
            member = Member("bob", "s")
            await there.connect(member)
            wire.fails = 1
            for user in ("alice", "bob"):
                cut = here.cut(user_id=user)
                here.logins.end(cut, code=ELSEWHERE, farewell=FAREWELL)
            await wait_all_tasks_blocked()
            assert member.closed == (ELSEWHERE, None)
            assert not there.logins.has_ended(Member("alice", "s").identity)
    assert [(line["event"], line["user"], line["error"]) for line in said] == [
        ("other nodes were not told that logins have ended", "alice", "the network is down")
    ]


async def test_more_than_can_wait_for_other_nodes_is_done_here_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broker that hangs, and logins that end in thousands: nothing waits or raises, and it is reported."""
    monkeypatch.setattr(logins_module, "_WAITING", 3)
    with errors() as said:
        async with nodes() as (wire, _, [node]):
            hangs = trio.Event()

            async def hang(message: bytes) -> None:
                await hangs.wait()
                wire.said.append(message)

            node.broker.tell_nodes = hang  # type: ignore[method-assign]
            members = [Member(f"u{number}", "s") for number in range(6)]
            await node.connect(*members)
            for member in members:
                user = member.identity.user_id
                node.logins.end(node.cut(user_id=user), code=ELSEWHERE, farewell=FAREWELL)
                assert member.state() == (["force_logout"], (ELSEWHERE, None))
                await wait_all_tasks_blocked()
            hangs.set()
            await wait_all_tasks_blocked()
    told = [msgspec.json.decode(message)["user_id"] for message in wire.said]
    assert told == ["u0", "u1", "u2", "u3"], "in order; one was on its way, and three could wait"
    assert [line["user"] for line in said] == ["u4", "u5"]
