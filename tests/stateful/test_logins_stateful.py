"""Logins against a model: whatever is done to users, and by whatever clock, each token is worth what its login is.

Records, relay, accounts and authenticator are the real ones; the hashes are cheap and made in place, and there are
no sockets. After each step every token that was ever issued is shown to the door.
"""

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
import structlog.testing
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.records import InlineRecords
from support.site import SECRET
from trio.testing import MockClock

from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.builtin import core_registry
from tidings.server.answers import Refused
from tidings.server.apps.accounts.app import MIGRATIONS
from tidings.server.apps.accounts.bodies import ChangePassword, CreateUser, Login, UpdateUser
from tidings.server.apps.accounts.hashing import Hasher
from tidings.server.apps.accounts.registration import Passwords
from tidings.server.apps.accounts.service import Accounts
from tidings.server.auth import Authenticator
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import Accounts as Settings
from tidings.server.config import Auth, Limits
from tidings.server.delivery.hub import Hub
from tidings.server.identity import Identity
from tidings.server.logins import Logins
from tidings.server.push import Push
from tidings.server.relay import Relay
from tidings.server.revocations import MemoryRevocations, Revocation
from tidings.server.revoker import Revoked, Revoker

T = TypeVar("T")

LEEWAY: Final = 5
MAX_TTL: Final = 36_000
TTL: Final = 28_800
TEMPORARY_MS: Final = 3_600_000
# What a clock that is kept by NTP may step back, at the most.
LITTLE_MS: Final = 900
HOUR_MS: Final = 3_600_000

NAMES: Final = ("ann", "bob")
ADDRESS: Final = "192.0.2.1"
ROOT: Final = Identity("root", "root", 2**33, roles=frozenset({"admin"}))


# By how much the clock steps back before something is done, mostly not at all.
steps_back = st.sampled_from([0, 0, 0, 3, LITTLE_MS])
names = st.sampled_from(NAMES)

USES: Final = ("log in", "log in", "log in", "refresh", "refresh what has ended", "log out")
ENDS: Final = ("change password", "change password", "reset password", "change roles", "revoke", "delete")


class Clock:
    """A wall clock in Unix milliseconds."""

    def __init__(self) -> None:
        self.ms = self.latest_ms = 1_900_000_000_000

    def __call__(self) -> float:
        return self.ms / 1000

    def move(self, ms: int) -> None:
        self.ms += ms
        self.latest_ms = max(self.latest_ms, self.ms)

    def step_back(self, ms: int) -> None:
        """Be put right, by a little altogether."""
        self.ms = min(self.ms, max(self.ms - ms, self.latest_ms - LITTLE_MS))


