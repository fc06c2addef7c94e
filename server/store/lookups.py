"""What the writer looks up besides channels. Runs in its thread."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from tidings.server.store.requests import Revocation
from tidings.server.store.rows import from_json, values

Key = tuple[int, str]
"""Of a channel, by its number, and a publication to it."""

# Bound as they are, and read in hex: JSON functions would end a key at its NUL.
_KNOWN_KEYS: Final = """
    SELECT json_group_array(json_array(k.channel, hex(k.key), hex(k.digest), k."offset"))
    FROM {wanted} w CROSS JOIN keys k ON k.channel = w.column1 AND k.key = w.column2
    WHERE k.expires_ms > ?"""

_REVOCATIONS: Final = """
    SELECT json_group_array(json_object(
        'kind', kind, 'value', value, 'before_ms', before_ms, 'until_ms', until_ms
    ))
    FROM revocations WHERE until_ms > ?"""


def known_keys(
    connection: sqlite3.Connection, keys: Sequence[Key], now_ms: int
) -> dict[Key, tuple[bytes, int]]:
    """Those of some keys whose time is not over, with what they stand for: a digest and an offset.

    Raises sqlite3.Error.
    """
    if not keys:
        return {}
    wanted, parameters = values(keys)
    found = from_json(
        connection,
        _KNOWN_KEYS.format(wanted=wanted),
        (*parameters, now_ms),
        list[tuple[int, str, str, int]],
    )
    return {
        (channel, bytes.fromhex(key).decode()): (bytes.fromhex(digest), offset)
        for channel, key, digest, offset in found
    }


def revocations(connection: sqlite3.Connection, now_ms: int) -> list[Revocation]:
    """Those whose time is not over. Raises sqlite3.Error."""
    return from_json(connection, _REVOCATIONS, (now_ms,), list[Revocation])
