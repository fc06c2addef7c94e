"""The rows of groups and their activation codes: functions of a connection, each an operation or a reading."""

from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, Select, and_, insert, select, update

from tidings.server.apps.lines.tables import codes, groups


class CodeTaken(Exception):
    """There is such a code, or was one: draw another."""


class Group(Struct, frozen=True):
    """A group, with the code by which its devices come in."""

    id: int
    name: str
    time_zone: str
    code: str | None
    """None where none is active."""
    code_id: int | None
    created_ms: int


class Code(Struct, frozen=True):
    """An activation code of a group's, active or not."""

    id: int
    group_id: int
    code: str
    created_ms: int
    disabled_ms: int | None
    """None while it is active."""


_ACTIVE: Final = and_(codes.c.group_id == groups.c.id, codes.c.disabled_ms.is_(None))
_groups: Final[Select[int, str, str, str | None, int | None, int]] = select(
    groups.c.id, groups.c.name, groups.c.time_zone, codes.c.code, codes.c.id, groups.c.created_ms
).select_from(groups.outerjoin(codes, _ACTIVE))
_codes: Final = select(*(codes.c[name] for name in Code.__struct_fields__))


def load_groups(connection: Connection) -> list[Group]:
    """All of them, oldest first."""
    return [Group(*row) for row in connection.execute(_groups.order_by(groups.c.id))]


def create_group(connection: Connection, *, name: str, time_zone: str, code: str, now_ms: int) -> Group:
    """Add a group with its first code. Raises CodeTaken."""
    _check_free(connection, code)
    row = {"name": name, "time_zone": time_zone, "created_ms": now_ms}
    key = connection.execute(insert(groups), row).inserted_primary_key
    assert key is not None
    group_id = int(key[0])
    return Group(group_id, name, time_zone, code, _add_code(connection, group_id, code, now_ms), now_ms)


def change_group(
    connection: Connection,
    group_id: int,
    *,
    name: str | None = None,
    time_zone: str | None = None,
    now_ms: int,  # noqa: ARG001  as all that change something
) -> Group | None:
    """Give a group another name or time zone; None leaves it. None where there is no such group."""
    wanted = {key: value for key, value in (("name", name), ("time_zone", time_zone)) if value is not None}
    if wanted:
        connection.execute(update(groups).where(groups.c.id == group_id).values(**wanted))
    return _group(connection, group_id)


def renew_code(connection: Connection, group_id: int, *, code: str, now_ms: int) -> Group | None:
    """Disable the active code, if there is one, in favour of another. None: no such group. Raises CodeTaken."""
    if _group(connection, group_id) is None:
        return None
    _check_free(connection, code)
    active = and_(codes.c.group_id == group_id, codes.c.disabled_ms.is_(None))
    connection.execute(update(codes).where(active).values(disabled_ms=now_ms))
    _add_code(connection, group_id, code, now_ms)
    return _group(connection, group_id)


def disable_code(connection: Connection, group_id: int, code_id: int, *, now_ms: int) -> Group | None:
    """Have no device come in by a code any more; idempotent. None where the group has no such code."""
    this = and_(codes.c.id == code_id, codes.c.group_id == group_id)
    if connection.execute(select(codes.c.id).where(this)).one_or_none() is None:
        return None
    # When it was disabled stays as it was.
    connection.execute(update(codes).where(this, codes.c.disabled_ms.is_(None)).values(disabled_ms=now_ms))
    return _group(connection, group_id)


def disabled_codes(connection: Connection) -> list[str]:
    """All codes that were active once."""
    return list(connection.scalars(select(codes.c.code).where(codes.c.disabled_ms.is_not(None))))


def codes_of(connection: Connection, group_id: int) -> list[Code] | None:
    """A group's codes, the newest first. None where there is no such group."""
    if _group(connection, group_id) is None:
        return None
    query = _codes.where(codes.c.group_id == group_id).order_by(codes.c.id.desc())
    return [Code(*row) for row in connection.execute(query)]


def _group(connection: Connection, group_id: int) -> Group | None:
    row = connection.execute(_groups.where(groups.c.id == group_id)).one_or_none()
    return None if row is None else Group(*row)


def _check_free(connection: Connection, code: str) -> None:
    # Also of disabled ones: a device that still has an old code must not come into another group by it.
    if connection.execute(select(codes.c.id).where(codes.c.code == code)).one_or_none() is not None:
        raise CodeTaken


def _add_code(connection: Connection, group_id: int, code: str, now_ms: int) -> int:
    row = {"group_id": group_id, "code": code, "created_ms": now_ms, "disabled_ms": None}
    key = connection.execute(insert(codes), row).inserted_primary_key
    assert key is not None
    return int(key[0])
