"""The users of a demo, with passwords of the demo's own, and what apps keep for them: in a database of its own."""

import base64
import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from tidings.server.apps import accounts, lines, notifications
from tidings.server.config import ChannelRule, Config
from tidings.server.demo import CAST

if TYPE_CHECKING:
    # Brings all that a server is, which `tidings user add` does not need.
    from tidings.server.apps.accounts.service import Accounts
    from tidings.server.apps.lines.service import Lines

#: In `data_dir`.
DATABASE: Final = "demo.db"

#: The channels of rooms.
ROOMS: Final = "room:*"

#: The group of the line board whose devices and dashboards the demo is about.
GROUP: Final = "demo"

# A login of the millisecond in which a password was set counts as one of before.
_NEXT_MILLISECOND: Final = 0.002


def with_demo_users(config: Config) -> Config:
    """The configuration with every app that comes with the server, and a database of the demo's own.

    Apart from any other: a demo prints the passwords of its users, one of them an administrator.
    """
    named = config.server.apps
    apps = (
        *named,
        *(name for name in (accounts.NAME, notifications.NAME, lines.NAME) if name not in named),
    )
    return msgspec.structs.replace(
        config,
        server=msgspec.structs.replace(config.server, apps=apps),
        rooms=msgspec.structs.replace(config.rooms, kept=True),
        store=msgspec.structs.replace(config.store, url=f"sqlite:///{demo_database(config)}"),
        # The console shows who comes and goes.
        channels=config.channels | {ROOMS: _with_comings(config.channels.get(ROOMS))},
    )


def _with_comings(rule: ChannelRule | None) -> ChannelRule:
    """What is configured, and where nothing is said of it, `joined` and `left` are told."""
    rule = rule or ChannelRule()
    return msgspec.structs.replace(rule, join_leave=True) if rule.join_leave is msgspec.UNSET else rule


def demo_database(config: Config) -> Path:
    """Where the users of the demo on this `data_dir` are kept."""
    return (Path(config.server.data_dir) / DATABASE).absolute()


def demo_password(secret: str, name: str) -> str:
    """The password of one of the cast: the same as long as the secret is, and nobody's who cannot read that."""
    digest = hmac.digest(secret.encode(), f"password of {name}".encode(), "sha256")
    return base64.b32encode(digest)[:16].decode().lower()


async def add_cast(users: "Accounts", secret: str) -> dict[str, str]:
    """See that the cast can log in, whatever was done to them before; returns the passwords by name.

    A password that was changed is set back, which ends the logins made with it, and what tokens the user was given
    before: issue them afterwards. Raises Refused.
    """
    passwords = {name: demo_password(secret, name) for name, _ in CAST}
    for name, roles in CAST:
        await users.ensure(name, passwords[name], roles=roles)
    await trio.sleep(_NEXT_MILLISECOND)
    return passwords


async def add_group(board: "Lines") -> str:
    """See that the demo's group is there, whatever was done to it before; its code. Raises StoreUnavailable."""
    group = next((group for group in board.groups() if group.name == GROUP), None)
    if group is None:
        group = await board.create_group(GROUP, "UTC")
    if group.code is None:
        group = await board.new_code(group.id)
    # Groups are never deleted, and one that is new, or has a new code, has one.
    assert group is not None
    assert group.code is not None
    return group.code
