"""Rooms is an app as any other: it says what the protocol documents, and can be left out."""

from support.served import served
from support.site import configured
from support.tasks import unharmed
from trio.testing import MockClock

from tidings.protocol.messages.builtin import builtin_registry, core_registry
from tidings.server.app import Server
from tidings.server.apps.rooms import rooms_app
from tidings.server.config import Rooms
from tidings.server.config import Server as ServerSection

ROOM_COMMANDS = {
    "join_room": {"room": "r"},
    "leave_room": {"room": "r"},
    "room_subscribe": {"room": "r"},
    "room_unsubscribe": {"room": "r"},
    "room_message": {"room": "r", "text": "hi"},
    "user_message": {"to": "alice", "text": "hi"},
}


def test_the_app_registers_what_the_protocol_documents() -> None:
    """What clients and dialects know of rooms without a server is what the app registers on one."""
    documented = builtin_registry()
    for kept in (False, True):
        registry = core_registry()
        rooms_app(Rooms(kept=kept)).register(registry)
        assert registry.commands == documented.commands
        assert registry.answers == documented.answers
        assert registry.events == documented.events


def test_without_kept_rooms_there_is_no_database() -> None:
    """No table, no route, no lifespan, and nobody's rules: any name is a room."""
    app = rooms_app(Rooms())
    assert (app.migrations, app.rooms) == (None, None)
    assert (app.route_handlers, app.lifespans, app.tasks) == ([], [], [])


async def test_rooms_can_be_left_out(autojump_clock: MockClock) -> None:
    """With no app the commands do not exist, and `subscribe` still reaches rooms, as any channel."""
    server = Server(configured(server=ServerSection(apps=())))
    async with served(server) as site:
        assert server.apps == []
        alice = await site.connect("alice")
        for command, data in ROOM_COMMANDS.items():
            error = await alice.command(command, data)
            assert error["data"]["code"] == "unknown_type"
        assert (await alice.command("subscribe", {"channel": "room:r"}))["type"] == "subscribed"
        await alice.aclose()


async def test_rooms_run_unless_they_are_left_out(autojump_clock: MockClock) -> None:
    """An unchanged configuration has them, and every one of their commands answers."""
    async with served(Server(configured())) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")
        answers = {
            "join_room": "subscribed",
            "room_message": "published",
            "leave_room": "unsubscribed",
            "room_subscribe": "subscribed",
            "room_unsubscribe": "unsubscribed",
            "user_message": "published",
        }
        kinds = {each: (await alice.command(each, ROOM_COMMANDS[each]))["type"] for each in answers}
        assert kinds == answers
