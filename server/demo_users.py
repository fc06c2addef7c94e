"""The users of a demo: the cast, with passwords of the demo's own, in a database of the demo's own."""

import base64
import hmac
from pathlib import Path
from typing import Final

import msgspec

from tidings.server.apps.accounts import NAME
from tidings.server.apps.accounts.service import Accounts
from tidings.server.config import Config
from tidings.server.demo import CAST

#: In `data_dir`.
DATABASE: Final = "demo.db"


def with_demo_users(config: Config) -> Config:
    """The configuration with the app of accounts, and a database of users of the demo's own.

    Apart from any other: a demo prints the passwords of its users, one of them an administrator.
    """
    database = (Path(config.server.data_dir) / DATABASE).absolute()
    apps = config.server.apps if NAME in config.server.apps else (*config.server.apps, NAME)
    return msgspec.structs.replace(
        config,
        server=msgspec.structs.replace(config.server, apps=apps),
        store=msgspec.structs.replace(config.store, url=f"sqlite:///{database}"),
    )


def demo_password(secret: str, name: str) -> str:
    """The password of one of the cast: the same as long as the secret is, and nobody's who cannot read that."""
    digest = hmac.digest(secret.encode(), f"password of {name}".encode(), "sha256")
    return base64.b32encode(digest)[:16].decode().lower()


async def add_cast(accounts: Accounts, secret: str) -> dict[str, str]:
    """See that the cast can log in; returns the passwords by name. Raises Refused."""
    passwords = {name: demo_password(secret, name) for name, _ in CAST}
    for name, roles in CAST:
        await accounts.ensure(name, passwords[name], roles=roles)
    return passwords
