"""What users and administrators may do with accounts: each change first in the database, then told.

The order of each change: the commit; in the step in which it comes back to the loop, what it ends is in force
(`Logins.end`); the events, in order (`Relay`); then the connections close whose logins have ended. A request that
is cancelled after its commit stops none of this.
"""

import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import msgspec
import trio

from tidings.protocol.channels import user_channel
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.answers import Refused, refused
from tidings.server.apps.accounts import users
from tidings.server.apps.accounts.attempts import Attempts, Pace
from tidings.server.apps.accounts.audit import Audit, FailureReason
from tidings.server.apps.accounts.bodies import ChangePassword, CreateUser, Login, UpdateMe, UpdateUser
from tidings.server.apps.accounts.endings import CLOSES, FAREWELL
from tidings.server.apps.accounts.hashing import Hasher, HasherBusy, Verified
from tidings.server.apps.accounts.names import UserName, normalized, search_key
from tidings.server.apps.accounts.passwords import prepared
from tidings.server.apps.accounts.refusals import (
    busy,
    ended,
    too_many,
    too_often,
    unavailable,
    wrong_field,
)
from tidings.server.apps.accounts.registration import Passwords, checked_address, checked_name, create_user
from tidings.server.apps.accounts.users import (
    PASSWORD_CHANGED,
    Changed,
    Cut,
    LoggedIn,
    Moved,
    Page,
    Rejected,
    User,
)
from tidings.server.auth import CannotIssue
from tidings.server.config import Accounts as Settings
from tidings.server.identity import Identity
from tidings.server.login_cuts import LoginCut
from tidings.server.logins import IssuedToken, Logins
from tidings.server.relay import Relay
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.outbox import OutboxEvent, last_event
from tidings.server.store.records.records import Operation, Records

# How long an answer waits for its events to be out. They are in the database: whoever is not told in time is later.
_TOLD_SECONDS: Final = 1.0

# How often a password is compared anew, where its hash changes meanwhile, as when its parameters are new.
_TRIES: Final = 3

# What users may change of themselves: each change is told to all of their devices, and to administrators.
_CHANGES: Final = 20
_CHANGE_SECONDS: Final = 3.0

# What a failed login is compared with where it names nobody; no name has this key.
_NOBODY: Final = ""

T = TypeVar("T")


class Entered(msgspec.Struct, frozen=True):
    """A login, with its token."""

    user: User
    token: IssuedToken


