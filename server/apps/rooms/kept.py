"""Kept rooms, put together. Imported where `rooms.kept` says so: what it stands on is heavy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tidings.server.apps.rooms.pace import Pace
from tidings.server.apps.rooms.routes import room_routes, talk_routes
from tidings.server.apps.rooms.routes_members import member_routes
from tidings.server.apps.rooms.rules import Rules
from tidings.server.apps.rooms.service import KeptRooms
from tidings.server.apps.rooms.settling import Settling
from tidings.server.config.rooms import Rooms
from tidings.server.extension import App, Push


def declare_kept(
    app: App, settings: Rooms, rules: Rules, pace: Pace, *, open_rooms: bool, history_page: int
) -> None:
    """Declare tables, rules, routes, and what keeps them in step."""
    settling = Settling(rules)
    rooms = KeptRooms(settings, rules, settling, pace, open_rooms=open_rooms)
    app.tables(Path(__file__).parent / "migrations")
    app.room_rules(rules)
    app.routes(*room_routes(rooms), *member_routes(rooms), *talk_routes(rooms, most=history_page))

    @app.lifespan
    @asynccontextmanager
    async def living(push: Push) -> AsyncIterator[None]:
        await settling.begin(push)
        yield

    @app.task
    async def settle(_push: Push) -> None:
        await settling.run()
