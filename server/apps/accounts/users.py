"""What is done to the table of users, each in one transaction. Blocking: for the threads of `Records`.

Nothing here has any effect beside the connection's, since an operation may be run twice.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, func, select
from sqlalchemy.exc import IntegrityError

from tidings.protocol.channels import role_channel, user_channel
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.apps.accounts.names import UserName, search_key
from tidings.server.apps.accounts.tables import users
from tidings.server.claims import DEVICE_IDS, SERVICE_IDS
from tidings.server.identity import NO_END, Identity
from tidings.server.login_cuts import is_cut_off
from tidings.server.store.records.outbox import put_event

ADMIN: Final = "admin"
"""The role of those who may do everything, and hear of every user."""

PASSWORD_CHANGED: Final = "user:password-changed"  # noqa: S105  an event's name

# Whom API keys without a name are taken for.
_SERVICE: Final = "service"

Why = Literal["login", "logout", "password", "roles", "group", "deleted"]
"""What has ended logins."""


class User(msgspec.Struct, frozen=True):
    """A row that is not deleted. Times are Unix milliseconds."""

    id: str
    username: str
    name_key: str
    email: str | None
    roles: tuple[str, ...]
    password: str | None
    password_until_ms: int | None
    created_ms: int
    updated_ms: int
    logged_in_ms: int | None
    login_number: int
    cut_number: int
    cut_ms: int
    cut_spared: str | None
    group_id: str | None


class Cut(msgspec.Struct, frozen=True):
    """The logins of a user that an operation has ended: those before, as `LoginCut` says, but for one."""

    user_id: str
    number: int
    before_ms: int
    spared: str | None
    why: Why


class Changed(msgspec.Struct, frozen=True):
    """What an operation has come to."""

    user: User
    cut: Cut | None = None
    event: int | None = None
    """The last event that it has left, by its id; None where nobody has to hear of it."""


class LoggedIn(msgspec.Struct, frozen=True):
    """A login that is recorded."""

    user: User
    number: int
    """Of the login."""
    cut: Cut | None
    """The user's other logins, where this one ends them."""


class Page(msgspec.Struct, frozen=True):
    """Some users, by name."""

    users: list[User]
    next: str | None
    """The key behind which the next page begins; None on the last one."""
    total: int


class Moved(Exception):
    """The user's hash is another than the one that the password was compared with: compare it with that one."""


class Rejected(Exception):
    """An operation was not done, and nothing of it was: why, for who has asked."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Take what the client is told."""
        super().__init__(message)
        self.refusal = Refusal(code, message)


# --- finding -------------------------------------------------------------------------------------


def find(connection: Connection, user_id: str) -> User | None:
    """The user of an id."""
    return _user(connection.execute(select(users).where(users.c.id == user_id)).one_or_none())


def find_by_name(connection: Connection, name_key: str) -> User | None:
    """The user of a name, in the form in which names are told apart."""
    return _user(connection.execute(select(users).where(users.c.name_key == name_key)).one_or_none())


def page(connection: Connection, *, search: str, after: str | None, limit: int) -> Page:
    """Users whose name or e-mail address contains a text, behind a name, by name."""
    found: list[ColumnElement[bool]] = [users.c.name_key.is_not(None)]
    if search:
        found.append(users.c.searched.contains(search_key(search), autoescape=True))
    total = connection.execute(select(func.count()).select_from(users).where(*found)).scalar_one()
    if after is not None:
        # No key holds a NUL, which PostgreSQL takes in no text: what is behind one decides nothing.
        found.append(users.c.name_key > after.partition("\0")[0])
    query = select(users).where(*found).order_by(users.c.name_key).limit(limit + 1)
    rows = connection.execute(query).all()
    shown = [user for row in rows[:limit] if (user := _user(row)) is not None]
    return Page(shown, shown[-1].name_key if len(rows) > limit else None, total)


def cuts(connection: Connection, since_ms: int) -> list[Cut]:
    """The last one of each user, also of deleted ones, that is not older; why, nobody remembers."""
    columns = (users.c.id, users.c.cut_number, users.c.cut_ms, users.c.cut_spared)
    rows = connection.execute(select(*columns).where(users.c.cut_ms > since_ms))
    return [Cut(*row, why="logout") for row in rows]


# --- changing ------------------------------------------------------------------------------------


def insert(
    connection: Connection,
    *,
    user_id: str,
    name: UserName,
    email: str | None,
    roles: Sequence[str],
    password: str,
    password_until_ms: int | None,
    now_ms: int,
    group_id: str | None = None,
    caller: Identity | None = None,
) -> Changed:
    """Add a user. Raises Rejected: conflict for a name, or an id, that is taken or was; `caller` as in `update`."""
    _check_caller(connection, caller)
    if user_id == _SERVICE or user_id.startswith((SERVICE_IDS, DEVICE_IDS)):
        raise Rejected(
            ErrorCode.INVALID_DATA, f"{user_id}: such ids are those of services and devices - at `$.id`"
        )
    try:
        with connection.begin_nested():
            connection.execute(
                users.insert().values(
                    id=user_id,
                    username=name.display,
                    name_key=name.key,
                    email=email,
                    searched=_searched(name.display, email),
                    roles=json.dumps(sorted(set(roles))),
                    is_admin=ADMIN in roles,
                    group_id=group_id,
                    password=password,
                    password_until_ms=password_until_ms,
                    created_ms=now_ms,
                    updated_ms=now_ms,
                    login_number=now_ms,
                    cut_number=0,
                    cut_ms=0,
                )
            )
    except IntegrityError:
        raise _taken(connection, name, user_id) from None
    return Changed(_held(connection, user_id))


