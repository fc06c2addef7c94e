"""The broadcaster, as programs inside the server use it: what it sends, and what it refuses."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest
import trio
from support.accounts import AccountsSite, accounts_config, accounts_site
from support.notifications import NOTE, NotifiedSite, notified_config, notified_site
from support.site import listening_site

from tidings.protocol.errors import ErrorCode
from tidings.server.apps.notifications.bodies import NewNotification
from tidings.server.apps.notifications.broadcaster import Broadcaster
from tidings.server.extension import App, PublishRefused, Push

_RECURSIVE: Final[dict[str, Any]] = {}
_RECURSIVE["title"] = _RECURSIVE


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[NotifiedSite]:
    """A server with notifications."""
    async with notified_site(notified_config(tmp_path)) as site:
        yield site


def refusal(caught: pytest.ExceptionInfo[PublishRefused]) -> tuple[ErrorCode, str]:
    """What was refused, and how."""
    return caught.value.refusal.code, caught.value.refusal.message


async def test_what_cannot_be_shown_is_refused_naming_the_field(site: NotifiedSite) -> None:
    """Whatever a program gives, a mapping, a Struct, or something else: typed, and nothing is kept."""
    for given, words in (
        ({"title": "", "message": "x"}, "`$.title`"),
        (MappingProxyType({"title": "x", "message": " "}), "`$.message`"),
        ({"title": "x", "message": ""}, "`$.message`"),
        ({"title": "x"}, "`message`"),
        ({"title": "x", "message": "x", "body": "x"}, "`body`"),
        (NewNotification("", "x"), "`$.title`"),
        (NewNotification("x", "x", link="javascript:x"), "`$.link`"),
        ({"title": "\ud800", "message": "x"}, "JSON"),
        ({"title": "x", "message": object()}, "JSON"),
        (_RECURSIVE, "JSON"),
        ([], "`$`"),
        (None, "`$`"),
    ):
        with pytest.raises(PublishRefused) as caught:
            await site.broadcaster.send_notification("alice", given)  # type: ignore[arg-type]
        code, message = refusal(caught)
        assert (code, words in message) == (ErrorCode.INVALID_DATA, True), message
    for user in ("", "a b", "é", "a" * 129, "a\n"):
        with pytest.raises(PublishRefused) as caught:
            await site.broadcaster.send_notification(user, NOTE)
        assert refusal(caught)[0] is ErrorCode.INVALID_DATA
    page = await site.done("GET", "/api/v1/notifications", site.site.token("alice"))
    assert (page["notifications"], page["unread"]) == ([], 0)


async def test_what_is_sent_is_checked_as_any_event(site: NotifiedSite) -> None:
    """Fields of built-in events, users, rooms and sizes; who names both a user and a room has made a mistake."""
    send = site.broadcaster
    for call, code, words in (
        (send.send_sync_update("alice", {"changes": "5"}), ErrorCode.INVALID_DATA, "`$.changes`"),
        (send.send_sync_update("a b", {}), ErrorCode.INVALID_DATA, "user_id"),
        (send.send_system_message({"level": "info"}), ErrorCode.INVALID_DATA, "`message`"),
        (send.send_system_message({"message": 5}, user_id="a"), ErrorCode.INVALID_DATA, "`$.message`"),
        (send.send_knowledge_update("1", "x", {}, room="a b"), ErrorCode.INVALID_DATA, "room: expected"),
        (send.send_knowledge_update("1", "x", []), ErrorCode.INVALID_DATA, "`$.data`"),  # type: ignore[arg-type]
        (send.send_knowledge_update("1", "x", {"x": "x" * 300_000}), ErrorCode.TOO_LARGE, "bytes"),
        (send.send_message("pong", {}), ErrorCode.FORBIDDEN, "pong"),
    ):
        with pytest.raises(PublishRefused) as caught:
            await call
        assert refusal(caught)[0] is code
        assert words in refusal(caught)[1]
    with pytest.raises(ValueError, match="a user or a room"):
        await send.send_knowledge_update("1", "x", {}, user_id="alice", room="tea")


async def test_what_is_no_text_is_refused_by_its_name(site: NotifiedSite) -> None:
    """Programs are not all looked at by a type checker: no call ends in a TypeError from inside."""
    send: Any = site.broadcaster
    wrong: Any
    for wrong in (None, 5, b"alice", ["alice"], {}):
        calls = {
            "user_id": [send.send_notification(wrong, NOTE), send.send_sync_update(wrong, {})],
            "room": [],
            "event": [send.send_message(wrong, {})],
        }
        calls["user_id"].append(send.send_sync_update(wrong, {}, is_known=True))
        if wrong is not None:
            calls["user_id"] += [
                send.send_system_message({"message": "x"}, user_id=wrong),
                send.send_knowledge_update("1", "x", {}, user_id=wrong),
            ]
            calls["room"].append(send.send_knowledge_update("1", "x", {}, room=wrong))
            calls["idempotency_key"] = [send.send_notification("alice", NOTE, idempotency_key=wrong)]
        for name, named in calls.items():
            for each in named:
                with pytest.raises(PublishRefused) as caught:
                    await each
                code, message = refusal(caught)
                assert code is ErrorCode.INVALID_DATA
                assert message.startswith(f"{name}: expected"), message


async def test_any_mapping_is_taken(site: NotifiedSite) -> None:
    """Whatever a program keeps its data in: it arrives as a dict would."""
    client = await site.connect(site.site.token("alice"))
    send, update = site.broadcaster, MappingProxyType({"title": "x"})
    await send.send_notification("alice", MappingProxyType(NOTE))
    await send.send_sync_update("alice", MappingProxyType({"changes": 1}))
    await send.send_system_message(MappingProxyType({"message": "x"}), user_id="alice")
    await send.send_knowledge_update("1", "updated", update, user_id="alice")
    await send.send_message("news", update)
    heard = dict(await site.heard(client, "alice"))
    assert heard["notification"].items() >= NOTE.items()
    assert heard["data_update"]["data"] == heard["news"] == {"title": "x"}
    assert (heard["sync_update"], heard["system_message"]) == ({"changes": 1}, {"message": "x"})


async def test_a_program_may_send_it_again(site: NotifiedSite) -> None:
    """With a key: the notification that it made is given again; another one of that key is a conflict."""
    send = site.broadcaster
    first = await send.send_notification("alice", NOTE, idempotency_key="order-7")
    assert await send.send_notification("alice", NOTE, idempotency_key="order-7") == first
    with pytest.raises(PublishRefused) as caught:
        await send.send_notification("alice", {**NOTE, "type": "error"}, idempotency_key="order-7")
    assert refusal(caught)[0] is ErrorCode.CONFLICT
    assert await send.send_notification("alice", NOTE) != first


async def test_an_app_of_ones_own_notifies(tmp_path: Path) -> None:
    """Made before the server has begun, used by a task of another app's: the user has it in list and inbox."""
    app = App("orders")

    @app.task
    async def tell(push: Push) -> None:
        note = await Broadcaster(push).send_notification(
            "alice", {"title": "Shipped", "message": "Order 7"}
        )
        assert (note.type, note.read_ms) == ("info", None)
        done.set()

    done = trio.Event()
    async with notified_site(notified_config(tmp_path), beside=[app]) as site:
        await done.wait()
        client = await site.connect(site.site.token("alice"))
        [[event, payload]] = [each for each in await site.heard(client, "alice") if "count" not in each[0]]
        assert (event, payload["title"]) == ("notification", "Shipped")


