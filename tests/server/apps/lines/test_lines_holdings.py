"""Who is online and what the board shows, in every order of comings, goings and commits, against a naive model."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tidings.protocol.close_codes import CloseCode
from tidings.server.apps.lines.accounts import Account, Counts
from tidings.server.apps.lines.board import Board, load
from tidings.server.apps.lines.days import day_of
from tidings.server.apps.lines.groups import Group
from tidings.server.apps.lines.holdings import Device, Holdings
from tidings.server.extension import Guest, Identity
from tidings.server.identity import NO_END

#: 2026-03-01 12:00 UTC.
NOON = 1_772_366_400_000
HOUR = 3_600_000
ZONES = ("UTC", "Asia/Shanghai", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Kiritimati")
STATUSES = st.sampled_from(["online", "online", "offline", "busy"])


@dataclass(eq=False)
class Visitor:
    """A connection that notes why it was closed."""

    connection_id: str
    identity: Identity
    device: str
    closed: list[CloseCode] = field(default_factory=list)

    def close(self, code: CloseCode, reason: str | None = None) -> bool:  # noqa: ARG002
        """Note it."""
        self.closed.append(code)
        return True


@dataclass
class Known:
    """What the model knows of an account."""

    id: int
    group: int
    status: str = "offline"
    holders: dict[int, str] = field(default_factory=dict)
    """The places that hold it, and what each last said; connections that took each other's place share one."""
    total: int = 0
    duplicate: int = 0
    day: int = 0
    today: int = 0
    today_duplicate: int = 0


@dataclass
class Saying:
    """What a device has said, and no commit has brought back yet."""

    visitor: Visitor
    device: Device
    statuses: dict[str, str]
    is_all: bool