def update(
    connection: Connection,
    user_id: str,
    *,
    name: UserName | None,
    email: str | msgspec.UnsetType | None,
    roles: Sequence[str] | None,
    now_ms: int,
    group_id: str | msgspec.UnsetType | None = msgspec.UNSET,
    caller: Identity | None = None,
) -> Changed:
    """Change what is given, and leave `user:updated`; what changes nothing leaves nothing.

    A role that is taken away ends the user's logins, and so does a group: their tokens still say it. Raises
    Rejected: not_found, conflict for a name that is taken, and for the last administrator's role; and unauthorized
    for a `caller` whose login has ended since the request came.
    """
    _check_caller(connection, caller)
    user = _held(connection, user_id)
    wanted = user.roles if roles is None else tuple(sorted(set(roles)))
    changes: dict[str, Any] = {}
    if name is not None and name.display != user.username:
        changes |= {"username": name.display, "name_key": name.key}
    if email is not msgspec.UNSET and email != user.email:
        changes["email"] = email
    if wanted != user.roles:
        if ADMIN in user.roles and ADMIN not in wanted:
            _check_not_last(connection, user_id)
        changes |= {"roles": json.dumps(wanted), "is_admin": ADMIN in wanted}
    if group_id is not msgspec.UNSET and group_id != user.group_id:
        changes["group_id"] = group_id
    if not changes:
        return Changed(user)
    display, address = changes.get("username", user.username), changes.get("email", user.email)
    changes |= {"updated_ms": now_ms, "searched": _searched(display, address)}
    cut = None
    why = _taken_away(user, wanted, changes.get("group_id", user.group_id))
    if why is not None:
        cut = _cut(user, now_ms, why)
        changes |= _recorded(cut)
    try:
        with connection.begin_nested():
            connection.execute(users.update().where(users.c.id == user_id).values(changes))
    except IntegrityError:
        assert name is not None
        raise _taken(connection, name, None) from None
    changed = _held(connection, user_id)
    event = _leave(connection, "user:updated", changed, _told(changed), cut)
    return Changed(changed, cut, event)


def set_password(
    connection: Connection,
    user_id: str,
    *,
    password: str,
    until_ms: int | None,
    by: str,
    now_ms: int,
    caller: Identity | None = None,
    known: str | None = None,
) -> Changed:
    """Set a password, end the user's logins, and leave `user:password-changed`.

    With `known`, the hash that the old password was compared with, the caller's own login goes on and hears
    nothing. Raises Rejected: not_found; `caller` as in `update`; and Moved.
    """
    _check_caller(connection, caller)
    user = _held(connection, user_id)
    if known is not None and user.password != known:
        raise Moved
    spared = caller.session_id if known is not None and caller is not None else None
    cut = _cut(user, now_ms, "password", spared)
    connection.execute(
        users.update()
        .where(users.c.id == user_id)
        .values(
            password=password,
            password_until_ms=until_ms,
            updated_ms=now_ms,
            **_recorded(cut),
        )
    )
    changed = _held(connection, user_id)
    payload = {"id": user_id, "by": by}
    event = _leave(connection, PASSWORD_CHANGED, changed, payload, cut)
    return Changed(changed, cut, event)


def delete(connection: Connection, user_id: str, *, now_ms: int, caller: Identity | None = None) -> Changed:
    """Delete a user, end all logins, and leave `user:deleted`.

    Raises Rejected: not_found, and conflict for the last administrator; `caller` as in `update`.
    """
    _check_caller(connection, caller)
    user = _held(connection, user_id)
    if ADMIN in user.roles:
        _check_not_last(connection, user_id)
    cut = _cut(user, now_ms, "deleted")
    connection.execute(
        users.update()
        .where(users.c.id == user_id)
        .values(
            username=None,
            name_key=None,
            email=None,
            searched="",
            roles="[]",
            is_admin=False,
            group_id=None,
            password=None,
            password_until_ms=None,
            updated_ms=now_ms,
            deleted_ms=now_ms,
            **_recorded(cut),
        )
    )
    payload = {"id": user_id, "username": user.username}
    return Changed(user, cut, _leave(connection, "user:deleted", user, payload, cut))


def end_logins(connection: Connection, user_id: str, *, now_ms: int, caller: Identity) -> Cut:
    """End all logins of the caller's account. Raises Rejected: not_found; `caller` as in `update`."""
    _check_caller(connection, caller)
    cut = _cut(_held(connection, user_id), now_ms, "logout")
    connection.execute(users.update().where(users.c.id == user_id).values(_recorded(cut)))
    return cut


