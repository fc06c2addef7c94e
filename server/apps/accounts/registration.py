"""Adding users: by an administrator, and by whoever may write to the database (`tidings user add`)."""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import UNSET

from tidings.server.answers import refused
from tidings.server.apps.accounts import users
from tidings.server.apps.accounts.bodies import CreateUser
from tidings.server.apps.accounts.hashing import Hasher, HasherBusy
from tidings.server.apps.accounts.names import NameRefusal, UserName, checked_email, normalized
from tidings.server.apps.accounts.passwords import judge_password, prepared, temporary_password
from tidings.server.apps.accounts.refusals import busy, unavailable, wrong_field
from tidings.server.apps.accounts.users import Changed, Rejected, User
from tidings.server.config import Accounts as Settings
from tidings.server.identity import Identity
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.records import Records


class Passwords:
    """Judges and hashes what is to be a password. Refusals are raised as `Refused`, and name the field."""

    def __init__(self, settings: Settings, hasher: Hasher) -> None:
        """Take the section of accounts, and who hashes: somebody else runs it."""
        self._settings = settings
        self._hasher = hasher

    async def hashed(self, password: str, inputs: Sequence[str], *, field: str) -> str:
        """Its hash, if it is good enough for somebody who is known by `inputs`."""
        judge = partial(
            judge_password,
            password,
            least=self._settings.password_chars,
            score=self._settings.password_score,
            inputs=inputs,
        )
        try:
            # Where hashes are made: it gives way to everything else, and the queue has an end.
            wrong = await self._hasher.run(judge)
        except HasherBusy:
            raise busy() from None
        if wrong is not None:
            raise wrong_field(field, wrong)
        return await self.hash(password)

    async def hash(self, password: str) -> str:
        """Its hash, whatever it is worth."""
        form = prepared(password)
        assert form is not None
        try:
            return await self._hasher.hash(form)
        except HasherBusy:
            raise busy() from None

    async def temporary(self) -> tuple[str, str]:
        """A temporary password, and its hash."""
        password = temporary_password(self._settings.password_chars)
        return password, await self.hash(password)

    def ends_ms(self, now_ms: int) -> int:
        """When a temporary password of now ends."""
        return now_ms + self._settings.temporary_password_age * 1000


async def create_user(
    records: Records,
    passwords: Passwords,
    asked: CreateUser,
    *,
    user_id: str | None = None,
    caller: Identity | None = None,
    check: Callable[[], None] = lambda: None,
) -> tuple[User, str | None]:
    """Add a user; returns the temporary password too, where none was given. Raises Refused.

    A `caller` whose login has ended meanwhile by the record is refused; `check`, called in the step that submits,
    may refuse too.
    """
    name, email = checked_name(asked.username), checked_address(asked.email)
    now_ms = int(time.time() * 1000)
    temporary, until_ms = None, None
    if asked.password is UNSET:
        temporary, password = await passwords.temporary()
        until_ms = passwords.ends_ms(now_ms)
    else:
        inputs = [name.display, *([email] if email else [])]
        password = await passwords.hashed(asked.password, inputs, field="password")
    insert = partial(
        users.insert,
        user_id=user_id or secrets.token_hex(8),
        name=name,
        email=email,
        roles=asked.roles,
        group_id=asked.group_id,
        password=password,
        password_until_ms=until_ms,
        now_ms=now_ms,
        caller=caller,
    )
    check()
    try:
        changed: Changed = await records.write(insert)
    except Rejected as rejected:
        raise refused(rejected.refusal) from None
    except StoreUnavailable as error:
        raise unavailable(error) from error
    return changed.user, temporary


def checked_name(text: str) -> UserName:
    """The name in its forms. Raises Refused."""
    name = normalized(text)
    if isinstance(name, NameRefusal):
        raise wrong_field("username", name.message)
    return name


def checked_address(text: str | None) -> str | None:
    """An e-mail address as it is kept. Raises Refused."""
    email = None if text is None else checked_email(text)
    if isinstance(email, NameRefusal):
        raise wrong_field("email", email.message)
    return email