class InlineHasher(Hasher):
    """Hashes in place, within the step of the loop."""

    def __init__(self) -> None:
        super().__init__(memory_kib=8, passes=1, waiting=1)
        self._dummy = self._argon2.hash(b"nobody's")

    async def _do(self, work: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        return work()


class AnyPasswords(Passwords):
    """Takes every password: what one is worth is not the question here."""

    async def hashed(self, password: str, inputs: Any, *, field: str) -> str:  # noqa: ARG002
        return await self.hash(password)


class Kept(MemoryRevocations):
    """What outlives a process."""

    def __init__(self) -> None:
        self.revocations: list[Revocation] = []

    async def add(self, revocation: Revocation) -> None:
        self.revocations.append(revocation)

    async def load(self) -> list[Revocation]:
        return self.revocations


class Process:
    """One life of the server, from the records to the door."""

    def __init__(self, folder: Path, clock: Clock, kept: Kept, *, mode: str) -> None:
        config = Settings(
            logins="single" if mode == "single" else "many",
            token_ttl=TTL,
            temporary_password_age=TEMPORARY_MS // 1000,
            account_attempts=1_000_000,
            address_attempts=1_000_000,
        )
        hub = Hub()
        broker = MemoryBroker(hub.deliver, clock=clock)
        self.auth = Authenticator(Auth(secret=SECRET, max_ttl=MAX_TTL, leeway=LEEWAY), clock=clock)
        self.revoker = Revoker(
            self.auth.revocations, kept, hub, broker, longest=MAX_TTL, leeway=LEEWAY, clock=clock
        )
        self.logins = Logins(self.auth, self.revoker, hub, broker, clock=clock)
        self.records = InlineRecords(folder, [MIGRATIONS])
        self.records.open()
        self.push = Push(core_registry(), hub, broker, outbox_bytes=Limits().outbox_bytes)
        self.relay = Relay(self.records, self.push)
        self.accounts = Accounts(
            config, longest=MAX_TTL, records=self.records, relay=self.relay, logins=self.logins
        )
        self.accounts.hasher = InlineHasher()
        self.accounts._passwords = AnyPasswords(config, self.accounts.hasher)
        self.do(self._begin)

    async def _begin(self) -> None:
        await self.revoker.load()
        await self.accounts.restore()

    def do(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do one thing, with the server's tasks beside it."""

        async def main() -> T:
            async with trio.open_nursery() as nursery:
                for task in (self.relay.run, self.logins.run, self.revoker.run):
                    nursery.start_soon(task)
                result = await step()
                nursery.cancel_scope.cancel()
            return result

        return trio.run(main, clock=MockClock(autojump_threshold=0))


@dataclass
class ModelLogin:
    """A login, and all the tokens that were issued for it."""

    session_id: str
    tokens: list[tuple[str, Identity]]
    lives: bool = True

    @property
    def identity(self) -> Identity:
        return self.tokens[-1][1]


@dataclass
class ModelUser:
    """A user who is not deleted."""

    id: str
    password: str
    has_role: bool = True
    until_ms: int | None = None
    """When the password ends, if it is a temporary one."""
    revoked_ms: int = 0
    """Up to when an administrator has revoked all tokens, by whatever the clock said."""
    logins: list[ModelLogin] = field(default_factory=list)


class LoginsMachine(RuleBasedStateMachine):
    """Users who log in, and all that ends logins, by a clock that sometimes steps back a little."""

    @initialize(mode=st.sampled_from(["single", "many"]))
    def begin(self, mode: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock, self.kept, self.mode = Clock(), Kept(), mode
        self.users: dict[str, ModelUser] = {}
        self.gone: list[ModelLogin] = []
        """Of deleted users."""
        self.count = 0
        self.process = self.start()
        for name in NAMES:
            self.create(name)
            self.log_in(name)

    def start(self) -> Process:
        return Process(self.folder, self.clock, self.kept, mode=self.mode)

    def teardown(self) -> None:
        if hasattr(self, "process"):
            self.process.records.close()
            shutil.rmtree(self.folder)

    def do(self, step: Callable[[], Awaitable[T]]) -> T | Refused:
        """What a request comes to, in one moment."""
        with structlog.testing.capture_logs():
            try:
                return self.process.do(step)
            except* Refused as group:
                [refused] = group.exceptions
                assert isinstance(refused, Refused)
        return refused

    def done(self, step: Callable[[], Awaitable[T]]) -> T:
        """What a request comes to that has to be granted; it takes its time, as hashing a password does."""
        result = self.do(step)
        assert not isinstance(result, Refused), result
        self.clock.move(2)
        return result

    def new_password(self) -> str:
        self.count += 1
        return f"password {self.count}"

    def pick(self, which: int, *, lives: bool) -> tuple[ModelUser, ModelLogin] | None:
        """A login of somebody who is not deleted."""
        found = [
            (user, login) for user in self.users.values() for login in user.logins if login.lives == lives
        ]
        return found[which % len(found)] if found else None

    def end(self, user: ModelUser, but: ModelLogin | None = None) -> None:
        for login in user.logins:
            login.lives &= login is but

    def note(self, login: ModelLogin, token: str) -> None:
        identity = self.process.auth.verify(token)
        assert isinstance(identity, Identity), identity
        assert identity.session_id is not None
        login.session_id = identity.session_id
        login.tokens.append((token, identity))

    # Few rules for many things: Hypothesis leaves some rules out of each run, and without logins there is nothing.

    @rule(what=st.sampled_from(USES), name=names, which=st.integers(0, 9), back=steps_back)
    def use(self, what: str, name: str, which: int, back: int) -> None:
        """Something that users do with their logins."""
        self.clock.step_back(back)
        match what:
            case "log in":
                self.log_in(name)
            case "refresh":
                self.refresh(which)
            case "refresh what has ended":
                self.refresh_what_has_ended(which)
            case "log out":
                self.log_out(which)

    @rule(what=st.sampled_from(ENDS), name=names, which=st.integers(0, 9), back=steps_back)
    def end_some(self, what: str, name: str, which: int, back: int) -> None:
        """Something that happens to users."""
        self.clock.step_back(back)
        match what:
            case "change password":
                self.change_password(which)
            case "reset password":
                self.reset_password(name)
            case "change roles":
                self.change_roles(name)
            case "revoke":
                self.revoke(name)
            case "delete":
                self.delete(name)
                self.create(name)

    # --- logging in and out ------------------------------------------------------------------------------

    def log_in(self, name: str) -> None:
        """By the right password: nobody is kept out, but for a moment after an administrator's revocation."""
        user = self.users[name]
        asked = Login(username=name, password=user.password)
        entered = self.do(lambda: self.process.accounts.log_in(asked, ADDRESS))
        if self.is_over(user):
            assert isinstance(entered, Refused)
            return
        login = ModelLogin("", [])
        if self.mode == "single":
            self.end(user)
        if isinstance(entered, Refused):
            assert entered.code is ErrorCode.UNAUTHORIZED
            assert self.may_refuse(user), entered
            return
        self.note(login, entered.token.token)
        assert login.identity.expires_at == int(self.clock()) + TTL
        assert login.identity.user_id == user.id
        user.logins.append(login)
        # Nobody's login ends by a wrong password.
        guess = Login(username=name, password="a guess")
        assert isinstance(self.do(lambda: self.process.accounts.log_in(guess, ADDRESS)), Refused)
        self.clock.move(2)

    def is_over(self, user: ModelUser) -> bool:
        return user.until_ms is not None and user.until_ms <= self.clock.ms

    def may_refuse(self, user: ModelUser) -> bool:
        """Whether the clock stands before a revocation: nothing that is made now can say that it is later."""
        return self.clock.ms <= user.revoked_ms

    def refresh(self, which: int) -> None:
        """A younger token of the same login."""
        found = self.pick(which, lives=True)
        if found is None or not self.is_accepted(*found[1].tokens[-1]):
            return
        user, login = found
        entered = self.do(lambda: self.process.accounts.refresh(login.identity))
        if isinstance(entered, Refused):
            assert self.may_refuse(user), entered
            return
        self.note(login, entered.token.token)
        assert login.identity.logged_in_ms == login.tokens[0][1].logged_in_ms

    def refresh_what_has_ended(self, which: int) -> None:
        """Its token was good when the request came: there is no other for it."""
        found = self.pick(which, lives=False)
        if found is not None and self.is_in_time(found[1].identity):
            caller = found[1].identity
            assert isinstance(self.do(lambda: self.process.accounts.refresh(caller)), Refused)

    def log_out(self, which: int) -> None:
        """One login, and all its tokens; where only one may live, whatever is left of others, too."""
        found = self.pick(which, lives=True)
        if found is None:
            return
        user, login = found
        self.done(lambda: self.process.accounts.log_out(login.identity))
        login.lives = False
        if self.mode == "single":
            self.end(user)

    # --- what ends logins --------------------------------------------------------------------------------

    def change_password(self, which: int) -> None:
        """All but the one that asks."""
        found = self.pick(which, lives=True)
        if found is None:
            return
        user, login = found
        asked = ChangePassword(old_password=user.password, new_password=self.new_password())
        self.done(lambda: self.process.accounts.change_password(login.identity, asked, ADDRESS))
        user.password, user.until_ms = asked.new_password, None
        self.end(user, but=login)

    def reset_password(self, name: str) -> None:
        """All of them; what the user is given instead ends by itself."""
        user = self.users[name]
        user.until_ms = self.clock.ms + TEMPORARY_MS
        user.password = self.done(lambda: self.process.accounts.reset_password(ROOT, user.id))
        self.end(user)

    def change_roles(self, name: str) -> None:
        """One that is taken away ends the logins whose tokens say it; one that is given ends none."""
        user = self.users[name]
        asked = UpdateUser(roles=() if user.has_role else ("editor",))
        self.done(lambda: self.process.accounts.update(ROOT, user.id, asked))
        if user.has_role:
            self.end(user)
        user.has_role = not user.has_role

    def revoke(self, name: str) -> None:
        """As an administrator does over the API."""
        user = self.users[name]
        user.revoked_ms = max(user.revoked_ms, self.clock.ms)
        # It goes by time, and reaches as far ahead as clocks may differ: what a clock has made that was ahead by
        # more may come back to life, and the model knows nothing of it any more.
        reached_ms = self.clock.ms + LEEWAY * 1000
        user.logins = [
            login
            for login in user.logins
            if not login.lives
            or all(max(each.issued_at * 1000, each.logged_in_ms) <= reached_ms for _, each in login.tokens)
        ]
        assert isinstance(self.done(lambda: self.process.revoker.revoke("user", user.id)), Revoked)
        self.end(user)

    def delete(self, name: str) -> None:
        user = self.users.pop(name)
        self.done(lambda: self.process.accounts.delete(ROOT, user.id))
        self.end(user)
        self.gone += user.logins
        # The name is nobody's for a moment.
        asked = Login(username=name, password=user.password)
        assert isinstance(self.do(lambda: self.process.accounts.log_in(asked, ADDRESS)), Refused)

    def create(self, name: str) -> None:
        """Somebody of the name: another user, whatever was before."""
        asked = CreateUser(username=name, password=self.new_password(), roles=("editor",))
        assert isinstance(asked.password, str)
        created, _ = self.done(lambda: self.process.accounts.create(ROOT, asked))
        assert created.id not in {login.identity.user_id for login in self.gone}
        self.users[name] = ModelUser(created.id, asked.password)

    # --- surroundings ------------------------------------------------------------------------------------

    @rule(ms=st.integers(0, 3_000) | st.integers(0, 4 * HOUR_MS))
    def wait(self, ms: int) -> None:
        self.clock.move(ms)

    @rule(mode=st.sampled_from(["single", "many"]))
    def restart(self, mode: str) -> None:
        """With what is on the disk; the operator may have changed the mode."""
        self.process.records.close()
        self.mode = mode
        self.process = self.start()

    # --- what holds --------------------------------------------------------------------------------------

    def is_accepted(self, token: str, identity: Identity) -> bool:
        """Whether the door takes a token."""
        verdict = self.process.auth.verify(token)
        assert verdict == identity or not isinstance(verdict, Identity), "it says what it always said"
        return isinstance(verdict, Identity)

    def is_in_time(self, identity: Identity) -> bool:
        now = self.clock()
        latest = max(identity.issued_at, identity.logged_in_ms / 1000)
        return latest <= now + LEEWAY and now < identity.expires_at + LEEWAY

    @invariant()
    def each_token_is_worth_what_its_login_is(self) -> None:
        if not hasattr(self, "process"):
            return
        for login in [*self.gone, *(login for user in self.users.values() for login in user.logins)]:
            for token, identity in login.tokens:
                is_accepted = self.is_accepted(token, identity)
                if not login.lives or not self.is_in_time(identity):
                    assert not is_accepted, (identity, self.clock.ms)
                elif self.must_live(login):
                    assert is_accepted, (identity, self.clock.ms)

    def must_live(self, login: ModelLogin) -> bool:  # noqa: ARG002  of the other machine
        return True


class AnyClock(LoginsMachine):
    """A clock that somebody sets by hours: more may end than was meant to, and never less."""

    @precondition(lambda self: hasattr(self, "clock"))
    @rule(hours=st.integers(1, 5))
    def put_back(self, hours: int) -> None:
        # As far as the margin goes for which what has ended is remembered.
        self.clock.ms = max(self.clock.ms - hours * HOUR_MS, self.clock.latest_ms - 20 * HOUR_MS)

    def may_refuse(self, user: ModelUser) -> bool:  # noqa: ARG002
        return True

    def must_live(self, login: ModelLogin) -> bool:  # noqa: ARG002
        return False


MACHINES = {"a clock that is kept": LoginsMachine, "a clock that is set": AnyClock}


def _hold(machine: type[LoginsMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=set(Phase) - {Phase.explain},
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_whatever_happens_a_token_is_worth_what_its_login_is(machine: type[LoginsMachine]) -> None:
    """Ended means refused, at once and for ever; living means accepted, as long as the token says."""
    _hold(machine, 6, 30)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_whatever_happens_in_a_long_time(machine: type[LoginsMachine]) -> None:
    """As above, over more and longer lives."""
    _hold(machine, 10, 50)