def log_in(
    connection: Connection,
    user_id: str,
    *,
    known: str,
    rehashed: str | None,
    session_id: str,
    only_one: bool,
    now_ms: int,
) -> LoggedIn:
    """Record a login; with `only_one` it ends the user's others.

    `known` is the hash that the password was compared with. Raises Moved. Of two logins at once the one whose
    transaction is later ends the other.
    """
    user = _user(_row(connection, user_id))
    if user is None or user.password != known:
        raise Moved
    cut = _cut(user, now_ms, "login", session_id) if only_one else None
    # With a cut it has the cut's number: what has ended are those before it.
    number = user.login_number + 1
    changes: dict[str, Any] = {"logged_in_ms": now_ms, "login_number": number}
    if cut is not None:
        changes |= _recorded(cut)
    if rehashed is not None:
        changes["password"] = rehashed
    connection.execute(users.update().where(users.c.id == user_id).values(changes))
    return LoggedIn(user, number, cut)


# --- parts ---------------------------------------------------------------------------------------


def _row(connection: Connection, user_id: str) -> Row[Any] | None:
    # On PostgreSQL the row is locked to the end of the transaction: what concerns one user happens in one order,
    # and its events are numbered in that order, on however many nodes.
    return connection.execute(select(users).where(users.c.id == user_id).with_for_update()).one_or_none()


def _held(connection: Connection, user_id: str) -> User:
    """The user, locked. Raises Rejected."""
    user = _user(_row(connection, user_id))
    if user is None:
        raise Rejected(ErrorCode.NOT_FOUND, f"no user has the id {user_id}")
    return user


def _user(row: Row[Any] | None) -> User | None:
    if row is None or row.name_key is None:
        return None
    return User(
        id=row.id,
        username=row.username,
        name_key=row.name_key,
        email=row.email,
        roles=tuple(json.loads(row.roles)),
        password=row.password,
        password_until_ms=row.password_until_ms,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        logged_in_ms=row.logged_in_ms,
        login_number=row.login_number,
        cut_number=row.cut_number,
        cut_ms=row.cut_ms,
        cut_spared=row.cut_spared,
        group_id=row.group_id,
    )


def _taken_away(user: User, roles: Sequence[str], group_id: str | None) -> Why | None:
    """What tokens of the user say that is not so any more. What is only added waits for the next token."""
    if not set(user.roles) <= set(roles):
        return "roles"
    return "group" if user.group_id not in {None, group_id} else None


def _cut(user: User, now_ms: int, why: Why, spared: str | None = None) -> Cut:
    # For tokens of other issuers the next millisecond, so that what was issued earlier in this one has ended too.
    return Cut(user.id, user.login_number + 1, max(now_ms, user.cut_ms) + 1, spared, why)


def _recorded(cut: Cut) -> dict[str, Any]:
    return {
        "login_number": cut.number,
        "cut_number": cut.number,
        "cut_ms": cut.before_ms,
        "cut_spared": cut.spared,
    }


def _check_caller(connection: Connection, caller: Identity | None) -> None:
    """Raise Rejected where a caller with an account is not logged in any more, as commits have it before this one.

    Keys, and tokens of people without an account here, are good until they end.
    """
    if caller is None or caller.expires_at == NO_END:
        return
    columns = (users.c.cut_number, users.c.cut_ms, users.c.cut_spared)
    row = connection.execute(select(*columns).where(users.c.id == caller.user_id)).one_or_none()
    if row is not None and is_cut_off(caller, *row):
        raise Rejected(ErrorCode.UNAUTHORIZED, "this login has ended meanwhile: log in again")


def _searched(username: str, email: str | None) -> str:
    return search_key(username) + (f"\n{search_key(email)}" if email else "")


def _told(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "roles": list(user.roles),
        "group_id": user.group_id,
    }


def _leave(connection: Connection, event: str, user: User, payload: dict[str, Any], cut: Cut | None) -> int:
    """Leave an event for the user and one for administrators; returns the id of the last.

    The cut goes with it: it has to be in force also where nobody hears of the commit.
    """
    spared = None if cut is None else cut.spared
    put_event(connection, role_channel(ADMIN), event, payload, excluded_session=spared)
    then = None if cut is None else msgspec.json.encode(cut).decode()
    return put_event(connection, user_channel(user.id), event, payload, excluded_session=spared, then=then)


def _check_not_last(connection: Connection, user_id: str) -> None:
    """Raise Rejected where nobody else is an administrator."""
    admins = select(users.c.id).where(users.c.is_admin).order_by(users.c.id).with_for_update()
    if connection.execute(admins).scalars().all() == [user_id]:
        raise Rejected(
            ErrorCode.CONFLICT,
            'the last administrator: make somebody else one first (roles: ["admin"])',
        )


def _taken(connection: Connection, name: UserName, user_id: str | None) -> Rejected:
    if find_by_name(connection, name.key) is not None:
        return Rejected(
            ErrorCode.CONFLICT, "another user has this name, or one that looks the same - at `$.username`"
        )
    return Rejected(
        ErrorCode.CONFLICT, f"the id {user_id} is taken, or was: ids are given once - at `$.id`"
    )
