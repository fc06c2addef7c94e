"""Users, their logins and their passwords: rows of a table, routes that change them, events that tell of it.

The documents S0 (user data sync) and S1 (single-device login) are served by this app: their routes and events, and
whether a login ends the user's others. It runs where `server.apps` names it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tidings.server.apps.accounts.routes import routes
from tidings.server.apps.accounts.routes_admin import admin_routes
from tidings.server.apps.accounts.service import Accounts
from tidings.server.extension import App, Push
from tidings.server.store.records.records import Migrations

NAME: Final = "accounts"

MIGRATIONS: Final = Migrations(NAME, Path(__file__).parent / "migrations")


def accounts_app(accounts: Accounts, *, users_page: int) -> App:
    """The app of one server; `users_page` is the longest page of users."""
    app = App(NAME)
    app.routes(*routes(accounts), *admin_routes(accounts, most=users_page))

    @app.lifespan
    @asynccontextmanager
    async def living(_push: Push) -> AsyncIterator[None]:
        await accounts.restore()
        async with accounts.hasher:
            yield

    return app
