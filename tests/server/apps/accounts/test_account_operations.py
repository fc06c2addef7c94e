"""What is done to the table of users, on both databases: each operation whole, in an order that no clock upsets."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from sqlalchemy import Connection, select
from support.records import differences, open_records, records_url

from tidings.protocol.errors import ErrorCode
from tidings.server.apps.accounts import tables, users
from tidings.server.apps.accounts.app import MIGRATIONS
from tidings.server.apps.accounts.names import UserName, normalized
from tidings.server.apps.accounts.users import Changed, Cut, LoggedIn, Moved, Rejected, User
from tidings.server.identity import NO_END, Identity
from tidings.server.login_cuts import is_cut_off
from tidings.server.store.records.outbox import first_events
from tidings.server.store.records.records import Records

__all__ = ["records_url"]

NOW = 1_800_000_000_000
HOUR = 3_600_000


def named(text: str) -> UserName:
    name = normalized(text)
    assert isinstance(name, UserName), name
    return name


class Accounts:
    """The operations, by short names."""

    def __init__(self, records: Records) -> None:
        self.records = records

    async def do(self, operation: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        return await self.records.write(lambda connection: operation(connection, *arguments, **more))

    async def add(
        self, name: str, *, user_id: str | None = None, email: str | None = None, **more: Any
    ) -> User:
        """Add a user, whose id is the name and whose password's hash is `hash of <name>`."""
        given: dict[str, Any] = {"roles": (), "password": f"hash of {name}", "now_ms": NOW}
        added: Changed = await self.do(
            users.insert,
            user_id=user_id or name,
            name=named(name),
            email=email,
            password_until_ms=None,
            **(given | more),
        )
        return added.user

    async def log_in(self, user_id: str, session_id: str, now_ms: int = NOW, **more: Any) -> LoggedIn:
        given: dict[str, Any] = {"known": f"hash of {user_id}", "rehashed": None, "only_one": False}
        found: LoggedIn = await self.do(
            users.log_in, user_id, session_id=session_id, now_ms=now_ms, **(given | more)
        )
        return found

    async def set_password(self, user_id: str, now_ms: int = NOW, **more: Any) -> Changed:
        given: dict[str, Any] = {"password": f"hash of {user_id}", "until_ms": None, "by": "root"}
        found: Changed = await self.do(users.set_password, user_id, now_ms=now_ms, **(given | more))
        return found

    async def update(self, user_id: str, now_ms: int = NOW, **more: Any) -> Changed:
        given: dict[str, Any] = {"name": None, "email": msgspec.UNSET, "roles": None}
        found: Changed = await self.do(users.update, user_id, now_ms=now_ms, **(given | more))
        return found

    async def delete(self, user_id: str, now_ms: int = NOW) -> Changed:
        found: Changed = await self.do(users.delete, user_id, now_ms=now_ms)
        return found

    async def find(self, user_id: str) -> User | None:
        return await self.records.read(partial(users.find, user_id=user_id))

    async def events(self) -> list[Any]:
        """All that was left, oldest first."""

        def read(connection: Connection) -> list[Any]:
            found = []
            for each in first_events(connection, 0, 1_000):
                payload = msgspec.json.decode(each.payload)
                then = None if each.then is None else msgspec.json.decode(each.then, type=Cut)
                found.append((each.channel, each.event, payload, each.excluded_session, then))
            return found

        return await self.records.read(read)

    async def end_logins(self, caller: Identity, now_ms: int = NOW) -> Cut:
        found: Cut = await self.do(users.end_logins, caller.user_id, now_ms=now_ms, caller=caller)
        return found

    async def cuts(self, since_ms: int = 0) -> dict[str, tuple[int, int, str | None]]:
        found = await self.records.read(partial(users.cuts, since_ms=since_ms))
        return {cut.user_id: (cut.number, cut.before_ms, cut.spared) for cut in found}


@asynccontextmanager
async def accounts_at(url: str, folder: Path) -> AsyncIterator[Accounts]:
    async with open_records(url, folder, [MIGRATIONS]) as records:
        yield Accounts(records)


@pytest.fixture
async def accounts(records_url: str, tmp_path: Path) -> AsyncIterator[Accounts]:
    """An empty table, on each database."""
    async with accounts_at(records_url, tmp_path) as accounts:
        yield accounts


