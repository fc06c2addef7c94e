"""The app, put together. Imported where it runs: SQLAlchemy alone takes a tenth of a second."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tidings.protocol.messages.lines import ANSWERS, EVENTS
from tidings.server.apps.lines import NAME
from tidings.server.apps.lines.doors import DASHBOARDS, DEVICES, DashboardDoor, DeviceDoor
from tidings.server.apps.lines.handlers import declare
from tidings.server.apps.lines.routes import group_routes
from tidings.server.apps.lines.routes_reading import reading_routes
from tidings.server.apps.lines.service import Lines, begin, end
from tidings.server.config import Lines as Settings
from tidings.server.extension import App, Push
from tidings.server.extension.tables import wall_ms


def lines_app(settings: Settings, *, now_ms: Callable[[], int] = wall_ms) -> App:
    """The app of one server. `now_ms`: a clock of Unix milliseconds, by which days begin and lines grow old."""
    app = App(NAME)
    lines = Lines(settings, now_ms)
    app.tables(Path(__file__).parent / "migrations")
    app.routes(*group_routes(), *reading_routes())
    declare(app, lines)
    for name, answer in ANSWERS:
        app.answer(name, answer)
    for name, event in EVENTS:
        app.event(name, event)
    app.door(DEVICES, DeviceDoor(lines))
    app.door(DASHBOARDS, DashboardDoor(lines))

    @app.lifespan
    @asynccontextmanager
    async def keeping(push: Push) -> AsyncIterator[None]:
        await lines.open(push)
        async with trio.open_nursery() as nursery:
            lines.start(nursery)
            begin(push, lines)
            try:
                yield
            finally:
                end(push)
                nursery.cancel_scope.cancel()

    return app
