"""What is revoked, for how long that is remembered, and who is closed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.client import RawClient
from support.fakes import JSON, Listener
from support.site import Site
from support.tokens import forged

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.positions import Position
from tidings.server.auth import Authenticator, TokenRefusal
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import Auth
from tidings.server.delivery.hub import Hub
from tidings.server.identity import NO_END, Identity
from tidings.server.login_cuts import LoginCut
from tidings.server.policies import Policies
from tidings.server.revocations import (
    MARGIN_MS,
    WHENEVER_MS,
    Kind,
    MemoryRevocations,
    NotStored,
    Revocation,
    Revocations,
    revocation,
)
from tidings.server.revocations_log import StoredRevocations
from tidings.server.revoker import Revoked, Revoker
from tidings.server.store.store import Store as Database

NOW = 1_800_000_000
LONGEST, LEEWAY = 3600, 5
SECRET = "a secret of the tests, long enough for HS256 and HS512 alike, 64 bytes."


class Clock:
    """A wall clock that a test sets, in Unix milliseconds."""

    def __init__(self) -> None:
        self.ms = NOW * 1000

    def __call__(self) -> float:
        return self.ms / 1000


def asked(kind: Kind, value: str, clock: Clock, **more: Any) -> Revocation:
    given: dict[str, Any] = {"issued_before": None, "expires_at": None} | more
    return revocation(kind, value, now=clock(), longest=LONGEST, leeway=LEEWAY, **given)


def issuer(style: str, at_ms: int) -> Identity:
    """Alice's identity by a token that an issuer of some style made at a moment."""
    seconds = at_ms // 1000
    times: dict[str, Any] = {
        "whole seconds": {"issued_at": seconds, "logged_in_ms": seconds * 1000},
        "milliseconds": {"issued_at": seconds, "logged_in_ms": at_ms},
        "nothing": {},
    }[style]
    return Identity("alice", "Alice", NOW + LONGEST, token_id="t", session_id="s", **times)


# --- what is revoked ---------------------------------------------------------------------------------


