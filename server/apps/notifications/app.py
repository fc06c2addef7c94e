"""The app, put together. Imported where it runs: SQLAlchemy alone takes a tenth of a second."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tidings.server.apps.notifications import NAME
from tidings.server.apps.notifications.routes import own_routes
from tidings.server.apps.notifications.routes_push import push_routes
from tidings.server.apps.notifications.service import Notifications, begin, end, notifications_of
from tidings.server.config import Notifications as Settings
from tidings.server.extension import App, Push


def notifications_app(settings: Settings) -> App:
    """The app of one server."""
    app = App(NAME)
    app.tables(Path(__file__).parent / "migrations")
    app.routes(*own_routes(), *push_routes())

    @app.lifespan
    @asynccontextmanager
    async def keeping(push: Push) -> AsyncIterator[None]:
        begin(push, Notifications(settings, push))
        try:
            yield
        finally:
            end(push)

    @app.task
    async def tell_counts(push: Push) -> None:
        await notifications_of(push).counts.run()

    @app.task
    async def sweep(push: Push) -> None:
        await notifications_of(push).sweep_often()

    return app
