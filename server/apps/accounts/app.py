"""The app, put together. Imported where a server keeps users: what it stands on takes a fifth of a second."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tidings.server.apps.accounts import NAME
from tidings.server.apps.accounts.routes import routes
from tidings.server.apps.accounts.routes_admin import admin_routes
from tidings.server.apps.accounts.service import Accounts
from tidings.server.extension import App, Push
from tidings.server.store.records.migrating import Migrations

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

    @app.task
    async def close_in_time(_push: Push) -> None:
        await accounts.close_in_time()

    return app