async def rejected(code: ErrorCode, words: str, operation: Any) -> None:
    """That an operation was not done, and says why."""
    with pytest.raises(Rejected, match=words) as raised:
        await operation
    assert raised.value.refusal.code is code, raised.value.refusal


async def moved(operation: Any) -> None:
    """That an operation was not done, since it was asked for with another hash than the user's."""
    with pytest.raises(Moved):
        await operation


def caller(session_id: str, number: int | None, user_id: str = "alice", **more: Any) -> Identity:
    """Whoever is logged in by a login."""
    return Identity(user_id, user_id, 2**31, session_id=session_id, login_number=number, **more)


def is_good(login: tuple[str, int], cut: Cut | None) -> bool:
    """Whether a login (its `sid` and number) is not what a cut ends."""
    return cut is None or not is_cut_off(caller(*login), cut.number, cut.before_ms, cut.spared)


# --- the table ---------------------------------------------------------------------------------------


async def test_the_migrations_make_the_tables_that_the_program_declares(accounts: Accounts) -> None:
    """Nothing is missing, nothing is more, on either database."""
    found = await accounts.records.read(lambda connection: differences(connection, tables.metadata))
    assert found == []


async def test_a_user_is_found_by_id_and_by_name(accounts: Accounts) -> None:
    """As added, whatever the case or width in which the name is asked for; nobody else is."""
    added = await accounts.add("Alice", user_id="a1", email="Alice@Example.org", roles=["b", "a", "b"])
    assert (added.id, added.username, added.email) == ("a1", "Alice", "Alice@Example.org")
    assert (added.roles, added.password_until_ms, added.logged_in_ms) == (("a", "b"), None, None)
    assert (added.created_ms, added.updated_ms, added.cut_ms, added.cut_spared) == (NOW, NOW, 0, None)
    assert await accounts.find("a1") == added
    assert await accounts.find("alice") is None
    for name in ("alice", "ALICE", "Ａlice"):
        found = await accounts.records.read(partial(users.find_by_name, name_key=named(name).key))
        assert found == added
    for key in ("", "bob"):
        assert await accounts.records.read(partial(users.find_by_name, name_key=key)) is None
    assert await accounts.events() == [], "nobody has to hear of it"


async def test_a_name_and_an_id_are_given_once(accounts: Accounts) -> None:
    """Who comes second is told which of the two it is, and nothing is added."""
    await accounts.add("alice", user_id="a1")
    await rejected(ErrorCode.CONFLICT, r"at `\$\.username`", accounts.add("ALICE", user_id="a2"))
    await rejected(ErrorCode.CONFLICT, r"the id a1 .* at `\$\.id`", accounts.add("bob", user_id="a1"))
    assert await accounts.find("a2") is None
    for name in ("service", "service:billing"):
        await rejected(ErrorCode.INVALID_DATA, "services", accounts.add("bob", user_id=name))


async def names_on(accounts: Accounts, search: str = "", limit: int = 100) -> tuple[list[str], list[int]]:
    """Names and totals, page by page."""
    names: list[str] = []
    totals, after = [], None
    while True:
        page = await accounts.records.read(partial(users.page, search=search, after=after, limit=limit))
        assert len(page.users) <= limit
        names += [user.username for user in page.users]
        totals.append(page.total)
        if page.next is None:
            return names, totals
        after = page.next