@given(
    style=st.sampled_from(["whole seconds", "milliseconds", "nothing"]),
    offset_ms=st.integers(-8_000, 8_000),
    second_ms=st.integers(0, 999),
    issued_before=st.none() | st.integers(-3_000, 3_000).map(lambda ms: NOW + ms / 1000),
)
def test_whoever_may_have_been_issued_before_is_revoked(
    style: str, offset_ms: int, second_ms: int, issued_before: float | None
) -> None:
    """No token issued before passes, whatever its issuer writes; those who can prove they are younger do."""
    clock = Clock()
    clock.ms += second_ms
    revocations = Revocations(clock=clock)
    revoked = asked("user", "alice", clock, issued_before=issued_before)
    revocations.apply(revoked)
    at_ms = clock.ms + offset_ms
    verdict = revocations.is_revoked(issuer(style, at_ms))
    if at_ms < (clock.ms if issued_before is None else round(issued_before * 1000)):
        assert verdict, "it existed"
    elif style == "nothing":
        assert verdict, "it cannot prove anything"
    elif issued_before is None and at_ms <= clock.ms + LEEWAY * 1000:
        assert verdict, "it may be from a clock that is ahead"
    elif at_ms >= -(-revoked.before_ms // 1000) * 1000:
        assert not verdict, "and from the next second on, whoever issues it"


@given(
    ahead_ms=st.integers(0, LEEWAY * 1000), second_ms=st.integers(0, 999), waits_ms=st.integers(0, 99_000)
)
def test_an_issuer_whose_clock_is_ahead_makes_nothing_that_outlives_a_revocation(
    ahead_ms: int, second_ms: int, waits_ms: int
) -> None:
    """A token that is accepted now is refused once all of the user's are revoked, at any later moment too."""
    clock = Clock()
    clock.ms += second_ms
    auth = Authenticator(Auth(secret=SECRET, max_ttl=LONGEST, leeway=LEEWAY), clock=clock)
    token = forged(
        {"sub": "alice", "exp": NOW + LONGEST, "iat": (clock.ms + ahead_ms) / 1000}, secret=SECRET
    )
    assert isinstance(auth.verify(token), Identity)
    auth.revocations.apply(asked("user", "alice", clock))
    clock.ms += waits_ms
    assert isinstance(auth.verify(token), TokenRefusal)


def test_a_login_here_passes_at_once_and_a_renewal_waits() -> None:
    """Who issues here knows of the revocation; who renews what was revoked has to wait for the leeway to pass."""
    clock = Clock()
    auth = Authenticator(Auth(secret=SECRET, max_ttl=LONGEST, leeway=LEEWAY), clock=clock)
    old = auth.verify(auth.issue("alice", ttl=60))
    assert isinstance(old, Identity)
    auth.revocations.apply(asked("user", "alice", clock))
    with pytest.raises(ValueError, match="the token was revoked"):
        auth.issue("alice", ttl=60)  # in the very millisecond that is revoked
    clock.ms += 2
    fresh = auth.issue("alice", ttl=60)
    with pytest.raises(ValueError, match="the token was revoked"):
        auth.issue("alice", ttl=60, logged_in_ms=old.logged_in_ms)
    clock.ms += (LEEWAY + 1) * 1000
    assert isinstance(auth.verify(fresh), Identity)
    renewed = auth.verify(auth.issue("alice", ttl=60, logged_in_ms=old.logged_in_ms))
    assert isinstance(renewed, Identity)
    assert renewed.logged_in_ms == old.logged_in_ms


def test_no_login_here_passes_a_time_that_was_given() -> None:
    """`issued_before` ahead of the clock holds for tokens of our own, also beside a revocation of what is now."""
    clock = Clock()
    auth = Authenticator(Auth(secret=SECRET, max_ttl=LONGEST, leeway=LEEWAY), clock=clock)
    given_time = asked("user", "alice", clock, issued_before=NOW + 3)
    for others in ((), (asked("user", "alice", clock),)):
        for each in (given_time, *others):
            auth.revocations.apply(each)
        clock.ms = (NOW + 1) * 1000
        with pytest.raises(ValueError, match="the token was revoked"):
            auth.issue("alice", ttl=60)
    clock.ms = (NOW + 3) * 1000
    assert isinstance(auth.verify(auth.issue("alice", ttl=60)), Identity)


def test_a_login_made_right_after_a_revocation_ends_as_any_other() -> None:
    """Dated ahead so that it passes, it is ended by what comes later: numbers tell which was first, not clocks."""
    clock = Clock()
    auth = Authenticator(Auth(secret=SECRET, max_ttl=LONGEST, leeway=LEEWAY), clock=clock)
    auth.revocations.apply(asked("user", "alice", clock))
    clock.ms += 2
    dated_ms = auth.revocations.provable_ms("alice", clock.ms)
    assert dated_ms > clock.ms
    first, second = (
        auth.issue("alice", ttl=60, session_id=f"s{number}", logged_in_ms=dated_ms, login_number=number)
        for number in (7, 8)
    )
    foreign = auth.issue("alice", ttl=60, session_id="s", logged_in_ms=dated_ms)
    assert all(isinstance(auth.verify(token), Identity) for token in (first, second, foreign))
    clock.ms += 2
    auth.revocations.cuts.apply(LoginCut("alice", 8, clock.ms + 1, None, clock.ms + 100_000))
    assert isinstance(auth.verify(first), TokenRefusal)
    assert isinstance(auth.verify(second), Identity)


def test_what_a_login_may_say_as_its_time() -> None:
    """Only as much more than the clock as is there for other clocks: a time that was given holds for everybody."""
    clock = Clock()
    revocations = Revocations(clock=clock)
    assert revocations.provable_ms("alice", clock.ms) == clock.ms
    revocations.apply(asked("user", "alice", clock))
    # In the very millisecond that is revoked, nothing can be told from what existed.
    assert revocations.provable_ms("alice", clock.ms) == clock.ms
    clock.ms += 1
    assert revocations.provable_ms("alice", clock.ms) == (NOW + LEEWAY) * 1000 + 1
    assert revocations.provable_ms("alice", (NOW + 60) * 1000) == (NOW + 60) * 1000
    assert revocations.provable_ms("bob", clock.ms) == clock.ms
    revocations.apply(asked("user", "alice", clock, issued_before=NOW + 3))
    for at_ms, dated_ms in ((clock.ms, clock.ms), ((NOW + 3) * 1000, (NOW + LEEWAY) * 1000 + 1)):
        assert revocations.provable_ms("alice", at_ms) == dated_ms


def test_a_refresh_after_the_revocation_counts_by_its_own_time() -> None:
    """A token that is issued later for an older login is a younger token."""
    clock = Clock()
    revocations = Revocations(clock=clock)
    revocations.apply(asked("user", "alice", clock))
    identity = issuer("milliseconds", clock.ms - 60_000)
    assert revocations.is_revoked(identity)
    assert not revocations.is_revoked(msgspec.structs.replace(identity, issued_at=NOW + LEEWAY + 1))


@pytest.mark.parametrize("kind", ["token", "session"])
def test_a_token_and_a_login_are_revoked_for_good(kind: Kind) -> None:
    """Whenever it was issued: its id is nobody else's; another's, or none at all, is not concerned."""
    clock = Clock()
    revocations = Revocations(clock=clock)
    revocations.apply(asked(kind, "t" if kind == "token" else "s", clock))
    later = issuer("milliseconds", clock.ms + 1_000_000)
    assert revocations.is_revoked(later)
    assert not revocations.is_revoked(msgspec.structs.replace(later, token_id="s", session_id="t"))
    assert not revocations.is_revoked(msgspec.structs.replace(later, token_id=None, session_id=None))


def test_a_token_and_a_login_may_be_spared_by_their_time() -> None:
    """With `issued_before`, what a login was issued from then on stays good."""
    clock = Clock()
    revocations = Revocations(clock=clock)
    revocations.apply(asked("session", "s", clock, issued_before=NOW))
    assert revocations.is_revoked(issuer("whole seconds", clock.ms - 1))
    assert not revocations.is_revoked(issuer("whole seconds", clock.ms))


def test_api_keys_are_not_revoked_as_tokens() -> None:
    """A key has no token: who revokes a user of the same name does not lock a service out of one door of two."""
    clock = Clock()
    revocations = Revocations(clock=clock)
    revocations.apply(asked("user", "service:billing", clock))
    assert not revocations.is_revoked(Identity("service:billing", "billing", NO_END, kind="service"))
    assert revocations.is_revoked(Identity("service:billing", "billing", NOW + 60, kind="service"))


# --- for how long ------------------------------------------------------------------------------------


@given(
    ttl=st.integers(1, LONGEST),
    revoked_after=st.integers(0, LONGEST),
    looked_after=st.integers(0, 3 * LONGEST),
    back=st.integers(0, LONGEST),
    kind=st.sampled_from(["token", "session", "user"]),
    knows_end=st.booleans(),
)
def test_a_revoked_token_never_comes_back_to_life(
    ttl: int, revoked_after: int, looked_after: int, back: int, kind: Kind, knows_end: bool
) -> None:
    """Whenever one looks, also where the wall clock was put back an hour: it has ended, or is revoked."""
    clock = Clock()
    auth = Authenticator(Auth(secret=SECRET, max_ttl=LONGEST), clock=clock)
    token = auth.issue("alice", ttl=ttl)
    identity = auth.verify(token)
    assert isinstance(identity, Identity)
    clock.ms += revoked_after * 1000
    values = {"token": identity.token_id, "session": identity.session_id, "user": "alice"}
    expires_at = identity.expires_at if knows_end else None
    auth.revocations.apply(asked(kind, values[kind] or "", clock, expires_at=expires_at))
    clock.ms += looked_after * 1000
    auth.revocations.apply(asked("user", "bob", clock))  # forgets what has ended
    clock.ms -= back * 1000
    assert isinstance(auth.verify(token), TokenRefusal)


def test_what_has_ended_is_forgotten() -> None:
    """A day after the last token concerned has ended, and not before, its place is free again."""
    clock = Clock()
    revocations = Revocations(clock=clock, most=2)
    revocations.apply(asked("token", "a", clock, expires_at=NOW + 10))
    revocations.apply(asked("user", "alice", clock))
    assert len(revocations) == 2
    clock.ms += (10 + LEEWAY) * 1000 + MARGIN_MS - 1
    assert not revocations.has_room("token", "b")
    clock.ms += 1
    assert revocations.has_room("token", "b")
    assert len(revocations) == 1
    assert revocations.is_revoked(issuer("nothing", 0))


def test_administrators_have_room_that_others_do_not_take() -> None:
    """Who leaves a reserve finds no room where only that is left; but what is known may be extended."""
    clock = Clock()
    revocations = Revocations(clock=clock, most=3)
    for number in range(2):
        assert revocations.has_room("session", str(number), reserve=1)
        revocations.apply(asked("session", str(number), clock))
    assert not revocations.has_room("session", "2", reserve=1)
    assert revocations.has_room("session", "1", reserve=1)
    assert revocations.has_room("user", "alice")


def test_an_extension_counts() -> None:
    """Of two of the same the later end and the later time hold, in either order, in one place."""
    for order in (1, -1):
        clock = Clock()
        revocations = Revocations(clock=clock)
        near = asked("user", "alice", clock, issued_before=NOW + 20, expires_at=NOW + 30)
        far = asked("user", "alice", clock, issued_before=NOW, expires_at=NOW + 3000)
        for each in (near, far)[::order]:
            revocations.apply(each)
        assert len(revocations) == 1
        clock.ms = near.until_ms + 1
        revocations.apply(asked("user", "bob", clock))
        assert revocations.is_revoked(issuer("milliseconds", (NOW + 19) * 1000))
        clock.ms = far.until_ms + 1
        revocations.apply(asked("user", "carol", clock))
        assert not revocations.is_revoked(issuer("milliseconds", (NOW + 19) * 1000))


def test_the_sweep_of_many_is_spread() -> None:
    """A great many that end in one moment are forgotten a piece at a time, and none that has not ended."""
    clock = Clock()
    revocations = Revocations(clock=clock, most=5_000)
    for number in range(5_000):
        revocations.apply(Revocation("token", str(number), WHENEVER_MS, clock.ms + 1))
    clock.ms += 2
    sizes = []
    while len(revocations):
        assert revocations.has_room("user", "alice")
        sizes.append(len(revocations))
    assert sizes == [4_000, 3_000, 2_000, 1_000, 0]


# --- revoking ----------------------------------------------------------------------------------------


class Store(MemoryRevocations):
    """Notes what it is given; may fail."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.added: list[Revocation] = []

    async def add(self, revocation: Revocation) -> None:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise NotStored("the disk is full")
        self.added.append(revocation)

    async def load(self) -> Sequence[Revocation]:
        return self.added


class Member(Listener):
    """A connection that can be closed."""

    def __init__(self, user_id: str, session_id: str) -> None:
        super().__init__(JSON, user_id)
        self.identity = Identity(
            user_id, user_id, NOW + LONGEST, session_id=session_id, token_id=session_id
        )
        self.closed: tuple[CloseCode, str | None] | None = None

    def close(self, code: CloseCode, reason: str | None = None) -> bool:
        first = self.closed is None
        self.closed = self.closed or (code, reason)
        return first


@asynccontextmanager
async def revoking(
    store: Store, hub: Hub, *, most: int = 100
) -> AsyncIterator[tuple[Revoker, Revocations, list[bytes]]]:
    """A revoker with its task; what it tells the nodes."""
    clock = Clock()
    said: list[bytes] = []
    revocations = Revocations(clock=clock, most=most)
    broker = MemoryBroker(hub.deliver, told=lambda _sender, message: said.append(message))
    revoker = Revoker(revocations, store, hub, broker, longest=LONGEST, leeway=LEEWAY, clock=clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(revoker.run)
        yield revoker, revocations, said
        nursery.cancel_scope.cancel()


async def test_ten_thousand_connections_leave_turns_to_others(autojump_clock: object) -> None:
    """A login is looked for among everybody in turns, and in each everybody else is let run."""
    hub = Hub()
    members = [
        Member(f"u{number}", "s" if number % 1000 == 7 else f"s{number}") for number in range(10_000)
    ]
    for member in members:
        hub.connect(member)
    async with revoking(Store(), hub) as (revoker, _, _), trio.open_nursery() as nursery:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        nursery.start_soon(others)
        assert await revoker.revoke("session", "s") == Revoked(10, None)
        nursery.cancel_scope.cancel()
    assert turns >= 40
    closed = [member for member in members if member.closed]
    assert [member.identity.session_id for member in closed] == ["s"] * 10
    assert {member.closed for member in closed} == {(CloseCode.INVALID_TOKEN, "token revoked")}


async def test_what_another_node_says_is_in_force_here(autojump_clock: object) -> None:
    """Two nodes: one is asked, both close whom it concerns; what is no word of theirs is left alone."""
    here, there = Hub(), Hub()
    one, other, bystander = Member("alice", "s"), Member("alice", "s"), Member("bob", "s2")
    here.connect(one)
    there.connect(other)
    there.connect(bystander)
    async with (
        revoking(Store(), here) as (revoker, _, said),
        revoking(Store(), there) as (second, revocations, _),
    ):
        assert await revoker.revoke("user", "alice") == Revoked(1, NOW + LEEWAY + 1)
        (message,) = said
        for junk in (b"", b"{", b"[]", b'{"type":"other"}', b"\xff", b'{"type":"revoked"}', b"[" * 100_000):
            second.told("node", junk)
        assert len(revocations) == 0
        second.told("node", message)
        assert revocations.is_revoked(other.identity), "at once"
        await trio.testing.wait_all_tasks_blocked()
        assert (one.closed, other.closed, bystander.closed) == (
            (CloseCode.INVALID_TOKEN, "token revoked"),
            (CloseCode.INVALID_TOKEN, "token revoked"),
            None,
        )


async def test_a_flood_from_other_nodes_closes_everybody_concerned() -> None:
    """More than can wait at once are in force at once all the same, and nobody concerned stays."""
    here, there = Hub(), Hub()
    members = [Member(f"u{number}", f"s{number}") for number in range(1_500)]
    for member in members:
        there.connect(member)
    spared = Member("spared", "spared")
    there.connect(spared)
    async with (
        revoking(Store(), here, most=2_000) as (revoker, _, said),
        revoking(Store(), there) as (second, revocations, _),
    ):
        for member in members:
            await revoker.revoke("user", member.identity.user_id)
        for message in said:
            second.told("node", message)
        assert len(revocations) == 1_500
        await trio.testing.wait_all_tasks_blocked()
        assert all(member.closed for member in members)
        assert spared.closed is None


async def test_what_cannot_be_stored_is_said_and_in_force_until_then(autojump_clock: object) -> None:
    """The answer is an error, never a promise; but whoever holds the token is out from this moment on."""
    hub = Hub()
    member = Member("alice", "s")
    hub.connect(member)
    async with revoking(Store(fails=True), hub) as (revoker, revocations, said):
        refusal = await revoker.revoke("session", "s")
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.UNAVAILABLE
        assert "the disk is full" in refusal.message
        await trio.testing.wait_all_tasks_blocked()
        assert member.closed == (CloseCode.INVALID_TOKEN, "token revoked")
        assert revocations.is_revoked(member.identity)
        assert said == []


async def test_a_cancelled_request_closes_everybody_all_the_same(autojump_clock: object) -> None:
    """Who asked may go: what was begun is brought to its end."""
    hub = Hub()
    member = Member("alice", "s")
    hub.connect(member)
    async with revoking(Store(), hub) as (revoker, revocations, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await revoker.revoke("user", "alice")
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert revocations.is_revoked(member.identity)
        assert member.closed


async def test_none_is_forgotten_for_want_of_room(autojump_clock: object) -> None:
    """Where as many are in force as may be, the next is refused, and those in force stay; known ones go on."""
    async with revoking(Store(), Hub(), most=2) as (revoker, revocations, _):
        for value in ("a", "b", "a"):
            assert isinstance(await revoker.revoke("token", value), Revoked)
        refusal = await revoker.revoke("token", "c")
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.LIMIT_REACHED
        assert "expires_at" in refusal.message
        assert len(revocations) == 2


async def test_the_answer_is_of_what_holds(autojump_clock: object) -> None:
    """An earlier revocation that reaches further is in force still, and the answer says so."""
    async with revoking(Store(), Hub()) as (revoker, _, _):
        assert await revoker.revoke("user", "alice", issued_before=NOW + 3600) == Revoked(0, NOW + 3600)
        assert await revoker.revoke("user", "alice") == Revoked(0, NOW + 3600)
        assert await revoker.revoke("user", "alice", issued_before=NOW) == Revoked(0, NOW + 3600)
        assert await revoker.revoke("session", "s") == Revoked(0, None)
        assert await revoker.revoke("session", "s", issued_before=NOW) == Revoked(0, None)


async def test_what_would_revoke_nothing_is_refused(autojump_clock: object) -> None:
    """An end that has passed, and whoever has a key: the field and the cure are named, and nothing is kept."""
    store = Store()
    async with revoking(store, Hub()) as (revoker, revocations, _):
        revocations.keys = {"service:billing"}
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"kind": "token", "value": "t", "expires_at": 5}, "`$.expires_at`"),
            ({"kind": "token", "value": "t", "expires_at": NOW}, "`$.expires_at`"),
            ({"kind": "user", "value": "service:billing"}, "auth.service_keys"),
        ]
        for given, said in wrong:
            refusal = await revoker.revoke(**given)
            assert isinstance(refusal, Refusal)
            assert refusal.code in {ErrorCode.INVALID_DATA, ErrorCode.CONFLICT}
            assert said in refusal.message
        assert (len(revocations), store.added) == (0, [])
        # Its tokens can be, and so can those of who is called like a service and has no key.
        assert isinstance(await revoker.revoke("session", "service:billing"), Revoked)
        assert isinstance(await revoker.revoke("user", "service:mail"), Revoked)
        assert isinstance(await revoker.revoke("token", "t", expires_at=NOW + 1), Revoked)


async def test_what_is_stored_is_in_force_after_a_restart(autojump_clock: object) -> None:
    """`load` brings back what `add` was given, before anybody comes in."""
    store = Store()
    async with revoking(store, Hub()) as (revoker, revocations, _):
        await revoker.revoke("session", "s")
    async with revoking(store, Hub()) as (revoker, revocations, _):
        assert not revocations.is_revoked(issuer("nothing", 0))
        assert await revoker.load() == 1
        assert revocations.is_revoked(issuer("nothing", 0))


# --- beside connections ------------------------------------------------------------------------------


class Gate:
    """Makes the broker of a site wait before it opens channels, so that a handshake stands in between."""

    def __init__(self, site: Site) -> None:
        self.reached, self.goes_on = trio.Event(), trio.Event()
        broker = site.server.context.broker
        self._open, self._attach = broker.open, broker.attach
        broker.open = self._opened  # type: ignore[method-assign]
        broker.attach = self._attached  # type: ignore[method-assign]

    async def _wait(self) -> None:
        self.reached.set()
        await self.goes_on.wait()

    async def _opened(self, channel: str) -> Position:
        await self._wait()
        return await self._open(channel)

    async def _attached(self, channel: str, device: str) -> Any:
        await self._wait()
        return await self._attach(channel, device)


async def test_who_authenticates_meanwhile_does_not_slip_through(site: Site) -> None:
    """A token that is revoked between its check and the registration lets nobody in."""
    client = await site.open()
    gate = Gate(site)
    token = site.token("alice")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_101, client, token)
        await gate.reached.wait()
        assert await site.server.messaging.revoker.revoke("user", "alice") == Revoked(0, _any_second(site))
        gate.goes_on.set()
    said, closed = await client.until_closed()
    assert [message["type"] for message in said] == ["disconnect"]
    assert (closed.code, closed.reason) == (3500, "token revoked")
    assert not site.server.context.hub.connections


async def test_who_refreshes_meanwhile_does_not_slip_through(site: Site) -> None:
    """A new token that is revoked while its channels are opened closes the connection."""
    client = await site.connect("alice", session_id="s")
    gate = Gate(site)
    token = site.token("alice", session_id="s", roles=["editor"])
    fresh = site.server.context.authenticator.verify(token)
    assert isinstance(fresh, Identity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_json, {"type": "refresh", "data": {"token": token}})
        await gate.reached.wait()
        await site.server.messaging.revoker.revoke("token", str(fresh.token_id))
        gate.goes_on.set()
    assert (await client.closed()).code == 3500


async def _expect_101(client: RawClient, token: str) -> None:
    assert (await client.handshake(token=token))[0] == 101


def _any_second(site: Site) -> int:
    revocations = site.server.context.authenticator.revocations
    return -(-revocations._users["alice"].before_ms // 1000)


async def test_a_revoked_token_opens_no_door(site: Site) -> None:
    """Handshake, `authenticate` and `refresh` refuse it by name; a login right after the revocation is let in."""
    token = site.token("alice", session_id="s")
    await site.server.messaging.revoker.revoke("user", "alice")
    client = await site.open()
    status, _, body = await client.handshake(token=token)
    assert (status, body["error"]["code"], body["error"]["message"]) == (
        401,
        "unauthorized",
        "the token was revoked",
    )
    client = await site.open()
    assert (await client.handshake())[0] == 101
    answer = await client.command("authenticate", {"token": token})
    assert (answer["data"]["code"], answer["data"]["message"]) == ("unauthorized", "the token was revoked")
    assert (await client.closed()).code == 3500
    living = await site.connect("alice", session_id="s")
    answer = await living.command("refresh", {"token": token})
    assert (answer["type"], answer["data"]["code"]) == ("error", "unauthorized")
    assert (await living.command("ping"))["type"] == "pong"


@pytest.mark.parametrize("kind", ["token", "session", "user"])
async def test_living_connections_are_closed_and_no_others(site: Site, kind: Kind) -> None:
    """By one token, by one login, by a user: each reads why, after what was published before."""
    auth = site.server.context.authenticator
    tokens = [site.token("alice", session_id=sid) for sid in ("s1", "s1", "s2")] + [site.token("bob")]
    clients = [await site.connect(token=token) for token in tokens]
    first = auth.verify(tokens[0])
    assert isinstance(first, Identity)
    value = {"token": first.token_id, "session": first.session_id, "user": "alice"}[kind]
    concerned = {"token": 1, "session": 2, "user": 3}[kind]
    await site.server.context.push.broadcast("news", {"n": 1})
    outcome = await site.server.messaging.revoker.revoke(kind, str(value))
    assert isinstance(outcome, Revoked)
    assert outcome.closed == concerned
    for client in clients[:concerned]:
        said, closed = await client.until_closed()
        assert [message["type"] for message in said] == ["news", "disconnect"]
        assert (said[1]["data"]["code"], said[1]["data"]["reconnect"]) == (3500, False)
        assert (closed.code, closed.reason) == (3500, "token revoked")
    for client in clients[concerned:]:
        assert (await client.command("ping"))["type"] == "pong"
    again = await site.server.messaging.revoker.revoke(kind, str(value))
    assert isinstance(again, Revoked)
    assert again.closed == 0


async def test_a_token_without_times_is_out_for_as_long_as_it_is_remembered(site: Site) -> None:
    """Nobody can tell whether it was issued before: it is refused, while one of another user is not."""
    await site.server.messaging.revoker.revoke("user", "alice", issued_before=1)
    client = await site.open()
    assert (await client.handshake(token=forged(sub="alice")))[0] == 401
    client = await site.open()
    assert (await client.handshake(token=forged(sub="bob")))[0] == 101


# --- on disk -----------------------------------------------------------------------------------------


async def test_the_store_keeps_them_over_a_restart(tmp_path: Path) -> None:
    """A store that is opened again has what was accepted, joined as in memory; with it closed nothing is."""
    clock = Clock()
    first = asked("user", "alice", clock, issued_before=NOW + 20, expires_at=NOW + 30)
    further = asked("user", "alice", clock, issued_before=NOW, expires_at=NOW + 3000)
    forever = asked("session", "s\x00é", clock)
    with trio.fail_after(30):
        async with stored(tmp_path, clock) as store:
            for each in (first, further, forever):
                await store.add(each)
        with pytest.raises(NotStored):
            await store.add(first)
        with pytest.raises(NotStored):
            await store.load()
        async with stored(tmp_path, clock) as store:
            kept = {each.kind: each for each in await store.load()}
    assert kept == {
        "user": msgspec.structs.replace(first, until_ms=further.until_ms),
        "session": forever,
    }


@asynccontextmanager
async def stored(folder: Path, clock: Clock) -> AsyncIterator[StoredRevocations]:
    database = Database(folder, Policies(), clock=clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.run)
        yield StoredRevocations(database)
        nursery.cancel_scope.cancel()