class Accounts:
    """The accounts of one server. What is refused is raised as `Refused`, ready to be an answer."""

    def __init__(
        self, settings: Settings, *, longest: int, records: Records, relay: Relay, logins: Logins
    ) -> None:
        """Take the section, the longest life of a token in seconds, and what accounts stand on."""
        self._settings = settings
        self._ttl = min(settings.token_ttl, longest)
        self._records = records
        self._relay = relay
        self._logins = logins
        self.hasher = Hasher(
            memory_kib=settings.hash_memory_kib, passes=settings.hash_passes, waiting=settings.hash_queue
        )
        self._passwords = Passwords(settings, self.hasher)
        self._attempts = Attempts(
            account_burst=settings.account_attempts,
            account_seconds=settings.account_seconds,
            address_burst=settings.address_attempts,
            address_seconds=settings.address_seconds,
        )
        self._changes = Pace(burst=_CHANGES, seconds=_CHANGE_SECONDS)
        self._audit = Audit()
        self._leaving: deque[tuple[float, Cut]] = deque()
        """Whose connections are closed at the latest when: those of a second's commits."""
        self._left = trio.Event()
        relay.then = self._follow

    async def restore(self) -> None:
        """Put in force which logins have ended, before the first connection. Raises StoreUnavailable."""
        oldest = self._logins.now_ms() - self._logins.span_ms
        for cut in await self._records.read(partial(users.cuts, since_ms=oldest)):
            self._logins.restore(self._cut(cut))

    # --- logins --------------------------------------------------------------------------------------

    async def log_in(self, asked: Login, address: str) -> Entered:
        """Log in. Cancelled, the login may have been recorded, and have ended the others."""
        name = normalized(asked.username)
        key = name.key if isinstance(name, UserName) else _NOBODY
        # By what was typed where it is no name: guesses at one account stay guesses at one account.
        account = key or search_key(asked.username)
        self._begin(account, address)
        user: User | None = None
        for _ in range(_TRIES):
            with self._withdrawing(account, address):
                user = await self._read(partial(users.find_by_name, name_key=key))
                verified = await self._verified(asked.password, user)
            if user is None or not verified.ok:
                reason: FailureReason = "unknown_user" if user is None else "wrong_password"
                raise self._failed(user, reason, address, "username or password is wrong")
            if user.password_until_ms is not None and user.password_until_ms <= self._logins.now_ms():
                message = "the temporary password has ended: ask an administrator for another"
                raise self._failed(user, "expired_password", address, message)
            with self._withdrawing(account, address):
                entered = await self._enter(user, asked, verified)
            if entered is not None:
                self._attempts.succeeded(account, address)
                return self._welcomed(entered, asked, address)
        raise self._failed(
            user, "wrong_password", address, "the account was changed just now: log in again"
        )

    async def _enter(
        self, user: User, asked: Login, verified: Verified
    ) -> tuple[LoggedIn, str, int] | None:
        """Record a login; it, its session and its time. None where the hash has changed since it was compared."""
        await self._wait_untold(user)
        # The next millisecond: what was told in this one is not for who logs in now.
        await trio.sleep(0.001)
        session_id = secrets.token_urlsafe(16)
        assert user.password is not None
        rehashed = await self._rehashed(asked.password) if verified.outdated else None
        now_ms = self._logins.now_ms()
        operation = partial(
            users.log_in,
            user_id=user.id,
            known=user.password,
            rehashed=rehashed,
            session_id=session_id,
            only_one=self._settings.logins == "single",
            now_ms=now_ms,
        )
        try:
            return await self._write(operation, self._end_others), session_id, now_ms
        except Moved:
            return None

    def _welcomed(self, entered: tuple[LoggedIn, str, int], asked: Login, address: str) -> Entered:
        recorded, session_id, now_ms = entered
        user = recorded.user
        # After a revocation that an administrator has made a moment ago, too.
        logged_in_ms = self._logins.provable_ms(user.id, now_ms)
        token = self._issue(user, session_id, logged_in_ms, recorded.number, asked.device or "")
        self._audit.logged_in(user.id, session_id, address, asked.device, self._settings.logins)
        return Entered(user, token)

    async def _wait_untold(self, user: User) -> None:
        """Wait until a change of the password is told: whoever logs in after it is not to hear of it."""
        untold = partial(last_event, channel=user_channel(user.id), event=PASSWORD_CHANGED)
        event = await self._read(untold)
        await self._wait_told(event)
        if event is not None and not self._relay.has_passed(event):
            raise Refused(
                ErrorCode.UNAVAILABLE, "the change of this password is still being told: try again soon"
            )

    def _failed(self, user: User | None, reason: FailureReason, address: str, message: str) -> Refused:
        self._audit.login_failed(None if user is None else user.id, reason, address)
        return Refused(ErrorCode.UNAUTHORIZED, message)

    @contextmanager
    def _withdrawing(self, account: str, address: str) -> Iterator[None]:
        """Where the server cannot judge, the attempt was none."""
        try:
            yield
        except Refused as refused:
            if refused.code is ErrorCode.UNAVAILABLE:
                self._attempts.withdrawn(account, address)
            raise

    async def refresh(self, caller: Identity) -> Entered:
        """Another token of the caller's login."""
        if caller.session_id is None:
            raise Refused(ErrorCode.FORBIDDEN, "this token is of no login made here: its issuer renews it")
        user = await self._own(caller)
        if self._logins.now_ms() - caller.logged_in_ms > self._settings.login_age * 1000:
            raise Refused(
                ErrorCode.TOKEN_EXPIRED,
                "this login is too old to be renewed: log in again",
            )
        # No await between this and the token: a login that ends meanwhile must not live on in a younger token.
        if self._logins.has_ended(caller):
            raise ended()
        token = self._issue(
            user, caller.session_id, caller.logged_in_ms, caller.login_number, caller.device
        )
        self._audit.refreshed(user.id, caller.session_id)
        return Entered(user, token)

    async def log_out(self, caller: Identity) -> int:
        """End the caller's login; returns how many connections that closed.

        Where a user has one login only, and where no more can be remembered, all of the user's.
        """
        closed: int | Refusal | None = None
        if self._settings.logins == "single":
            closed = await self._end_all(caller)
        if closed is None:
            closed = await self._logins.log_out(caller, longest=self._ttl)
        if isinstance(closed, Refusal) and closed.code is ErrorCode.LIMIT_REACHED:
            all_closed = await self._end_all(caller)
            closed = closed if all_closed is None else all_closed
        if isinstance(closed, Refusal):
            raise refused(closed)
        self._audit.logged_out(caller.user_id, caller.session_id)
        return closed

    async def _end_all(self, caller: Identity) -> int | None:
        """End all logins of the caller; None for one of another issuer, whose user this server need not know."""
        if caller.login_number is None:
            return None
        closed: list[int] = []
        operation = partial(
            users.end_logins, user_id=caller.user_id, now_ms=self._logins.now_ms(), caller=caller
        )

        def end(cut: Cut) -> None:
            closed.append(
                self._logins.end(self._cut(cut), code=CloseCode.INVALID_TOKEN, reason="logged out")
            )

        await self._write(operation, end)
        return closed[0]

    def _issue(
        self, user: User, session_id: str, logged_in_ms: int, number: int | None, device: str
    ) -> IssuedToken:
        try:
            token = self._logins.issue(
                user.id,
                username=user.username,
                roles=user.roles,
                group_id=user.group_id,
                ttl=self._ttl,
                session_id=session_id,
                logged_in_ms=logged_in_ms,
                number=number,
                device=device,
            )
        except CannotIssue as error:
            if error.refusal.reason != "not_yet_valid":
                raise
            # The clock was put back behind the login, which will be good again.
            raise Refused(
                ErrorCode.UNAVAILABLE, "this login is of a time that has not come yet: try again later"
            ) from error
        if token is None:
            raise ended()
        return token

    # --- users, of themselves ------------------------------------------------------------------------

    async def has_user(self, user_id: str) -> bool:
        """Whether there is a user with this id, for other apps. Raises StoreUnavailable."""
        return await self._records.read(partial(users.find, user_id=user_id)) is not None

    async def me(self, caller: Identity) -> User:
        """The caller's own record."""
        return await self._own(caller)

    async def change_password(self, caller: Identity, asked: ChangePassword, address: str) -> None:
        """Change the caller's password; the user's other logins hear of it, and end."""
        user = await self._own(caller)
        account = user.name_key
        self._begin(account, address)
        for _ in range(_TRIES):
            with self._withdrawing(account, address):
                verified = await self._verified(asked.old_password, user)
            if not verified.ok:
                self._audit.login_failed(user.id, "wrong_password", address)
                raise Refused(ErrorCode.FORBIDDEN, "not your password - at `$.old_password`")
            if asked.new_password == asked.old_password:
                raise wrong_field("new_password", "this is the old one: choose another")
            known = [user.username, *([user.email] if user.email else [])]
            password = await self._passwords.hashed(asked.new_password, known, field="new_password")
            operation = partial(
                users.set_password,
                user_id=user.id,
                password=password,
                until_ms=None,
                by=user.id,
                now_ms=self._logins.now_ms(),
                caller=caller,
                known=user.password,
            )
            try:
                changed = await self._change(operation, caller)
            except Moved:
                user = await self._own(caller)
                continue
            # Only now: judging a new password is work, too, and nobody is to have it done without end.
            self._attempts.succeeded(account, address)
            self._audit.password_changed(user.id, by=caller.user_id)
            await self._wait_told(changed.event)
            return
        raise ended()

    async def update_me(self, caller: Identity, asked: UpdateMe) -> User:
        """Change what is given of the caller's own account."""
        wait = self._changes.begin(caller.user_id)
        if wait:
            raise too_often(wait)
        return await self.update(caller, caller.user_id, UpdateUser(**msgspec.structs.asdict(asked)))

    # --- users, by administrators --------------------------------------------------------------------

    async def page(self, *, search: str, after: str | None, limit: int) -> Page:
        """Some users, by name."""
        return await self._read(partial(users.page, search=search, after=after, limit=limit))

    async def create(self, caller: Identity, asked: CreateUser) -> tuple[User, str | None]:
        """Add a user; returns the temporary password too, where none was given."""
        check = partial(self._check, caller)
        user, temporary = await create_user(
            self._records, self._passwords, asked, caller=caller, check=check
        )
        self._audit.user_created(user.id, by=caller.user_id)
        return user, temporary

    async def ensure(self, name: str, password: str, *, roles: Sequence[str]) -> None:
        """See that a user can log in with a password, whatever that is worth, and has these roles, at least.

        The id of who is new is the name.
        """
        checked = checked_name(name)
        user = await self._read(partial(users.find_by_name, name_key=checked.key))
        if user is not None and not set(roles) <= set(user.roles):
            added = partial(
                users.update,
                user_id=user.id,
                name=None,
                email=msgspec.UNSET,
                roles=[*user.roles, *roles],
                now_ms=self._logins.now_ms(),
            )
            await self._change(added)
        if user is not None and (await self._verified(password, user)).ok:
            return
        encoded, now_ms = await self._passwords.hash(password), self._logins.now_ms()
        if user is not None:
            changed = partial(
                users.set_password,
                user_id=user.id,
                password=encoded,
                until_ms=None,
                by=user.id,
                now_ms=now_ms,
            )
            await self._change(changed)
            return
        insert = partial(
            users.insert,
            name=checked,
            email=None,
            roles=roles,
            password=encoded,
            password_until_ms=None,
            now_ms=now_ms,
        )
        try:
            await self._write(partial(insert, user_id=name))
        except Refused:
            # There was one of this id, who was deleted.
            await self._write(partial(insert, user_id=secrets.token_hex(8)))

    async def update(self, caller: Identity, user_id: str, asked: UpdateUser) -> User:
        """Change what is given of a user; the user and the administrators hear of it."""
        name = checked_name(asked.username) if isinstance(asked.username, str) else None
        email = asked.email if asked.email is msgspec.UNSET else checked_address(asked.email)
        changed = await self._change(
            partial(
                users.update,
                user_id=user_id,
                name=name,
                email=email,
                roles=None if asked.roles is msgspec.UNSET else asked.roles,
                group_id=asked.group_id,
                now_ms=self._logins.now_ms(),
                caller=caller,
            ),
            caller,
        )
        if changed.event is not None:
            given = [
                field for field in asked.__struct_fields__ if getattr(asked, field) is not msgspec.UNSET
            ]
            self._audit.user_updated(user_id, by=caller.user_id, fields=given)
        await self._wait_told(changed.event)
        return changed.user

    async def reset_password(self, caller: Identity, user_id: str) -> str:
        """Give a user a temporary password, and end all logins."""
        if await self._read(partial(users.find, user_id=user_id)) is None:
            raise Refused(ErrorCode.NOT_FOUND, f"no user has the id {user_id}")
        temporary, password = await self._passwords.temporary()
        now_ms = self._logins.now_ms()
        changed = await self._change(
            partial(
                users.set_password,
                user_id=user_id,
                password=password,
                until_ms=self._passwords.ends_ms(now_ms),
                by=caller.user_id,
                now_ms=now_ms,
                caller=caller,
            ),
            caller,
        )
        self._audit.password_reset(user_id, by=caller.user_id)
        await self._wait_told(changed.event)
        return temporary

    async def delete(self, caller: Identity, user_id: str) -> User:
        """Delete a user; who is connected hears of it, and is closed with 3510."""
        changed = await self._change(
            partial(users.delete, user_id=user_id, now_ms=self._logins.now_ms(), caller=caller), caller
        )
        self._audit.user_deleted(user_id, by=caller.user_id)
        await self._wait_told(changed.event)
        return changed.user

    # --- passwords -----------------------------------------------------------------------------------

    def _begin(self, account: str, address: str) -> None:
        wait = self._attempts.begin(account, address)
        if wait is not None:
            self._audit.login_failed(None, "rate_limited", address)
            raise too_many(wait)

    async def _verified(self, password: str, user: User | None) -> Verified:
        """Whether it is the user's; it takes the same time where there is no user."""
        try:
            return await self.hasher.verify(prepared(password), None if user is None else user.password)
        except HasherBusy:
            raise busy() from None

    async def _rehashed(self, password: str) -> str | None:
        """The hash by today's parameters; None where there is no time for it: the next login does it."""
        form = prepared(password)
        try:
            return None if form is None else await self.hasher.hash(form)
        except HasherBusy:
            return None

    # --- the database, and what follows --------------------------------------------------------------

    async def _own(self, caller: Identity) -> User:
        user = await self._read(partial(users.find, user_id=caller.user_id))
        if user is None:
            raise Refused(
                ErrorCode.NOT_FOUND, "you have no account here: your token, or key, is another issuer's"
            )
        return user

    async def _change(self, operation: Operation, caller: Identity | None = None) -> Changed:
        if caller is not None:
            self._check(caller)
        changed: Changed = await self._write(operation, self._changed)
        return changed

    def _check(self, caller: Identity) -> None:
        """Refuse who is revoked, in the step that submits: it may be long since the request's head was judged."""
        if self._logins.has_ended(caller):
            raise ended()

    def _changed(self, changed: Changed) -> None:
        """In the step in which the commit comes back: nobody new gets in, whatever becomes of the request."""
        if changed.cut is not None:
            self._logins.end(self._cut(changed.cut))
            self._leaving.append((trio.current_time() + _TOLD_SECONDS, changed.cut))
            self._left.set()
        if changed.event is not None:
            self._relay.wake()

    def _end_others(self, done: LoggedIn) -> None:
        if done.cut is not None:
            closed = self._logins.end(
                self._cut(done.cut), code=CloseCode.LOGGED_IN_ELSEWHERE, farewell=FAREWELL
            )
            if closed:
                self._audit.forced_out(done.user.id, closed)

    def _follow(self, event: OutboxEvent) -> None:
        """Close whose logins an event was about. The cut is in force already, or its commit was never heard of."""
        self._close(msgspec.json.decode(event.then or "", type=Cut))

    def _close(self, cut: Cut) -> None:
        code, reason = CLOSES[cut.why]
        self._logins.end(self._cut(cut), code=code, reason=reason)

    async def close_in_time(self) -> None:
        """Close those whose logins have ended though they could not be told why; until cancelled."""
        while True:
            while self._leaving:
                at, cut = self._leaving.popleft()
                await trio.sleep_until(at)
                self._close(cut)
            self._left = trio.Event()
            await self._left.wait()

    def _cut(self, cut: Cut) -> LoginCut:
        return self._logins.cut(cut.user_id, cut.number, cut.before_ms, cut.spared)

    async def _wait_told(self, event: int | None) -> None:
        """Wait until an event is out; not for long."""
        if event is not None:
            with trio.move_on_after(_TOLD_SECONDS):
                await self._relay.wait_passed(event)

    async def _read(self, function: Callable[..., T]) -> T:
        try:
            return await self._records.read(function)
        except StoreUnavailable as error:
            raise unavailable(error) from error

    async def _write(self, operation: Operation, on_done: Callable[[T], None] | None = None) -> T:
        try:
            result: T = await self._records.write(operation, on_done)
        except Rejected as rejected:
            raise refused(rejected.refusal) from None
        except StoreUnavailable as error:
            raise unavailable(error) from error
        return result