class BoardMachine(RuleBasedStateMachine):
    """The board and its devices, as the service drives them."""

    single: ClassVar[bool] = False

    @initialize()
    def begin(self) -> None:
        """Nothing is there."""
        self.now_ms = NOON
        self.board = load([], [], NOON, 0)
        self.holdings = Holdings(self.board, single=self.single)
        self.zones: dict[int, str] = {}
        self.known: dict[str, Known] = {}
        self.visitors: list[Visitor] = []
        """Those that are in."""
        self.places: dict[str, int] = {}
        """By connection, of all that ever were."""
        self.gone: set[int] = set()
        self.under_way: list[Saying] = []
        self.count = 0
        self.add_group("UTC")
        for _ in range(2):
            self.add_account(0)

    def number(self) -> int:
        """One that was not there before."""
        self.count += 1
        return self.count

    def group(self, choice: int) -> int:
        """One of the groups."""
        return list(self.zones)[choice % len(self.zones)]

    def accounts_of(self, group: int) -> list[str]:
        """Of a group, oldest first."""
        return [name for name, known in self.known.items() if known.group == group]

    # --- groups, accounts, figures, days -------------------------------------------------------------

    @rule(zone=st.sampled_from(ZONES))
    def add_group(self, zone: str) -> None:
        """A new group, without accounts."""
        if len(self.zones) < 3:
            group = self.number()
            self.zones[group] = zone
            self.board.add_group(Group(group, f"g{group}", zone, f"code{group}", 1, 1), self.now_ms)

    @rule(choice=st.integers(0, 9))
    def add_account(self, choice: int) -> None:
        """A new account."""
        if len(self.known) < 8:
            number, group = self.number(), self.group(choice)
            name = f"a{number}"
            self.board.take(Account(number, group, name, "", "", "offline", Counts(0, 0, 0, 0, 0)))
            self.known[name] = Known(number, group)

    @rule(choice=st.integers(0, 9), duplicate=st.booleans())
    def count_line(self, choice: int, duplicate: bool) -> None:
        """A line was counted, on the day that its group has now."""
        known = list(self.known.values())[choice % len(self.known)]
        day, _ = self.board.today(self.board.groups[known.group], self.now_ms)
        if known.day != day.number:
            known.day, known.today, known.today_duplicate = day.number, 0, 0
        known.total += 1
        known.duplicate += duplicate
        known.today += 1
        known.today_duplicate += duplicate
        counts = Counts(known.total, known.duplicate, known.day, known.today, known.today_duplicate)
        self.board.set_counts(self.board.by_id(known.id), counts)

    @rule(hours=st.sampled_from([-49, -25, -3, 1, 5, 12, 24, 49]))
    def set_clock(self, hours: int) -> None:
        """Time passes, or is put back; and the midnights are noticed."""
        self.now_ms += hours * HOUR
        for group in self.board.groups.values():
            shown = {account.name: account.today for account in group.accounts.values()}
            _, turned = self.board.today(group, self.now_ms)
            # All whose figures of today are others are to be told, or are 0 before and come back.
            others = {name for name, today in shown.items() if self.board.accounts[name].today != today}
            assert {name for name in others if shown[name] != (0, 0)} <= {each.name for each in turned}

    @rule(choice=st.integers(0, 9), zone=st.sampled_from(ZONES))
    def change_zone(self, choice: int, zone: str) -> None:
        """A group's zone is changed; figures of another day than its are not of today."""
        group = self.group(choice)
        self.zones[group] = zone
        self.board.change_group(Group(group, "new name", zone, f"code{group}", 1, 1), self.now_ms)

    # --- devices -------------------------------------------------------------------------------------

    @rule(choice=st.integers(0, 9), name=st.sampled_from(["", "", "pc", "pc", "mac"]))
    def enter(self, choice: int, name: str) -> None:
        """A device comes in; it may be a newer connection of one that is here."""
        group = self.group(choice)
        visitor = Visitor(
            f"c{self.number()}", Identity(f"device:{group}.1", "", expires_at=NO_END, kind="device"), name
        )
        place = self.number()
        self.places[visitor.connection_id] = place
        before = {account: known.status for account, known in self.known.items()}
        for other in [*self.visitors]:
            is_of_code = other.identity == visitor.identity
            old = self.places[other.connection_id]
            if is_of_code and other.device == name and (self.single or name):
                self.places = {at: place if its == old else its for at, its in self.places.items()}
                for known in self.known.values():
                    # Whose word was the last stays so: nobody has said anything.
                    known.holders = {place if at == old else at: said for at, said in known.holders.items()}
                self.visitors.remove(other)
            elif is_of_code and self.single:
                self.end(other)
        self.visitors.append(visitor)
        _, changed = self.holdings.enter(cast(Guest, visitor), self.board.groups[group])
        self.check_changed(before, changed)

    @precondition(lambda self: self.visitors)
    @rule(choice=st.integers(0, 9), data=st.data(), is_all=st.booleans())
    def say(self, choice: int, data: st.DataObject, is_all: bool) -> None:
        """A device syncs, or says what has become of one account; the commit is still to come."""
        visitor = self.visitors[choice % len(self.visitors)]
        device = self.holdings.devices[visitor.connection_id]
        own = st.sampled_from([*self.accounts_of(device.group.id), ""])
        said = st.dictionaries(own, STATUSES, max_size=4 if is_all else 1)
        statuses = {name: status for name, status in data.draw(said).items() if name}
        self.under_way.append(Saying(visitor, device, statuses, is_all))

    @precondition(lambda self: self.under_way)
    @rule()
    def commit(self) -> None:
        """What was said first comes back from the tables; whoever said it may have gone."""
        saying = self.under_way.pop(0)
        place = self.places[saying.visitor.connection_id]
        before = {name: known.status for name, known in self.known.items()}
        for name, status in saying.statuses.items():
            known = self.known[name]
            if place not in self.gone:
                known.holders.pop(place, None)
                known.holders[place] = known.status = status
        if saying.is_all:
            for name, known in self.known.items():
                if name not in saying.statuses:
                    self.let_go(known, place)
        statuses = [(self.board.accounts[name], status) for name, status in saying.statuses.items()]
        changed = self.holdings.reported(saying.device, statuses, is_all=saying.is_all)
        self.check_changed(before, changed)

    @precondition(lambda self: self.places)
    @rule(choice=st.integers(0, 99))
    def leave(self, choice: int) -> None:
        """A connection ends: of a device that is here, or one that was replaced, or is told twice."""
        connection = list(self.places)[choice % len(self.places)]
        before = {name: known.status for name, known in self.known.items()}
        for visitor in self.visitors:
            if visitor.connection_id == connection:
                self.end(visitor)
                break
        guest = Visitor(connection, Identity("whoever", "", expires_at=NO_END), "")
        self.check_changed(before, self.holdings.leave(cast(Guest, guest)))

    def end(self, visitor: Visitor) -> None:
        """A device is here no more, nor another connection in its place."""
        self.visitors.remove(visitor)
        self.gone.add(self.places[visitor.connection_id])
        for known in self.known.values():
            self.let_go(known, self.places[visitor.connection_id])

    def let_go(self, known: Known, place: int) -> None:
        """A place holds an account no more: the last word of the others counts, and without any it is offline."""
        if known.holders.pop(place, None) is not None:
            known.status = [*known.holders.values(), "offline"][max(0, len(known.holders) - 1)]

    def check_changed(self, before: dict[str, str], changed: list[Any]) -> None:
        """Whoever is told of changes hears of each account once, and of none that stayed."""
        others = [name for name, known in self.known.items() if known.status != before[name]]
        assert sorted(account.name for account in changed) == sorted(others)

    # --- what must hold ------------------------------------------------------------------------------

    @invariant()
    def statuses(self) -> None:
        """Each account is as the model has it; held by nobody, it is offline."""
        here = {visitor.connection_id for visitor in self.visitors}
        assert self.holdings.devices.keys() == here
        for name, known in self.known.items():
            account = self.board.accounts[name]
            assert account.status == known.status, name
            holders = {
                cast(Device, each).guest.connection_id: said for each, said in account.holders.items()
            }
            said = [(self.places[each], word) for each, word in holders.items()]
            assert said == [*known.holders.items()], name
            assert holders.keys() <= here
            assert account.holders or account.status == "offline"
            for holder in account.holders:
                assert account in cast(Device, holder).held

    @invariant()
    def figures(self) -> None:
        """A group's figures are the sums of its accounts', of which only those of its day are today's."""
        for number, zone in self.zones.items():
            group = self.board.groups[number]
            self.board.today(group, self.now_ms)
            assert group.day == day_of(self.now_ms, ZoneInfo(zone))
            assert group.day.holds(self.now_ms)
            own = [known for known in self.known.values() if known.group == number]
            today = [known for known in own if known.day == group.day.number]
            shown = Board.group_stats(group, self.now_ms)
            assert (
                shown.total_accounts,
                shown.online_accounts,
                shown.total_incoming,
                shown.duplicate_incoming,
                shown.today_incoming,
                shown.today_duplicate,
            ) == (
                len(own),
                sum(known.status == "online" for known in own),
                sum(known.total for known in own),
                sum(known.duplicate for known in own),
                sum(known.today for known in today),
                sum(known.today_duplicate for known in today),
            )

    def teardown(self) -> None:
        """When all have gone, and all has come back, nobody is there and nothing is held."""
        while self.under_way:
            self.commit()
        for visitor in [*self.visitors]:
            self.holdings.leave(cast(Guest, visitor))
        assert not self.holdings.devices
        assert not self.holdings._codes
        for account in self.board.accounts.values():
            assert (account.status, account.holders) == ("offline", {})