async def test_a_server_without_the_app_says_so() -> None:
    """What needs no list is sent all the same."""
    with trio.fail_after(30):
        async with listening_site() as site:
            broadcaster = Broadcaster(site.server.context.push)
            client = await site.connect("alice")
            with pytest.raises(LookupError, match=r"server\.apps"):
                await broadcaster.send_notification("alice", NOTE)
            await broadcaster.send_sync_update("alice", {"changes": 1})
            assert (await client.receive_json())["data"] == {"changes": 1}
            await client.aclose()


async def test_where_accounts_are_kept_users_are_theirs(tmp_path: Path) -> None:
    """With both apps on one database: an id that no account has is `not_found`, whatever is sent to it."""
    import msgspec

    config = accounts_config(tmp_path)
    apps = ("rooms", "accounts", "notifications")
    config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, apps=apps))
    with trio.fail_after(30):
        async with accounts_site(config) as site:
            await _check_accounts(site)


async def _check_accounts(site: AccountsSite) -> None:
    await site.add_all("alice")
    broadcaster = Broadcaster(site.site.server.context.push)
    for call in (
        broadcaster.send_notification("nobody", NOTE),
        broadcaster.send_sync_update("nobody", {}),
        broadcaster.send_system_message({"message": "x"}, user_id="nobody"),
        broadcaster.send_knowledge_update("1", "x", {}, user_id="nobody"),
    ):
        with pytest.raises(PublishRefused) as caught:
            await call
        assert refusal(caught) == (ErrorCode.NOT_FOUND, "no user has the id nobody")
    await broadcaster.send_notification("alice", NOTE)
    token = await site.login("alice")
    assert (await site.done("GET", "/api/v1/notifications/unread", token)) == {"unread": 1}
