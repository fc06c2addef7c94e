"""The rows of customers and of what was done about them: each function an operation or a reading."""

from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select, update

from tidings.server.apps.lines.tables import accounts, customers, follow_ups

# What one customer, or one record, may hold: merged from messages, it would grow with every new field.
DETAILS_CHARS: Final = 32_768


class DetailsTooLong(Exception):
    """With these fields a customer or record would hold more than DETAILS_CHARS characters of JSON."""


class Customer(Struct, frozen=True):
    """A customer of a group's."""

    id: int
    group_id: int
    customer_id: str
    line_account_id: str | None
    details: str
    """A JSON object."""
    created_ms: int
    changed_ms: int


class FollowUp(Struct, frozen=True):
    """What was done about a customer."""

    id: int
    group_id: int
    customer_id: str
    client_id: str | None
    content: str
    details: str
    """A JSON object."""
    created_ms: int
    changed_ms: int


_customers: Final = select(
    customers.c.id,
    customers.c.group_id,
    customers.c.customer_id,
    accounts.c.line_account_id,
    customers.c.details,
    customers.c.created_ms,
    customers.c.changed_ms,
).select_from(customers.outerjoin(accounts, accounts.c.id == customers.c.account_id))
_follow_ups: Final = select(
    follow_ups.c.id,
    follow_ups.c.group_id,
    customers.c.customer_id,
    follow_ups.c.client_id,
    follow_ups.c.content,
    follow_ups.c.details,
    follow_ups.c.created_ms,
    follow_ups.c.changed_ms,
).select_from(follow_ups.join(customers, customers.c.id == follow_ups.c.customer_row))


def sync_customer(
    connection: Connection,
    group_id: int,
    *,
    customer_id: str,
    account_id: int | None,
    details: str,
    now_ms: int,
) -> int:
    """Note a customer, or what has changed of one; the row's id. Raises DetailsTooLong.

    `details`: a JSON object; of one that is known, its fields go over those that were there. An account of None
    leaves the one that was named before.
    """
    known = connection.execute(
        select(customers.c.id, customers.c.account_id, customers.c.details).where(
            customers.c.group_id == group_id, customers.c.customer_id == customer_id
        )
    ).one_or_none()
    if known is None:
        row = {
            "group_id": group_id,
            "customer_id": customer_id,
            "account_id": account_id,
            "details": _bounded(details),
            "created_ms": now_ms,
            "changed_ms": now_ms,
        }
        key = connection.execute(insert(customers), row).inserted_primary_key
        assert key is not None
        return int(key[0])
    values = {
        "account_id": known.account_id if account_id is None else account_id,
        "details": _merged(known.details, details),
        "changed_ms": now_ms,
    }
    connection.execute(update(customers).where(customers.c.id == known.id).values(**values))
    return int(known.id)


def sync_follow_up(
    connection: Connection,
    group_id: int,
    *,
    customer_id: str,
    client_id: str | None,
    content: str,
    details: str,
    now_ms: int,
) -> int | None:
    """Note what was done about a customer, or change that note; its id. None: the group has no such customer.

    `client_id` tells a customer's notes apart: the same again changes the one that has it, an empty content leaving
    what was there. Raises DetailsTooLong.
    """
    customer = connection.scalar(
        select(customers.c.id).where(
            customers.c.group_id == group_id, customers.c.customer_id == customer_id
        )
    )
    if customer is None:
        return None
    # PostgreSQL keeps no NUL.
    content = content.replace("\0", "\ufffd")
    known = None
    if client_id is not None:
        known = connection.execute(
            select(follow_ups.c.id, follow_ups.c.content, follow_ups.c.details).where(
                follow_ups.c.customer_row == customer, follow_ups.c.client_id == client_id
            )
        ).one_or_none()
    if known is None:
        row = {
            "group_id": group_id,
            "customer_row": customer,
            "client_id": client_id,
            "content": content,
            "details": _bounded(details),
            "created_ms": now_ms,
            "changed_ms": now_ms,
        }
        key = connection.execute(insert(follow_ups), row).inserted_primary_key
        assert key is not None
        return int(key[0])
    values = {
        "content": content or known.content,
        "details": _merged(known.details, details),
        "changed_ms": now_ms,
    }
    connection.execute(update(follow_ups).where(follow_ups.c.id == known.id).values(**values))
    return int(known.id)


def page_customers(
    connection: Connection, group_id: int, *, before: int | None, limit: int
) -> list[Customer]:
    """At most `limit` of a group's customers, newest first."""
    query = _customers.where(customers.c.group_id == group_id)
    if before is not None:
        query = query.where(customers.c.id < before)
    return [
        Customer(*row) for row in connection.execute(query.order_by(customers.c.id.desc()).limit(limit))
    ]


def page_follow_ups(
    connection: Connection, group_id: int, *, customer_id: str | None, before: int | None, limit: int
) -> list[FollowUp]:
    """At most `limit` of a group's follow-ups, or of one customer's, newest first."""
    if customer_id is None:
        query = _follow_ups.where(follow_ups.c.group_id == group_id)
    else:
        query = _follow_ups.where(customers.c.group_id == group_id, customers.c.customer_id == customer_id)
    if before is not None:
        query = query.where(follow_ups.c.id < before)
    rows = connection.execute(query.order_by(follow_ups.c.id.desc()).limit(limit))
    return [FollowUp(*row) for row in rows]


def _merged(before: str, details: str) -> str:
    fields: dict[str, Any] = msgspec.json.decode(before) | msgspec.json.decode(details)
    return _bounded(msgspec.json.encode(fields).decode())


def _bounded(details: str) -> str:
    if len(details) > DETAILS_CHARS:
        raise DetailsTooLong
    return details