async def test_pages_show_each_user_once_in_one_order(accounts: Accounts) -> None:
    """By the key of the name, byte by byte, on each database alike; the last page says that it is the last."""
    people = ["zoe", "Ann", "bob", "_x", "ann-b", "annb", "Émile", "ann.c", "李", "Ωμέγα"]
    for number, name in enumerate(people):
        await accounts.add(name, user_id=str(number))
    await accounts.delete("2")
    people.remove("bob")
    ordered = sorted(people, key=lambda name: named(name).key.encode())
    for limit in (1, 3, 9, 10):
        found, totals = await names_on(accounts, limit=limit)
        assert found == ordered
        assert totals == [9] * -(-9 // limit)


async def test_a_search_looks_for_the_text_itself(accounts: Accounts) -> None:
    """In names and addresses, whatever the case; no sign means anything but itself; all that match are counted."""
    await accounts.add("Ann_1", email="first@example.org")
    await accounts.add("annx1", email="50%@example.org")
    await accounts.add("bob")
    for search, expected in (
        ("ANN", ["Ann_1", "annx1"]),
        ("n_1", ["Ann_1"]),
        ("%", ["annx1"]),
        ("Example", ["Ann_1", "annx1"]),
        ("1\nfirst", []),
        ("\\", []),
        ("'", []),
        ("\0", []),
        ("bob", ["bob"]),
        ("nobody", []),
    ):
        found, totals = await names_on(accounts, search, limit=1)
        assert found == expected, search
        assert set(totals) == {len(expected)}


# --- logging in --------------------------------------------------------------------------------------


async def test_a_login_counts_only_with_the_password_that_was_compared(accounts: Accounts) -> None:
    """A hash that changed, or a user who was deleted, between the comparison and the record: compare anew."""
    await accounts.add("alice")
    await accounts.add("bob")
    logged_in = await accounts.log_in("alice", "s")
    assert (logged_in.user.id, logged_in.cut) == ("alice", None)
    assert (await accounts.find("alice")).logged_in_ms == NOW  # type: ignore[union-attr]
    await accounts.set_password("alice", password="another hash")
    before = await accounts.find("alice")
    for user_id in ("alice", "nobody"):
        await moved(accounts.log_in(user_id, "t", NOW + 1, only_one=True, rehashed="of the old one"))
    await accounts.delete("bob")
    await moved(accounts.log_in("bob", "t"))
    assert await accounts.find("alice") == before, "nothing of it was done"


async def test_a_rehashed_password_takes_the_place_of_the_one_that_was_compared(accounts: Accounts) -> None:
    """Two logins at once rehash it, and one of them has to compare anew; a login ends nobody by that."""
    await accounts.add("alice")
    logged_in = await accounts.log_in("alice", "s", rehashed="hash of today")
    assert logged_in.cut is None
    assert (await accounts.find("alice")).password == "hash of today"  # type: ignore[union-attr]
    await moved(accounts.log_in("alice", "t", rehashed="another of today"))
    assert (await accounts.log_in("alice", "t", known="hash of today")).number > logged_in.number


async def test_where_one_login_may_live_each_ends_those_before_it(accounts: Accounts) -> None:
    """Also two of one millisecond, and whatever the mode was before; where many may, none ends another."""
    await accounts.add("alice")
    logins = []
    for session in ("m1", "m2"):
        logged_in = await accounts.log_in("alice", session)
        assert logged_in.cut is None
        logins.append((session, logged_in.number))
    for number in range(3):
        logged_in = await accounts.log_in("alice", f"s{number}", only_one=True)
        logins.append((f"s{number}", logged_in.number))
        assert logged_in.cut is not None
        assert logged_in.cut.why == "login"
        assert [is_good(login, logged_in.cut) for login in logins] == [False] * (len(logins) - 1) + [True]
        found = {"alice": (logged_in.cut.number, logged_in.cut.before_ms, f"s{number}")}
        assert await accounts.cuts() == found
    assert await accounts.events() == [], "whoever is cut off is told at once, or never"


async def test_two_nodes_that_log_in_at_once_agree_on_who_stays(records_url: str, tmp_path: Path) -> None:
    """Whoever's transaction is later ends the other: the cuts have an order, and the last spares its own login."""
    async with accounts_at(records_url, tmp_path) as here, accounts_at(records_url, tmp_path) as there:
        await here.add("alice")
        found: list[LoggedIn] = []

        async def log_in(accounts: Accounts, session_id: str) -> None:
            found.append(await accounts.log_in("alice", session_id, only_one=True))

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(log_in, (here, there)[number % 2], f"s{number}")
        cuts = sorted((each.cut for each in found if each.cut), key=lambda cut: cut.number)
        assert len({cut.number for cut in cuts}) == 6
        assert await here.cuts() == {"alice": (cuts[-1].number, cuts[-1].before_ms, cuts[-1].spared)}


# --- the order of cuts and logins, whatever the clock says -------------------------------------------


async def test_logins_and_cuts_are_numbered_in_one_order(accounts: Accounts) -> None:
    """Of their commits: in one millisecond, an hour back, and by whatever it is made; times only rise, too."""
    await accounts.add("root", roles=["admin"])
    await accounts.add("alice", roles=["a", "b", "c"])
    numbers, cuts = [], []

    def note(done: Changed | LoggedIn | Cut) -> None:
        cut = done if isinstance(done, Cut) else done.cut
        if isinstance(done, LoggedIn):
            assert cut is None or cut.number == done.number, "it is of the cut's number, and not before it"
            numbers.append(done.number)
        elif cut is not None:
            numbers.append(cut.number)
        if cut is not None:
            cuts.append(cut)

    for now_ms in (NOW, NOW - HOUR, NOW - 1, NOW + HOUR, NOW):
        note(await accounts.log_in("alice", "many", now_ms))
        note(await accounts.set_password("alice", now_ms))
        note(await accounts.log_in("alice", "single", now_ms, only_one=True))
        note(await accounts.update("alice", now_ms, roles=["a"]))
        note(await accounts.update("alice", now_ms, roles=["a", "b"]))
        note(await accounts.end_logins(caller("any", 2**50), now_ms))
    note(await accounts.delete("alice", NOW - HOUR))
    assert len(numbers) == 5 * 5 + 1
    assert numbers == sorted(set(numbers))
    times = [cut.before_ms for cut in cuts]
    assert times == sorted(set(times)), "for logins elsewhere"
    assert times[0] > NOW
    assert times[-1] > NOW + HOUR
    assert await accounts.cuts() == {"alice": (numbers[-1], times[-1], None)}


@pytest.mark.parametrize("back", [0, 1, 900, HOUR])
async def test_what_ends_logins_ends_those_before_it_and_none_after_it(
    accounts: Accounts, back: int
) -> None:
    """Where the clock was put back meanwhile, or another node's is behind, as where it was not."""
    await accounts.add("alice", roles=["a"])
    old = [
        (session, (await accounts.log_in("alice", session, now_ms)).number)
        for session, now_ms in (("before", NOW - HOUR), ("ahead", NOW), ("behind", NOW - back))
    ]
    cut = (await accounts.set_password("alice", NOW - back)).cut
    new = [("later", (await accounts.log_in("alice", "later", NOW - back)).number)]
    new += [("much later", (await accounts.log_in("alice", "much later", NOW - 2 * back)).number)]
    assert [is_good(login, cut) for login in (*old, *new)] == [False, False, False, True, True]


async def test_a_user_of_a_new_database_is_no_earlier_than_one_of_the_old(
    records_url: str, tmp_path: Path
) -> None:
    """The database was lost, and with it what had ended: tokens of its time are older than the first cut."""
    async with accounts_at(records_url, tmp_path) as accounts:
        await accounts.add("alice", user_id="a1")
        last = [await accounts.log_in("a1", "old", known="hash of alice") for _ in range(3)][-1]
        again = await accounts.add("bob", user_id="a2", now_ms=NOW + 1_000)
        assert again.login_number > last.number


async def test_cuts_are_read_from_a_moment_on(accounts: Accounts) -> None:
    """Those that still concern somebody, of deleted users too; who was never cut off has none."""
    for name in ("alice", "bob", "carol"):
        await accounts.add(name)
    await accounts.set_password("alice", NOW)
    await accounts.delete("bob", NOW + 5)
    assert await accounts.cuts() == {"alice": (NOW + 1, NOW + 1, None), "bob": (NOW + 1, NOW + 6, None)}
    assert set(await accounts.cuts(NOW + 1)) == {"bob"}
    assert set(await accounts.cuts(NOW)) == {"alice", "bob"}


async def test_a_user_may_end_all_logins_of_the_account(accounts: Accounts) -> None:
    """The one that asks as well; nobody has to hear of it, but for who is connected."""
    await accounts.add("alice")
    logins = [(name, (await accounts.log_in("alice", name)).number) for name in ("s", "t")]
    cut = await accounts.end_logins(caller(*logins[0]))
    assert (cut.why, cut.spared) == ("logout", None)
    assert [is_good(login, cut) for login in logins] == [False, False]
    assert await accounts.events() == []
    await rejected(ErrorCode.UNAUTHORIZED, "log in again", accounts.end_logins(caller(*logins[1])))
    await rejected(ErrorCode.NOT_FOUND, "no user", accounts.end_logins(caller("s", 1, "nobody")))


# --- changing ----------------------------------------------------------------------------------------


async def test_a_change_is_told_to_the_user_and_to_administrators(accounts: Accounts) -> None:
    """What the user is from now on, behind each other; a role that is added ends no login, one taken away does."""
    await accounts.add("alice", roles=["a"])
    changed = await accounts.update("alice", NOW + 9, name=named("Alicia"), email="a@b", roles=["b", "a"])
    told = {"id": "alice", "username": "Alicia", "email": "a@b", "roles": ["a", "b"], "group_id": None}
    assert (changed.cut, changed.user.updated_ms, changed.user.name_key) == (None, NOW + 9, "alicia")
    assert await accounts.events() == [
        ("role:admin", "user:updated", told, None, None),
        ("user:alice", "user:updated", told, None, None),
    ]
    changed = await accounts.update("alice", NOW + 10, email=None, roles=["b"])
    assert changed.cut == Cut("alice", NOW + 1, NOW + 11, None, "roles")
    assert await accounts.cuts() == {"alice": (NOW + 1, NOW + 11, None)}
    assert [then for *_, then in await accounts.events()] == [None, None, None, changed.cut]
    assert changed.event == 4
    found, _ = await names_on(accounts, "a@b")
    assert found == [], "what is searched has changed with it"


async def test_what_changes_nothing_leaves_nothing(accounts: Accounts) -> None:
    """Neither an event, nor a cut, nor another time; but another spelling of one's own name is a change."""
    user = await accounts.add("alice", email="a@b", roles=["a"])
    for same in ({}, {"name": named("alice")}, {"email": "a@b"}, {"roles": ["a", "a"]}):
        changed = await accounts.update("alice", NOW + 9, **same)
        assert changed == Changed(user)
    assert await accounts.events() == []
    changed = await accounts.update("alice", NOW + 9, name=named("ALICE"))
    assert (changed.user.username, changed.user.name_key) == ("ALICE", "alice")


async def test_a_name_that_is_taken_changes_nothing_at_all(accounts: Accounts) -> None:
    """Not the other fields of the same request either."""
    user = await accounts.add("alice", roles=["a"])
    await accounts.add("bob")
    taking = accounts.update("alice", name=named("BOB"), email="x@y", roles=[])
    await rejected(ErrorCode.CONFLICT, "another user has this name", taking)
    assert await accounts.find("alice") == user
    assert (await accounts.events(), await accounts.cuts()) == ([], {})


async def test_a_password_is_changed_by_whoever_knew_it_and_is_still_logged_in(accounts: Accounts) -> None:
    """The login that changes it goes on and hears nothing; where another has ended it meanwhile nothing is done."""
    await accounts.add("alice")
    mine = caller("mine", (await accounts.log_in("alice", "mine")).number)
    asked: dict[str, Any] = {"caller": mine, "by": "alice", "password": "new"}
    await moved(accounts.set_password("alice", known="guess", **asked))
    assert await accounts.cuts() == {}
    changed = await accounts.set_password("alice", known="hash of alice", **asked)
    assert changed.cut == Cut("alice", NOW + 2, NOW + 1, "mine", "password")
    payload = {"id": "alice", "by": "alice"}
    assert await accounts.events() == [
        ("role:admin", "user:password-changed", payload, "mine", None),
        ("user:alice", "user:password-changed", payload, "mine", changed.cut),
    ]
    again = await accounts.set_password("alice", known="new", **asked)
    assert again.cut == Cut("alice", NOW + 3, NOW + 2, "mine", "password"), "who is spared may do it again"
    reset = await accounts.set_password("alice", password="temporary", until_ms=NOW + 7)
    assert (reset.user.password, reset.user.password_until_ms) == ("temporary", NOW + 7)
    assert reset.cut == Cut("alice", NOW + 4, NOW + 3, None, "password")
    before = await accounts.find("alice")
    await rejected(
        ErrorCode.UNAUTHORIZED, "ended", accounts.set_password("alice", known="temporary", **asked)
    )
    assert await accounts.find("alice") == before


async def test_whose_login_has_ended_changes_nothing_any_more(accounts: Accounts) -> None:
    """Of an administrator who was demoted while the request came; keys, and people from elsewhere, go on."""
    await accounts.add("root", roles=["admin"])
    await accounts.add("ann", roles=["admin"])
    await accounts.add("alice")
    admin = caller("s", (await accounts.log_in("ann", "s")).number, "ann")
    await accounts.update("alice", email="a@b", caller=admin)
    await accounts.update("ann", roles=[])
    before = await accounts.find("alice"), await accounts.events()
    for operation in (
        accounts.update("alice", email="c@d", caller=admin),
        accounts.set_password("alice", password="new", caller=admin),
        accounts.do(users.delete, "alice", now_ms=NOW, caller=admin),
        accounts.add("eve", roles=["admin"], caller=admin),
        accounts.end_logins(admin),
    ):
        await rejected(ErrorCode.UNAUTHORIZED, "log in again", operation)
    assert (await accounts.find("alice"), await accounts.events()) == before
    assert await accounts.find("eve") is None
    key = Identity("ann", "ann", NO_END)
    elsewhere = caller("s", None, "of another issuer")
    for number, other in enumerate((key, elsewhere)):
        changed = await accounts.update("alice", email=f"{number}@b", caller=other)
        assert changed.user.email == f"{number}@b"


# --- deleting ----------------------------------------------------------------------------------------


async def test_who_is_deleted_is_gone_and_leaves_the_id_taken(accounts: Accounts) -> None:
    """Nothing finds or changes the user; the name is free, the id is not, so that nobody inherits an inbox."""
    await accounts.add("alice", email="a@b", roles=["a"])
    deleted = await accounts.delete("alice", NOW + 3)
    cut = Cut("alice", NOW + 1, NOW + 4, None, "deleted")
    assert (deleted.user.username, deleted.cut) == ("alice", cut)
    told = {"id": "alice", "username": "alice"}
    assert await accounts.events() == [
        ("role:admin", "user:deleted", told, None, None),
        ("user:alice", "user:deleted", told, None, cut),
    ]
    assert await accounts.find("alice") is None
    for operation in (accounts.update, accounts.set_password, accounts.delete):
        await rejected(ErrorCode.NOT_FOUND, "no user has the id alice", operation("alice"))
    await rejected(ErrorCode.CONFLICT, r"taken, or was", accounts.add("bob", user_id="alice"))
    await rejected(ErrorCode.CONFLICT, r"at `\$\.id`", accounts.add("alice"))
    again = await accounts.add("Alice", user_id="another")
    assert again.id == "another"
    assert await names_on(accounts, "a@b") == ([], [0])
    [left] = await accounts.records.read(
        lambda connection: [
            row._asdict()
            for row in connection.execute(select(tables.users).where(tables.users.c.id == "alice"))
        ]
    )
    kept = {"id": "alice", "searched": "", "roles": "[]", "is_admin": False, "created_ms": NOW}
    kept |= {"updated_ms": NOW + 3, "cut_ms": NOW + 4, "deleted_ms": NOW + 3}
    kept |= {"login_number": NOW + 1, "cut_number": NOW + 1}
    assert {name: value for name, value in left.items() if value is not None} == kept, "nothing personal"


async def test_there_is_always_an_administrator_left(accounts: Accounts) -> None:
    """The last one is neither deleted nor demoted; a deleted one does not count, nor does any other role."""
    await accounts.add("root", roles=["admin", "x"])
    await accounts.add("bob", roles=["administrator"])
    for attempt in (accounts.delete("root"), accounts.update("root", roles=["x"])):
        await rejected(ErrorCode.CONFLICT, "the last administrator", attempt)
    await accounts.update("root", roles=["admin"])
    await accounts.add("carol", roles=["admin"])
    await accounts.delete("carol")
    await rejected(ErrorCode.CONFLICT, "the last administrator", accounts.delete("root"))
    await accounts.update("bob", roles=["admin"])
    await accounts.delete("root")
    await rejected(ErrorCode.CONFLICT, "the last administrator", accounts.update("bob", roles=[]))


async def test_two_administrators_who_end_each_other_at_once_leave_one(
    records_url: str, tmp_path: Path
) -> None:
    """From two nodes, in the same moment: one of them is refused."""
    async with accounts_at(records_url, tmp_path) as here, accounts_at(records_url, tmp_path) as there:
        for name in ("ann", "bob"):
            await here.add(name, roles=["admin"])
        found: list[ErrorCode | None] = []

        async def end(operation: Any) -> None:
            try:
                await operation
            except Rejected as error:
                found.append(error.refusal.code)
            else:
                found.append(None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end, here.delete("ann"))
            nursery.start_soon(end, there.update("bob", roles=[]))
        assert sorted(found, key=str) == [None, ErrorCode.CONFLICT]
        admins: Sequence[str] = await here.records.read(
            lambda connection: list(
                connection.scalars(select(tables.users.c.id).where(tables.users.c.is_admin))
            )
        )
        assert len(admins) == 1