class SingleMachine(BoardMachine):
    """The same where a code serves one device."""

    single = True

    @invariant()
    def one_of_a_code(self) -> None:
        """Never are two here by the same code."""
        codes = [visitor.identity.user_id for visitor in self.visitors]
        assert len(codes) == len(set(codes))


class LongMachine(BoardMachine):
    """Many devices, for longer."""


TestManyDevices = BoardMachine.TestCase
TestManyDevices.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
TestSingleDevice = SingleMachine.TestCase
TestSingleDevice.settings = settings(max_examples=10, stateful_step_count=40, deadline=None)
TestForLonger = pytest.mark.slow(LongMachine.TestCase)
TestForLonger.settings = settings(max_examples=60, stateful_step_count=100, deadline=None)


def test_a_replaced_connection_is_closed_once_and_its_end_changes_nothing() -> None:
    """A newer connection of a named device takes over what it held; nobody sees the account offline."""
    board = load([Group(1, "g", "UTC", "code", 1, 1)], [], NOON, 0)
    holdings, group = Holdings(board, single=False), board.groups[1]
    account = board.take(Account(1, 1, "a", "", "", "offline", Counts(0, 0, 0, 0, 0)))
    identity = Identity("device:1.1", "", expires_at=NO_END, kind="device")
    old, new = (Visitor(name, identity, "pc") for name in ("old", "new"))
    device, _ = holdings.enter(cast(Guest, old), group)
    assert holdings.reported(device, [(account, "online")], is_all=True) == [account]
    assert holdings.enter(cast(Guest, new), group)[1] == []
    assert (old.closed, new.closed) == ([CloseCode.LOGGED_IN_ELSEWHERE], [])
    assert holdings.leave(cast(Guest, old)) == []
    assert (account.status, group.online) == ("online", 1)
    assert holdings.leave(cast(Guest, new)) == [account]
    assert (account.status, group.online) == ("offline", 0)


def test_who_comes_back_has_not_spoken_again() -> None:
    """The last word of several devices stays the last when another of them connects anew."""
    board = load([Group(1, "g", "UTC", "code", 1, 1)], [], NOON, 0)
    holdings, group = Holdings(board, single=False), board.groups[1]
    account = board.take(Account(1, 1, "a", "", "", "offline", Counts(0, 0, 0, 0, 0)))
    identity = Identity("device:1.1", "", expires_at=NO_END, kind="device")
    visitors = [Visitor(name, identity, name) for name in ("first", "second", "third")]
    for visitor, status in zip(visitors, ("third", "busy", "online"), strict=True):
        device, _ = holdings.enter(cast(Guest, visitor), group)
        holdings.reported(device, [(account, status)], is_all=True)
    holdings.enter(cast(Guest, Visitor("again", identity, "second")), group)
    assert holdings.leave(cast(Guest, visitors[0])) == []
    assert account.status == "online"
