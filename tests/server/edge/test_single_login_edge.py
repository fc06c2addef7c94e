"""Single-login clients on a whole server: what they hear, what they never hear, and that it costs them nothing."""

from typing import Any

import pytest
import trio
from support.client import RawClient
from support.site import Site, configured, memory_site

from tidings.protocol.catalogues import CATALOGUES, OTHER_DEVICE_LOGIN
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import Opcode
from tidings.protocol.positions import Position

pytestmark = pytest.mark.usefixtures("autojump_clock")

CONNECTED = '{"type":"connected","message":"WebSocket接続が確立されました"}'
PONG = '{"type":"pong","message":"接続中"}'
FORCE_LOGOUT = (
    '{"type":"force_logout",'
    '"message":"このアカウントは他のデバイスでログインされています。再度ログインしてください。",'
    '"reason":"other_device_login"}'
)

LOGGED_IN_ELSEWHERE = {"reason": OTHER_DEVICE_LOGIN, "message": "You logged in elsewhere."}
NOTIFICATION = {"title": "Hello", "message": "An answer to your question", "type": "info"}


async def said(client: RawClient) -> str:
    """The next frame's text, as it is."""
    opcode, payload = await client.receive_frame()
    assert opcode == Opcode.TEXT, (opcode, payload)
    return payload.decode()


async def enter(site: Site, path: str = "/ws?dialect=single_login", **token: Any) -> RawClient:
    """A client that is connected and has not read anything since."""
    client = await site.open()
    status, headers, body = await client.handshake(path, token=site.token(**token))
    assert (status, body) == (101, None)
    assert "sec-websocket-protocol" not in headers
    return client


async def greeted(site: Site, **token: Any) -> RawClient:
    """A client that has read `connected`."""
    client = await enter(site, **token)
    assert await said(client) == CONNECTED
    return client


async def heard_nothing(client: RawClient) -> None:
    """That whatever was said to this client before came to nothing: the next that it hears is its pong."""
    await trio.testing.wait_all_tasks_blocked()
    await client.send_text("ping")
    assert await said(client) == PONG


async def test_the_first_word_is_the_documents(site: Site) -> None:
    """By a token in the query: `connected` as documented, and no position, inbox or expiry behind it."""
    # The token ends so soon that the server warns of it at once.
    client = await enter(site, ttl=30)
    assert await said(client) == CONNECTED
    await heard_nothing(client)


async def test_without_a_valid_token_nobody_is_let_in(site: Site) -> None:
    """There is no first message that could bear it: 401 before the upgrade, for none and for a bad one."""
    for token in (None, "no-token"):
        client = await site.open()
        status, _, body = await client.handshake("/ws?dialect=single_login", token=token)
        assert (status, body["error"]["code"]) == (401, "unauthorized"), body


@pytest.mark.parametrize("language", CATALOGUES)
async def test_an_owner_keeps_the_path_and_picks_the_language(language: str) -> None:
    """By `[endpoints]` the document's own `/ws` speaks it, in any of the languages; the query still decides."""
    name = "single_login" if language == "ja" else f"single_login_{language}"
    async with memory_site(configured(endpoints={"/ws": name})) as site:
        client = await enter(site, "/ws")
        assert (await client.receive_json())["message"] == CATALOGUES[language].connected
        native = await enter(site, "/ws?dialect=native")
        assert (await native.receive_json())["data"]["user_id"] == "alice"
        await site.server.context.push.announce("user:alice", "force_logout", LOGGED_IN_ELSEWHERE)
        assert (await client.receive_json())["message"] == CATALOGUES[language].forced_out[
            OTHER_DEVICE_LOGIN
        ]


async def test_both_pings_are_answered(site: Site) -> None:
    """The bare word and the object, each by one documented `pong`."""
    client = await greeted(site)
    for ping in ("ping", '{"type":"ping"}', '{"type":"ping","id":"c1","timestamp":1}'):
        await client.send_text(ping)
        assert await said(client) == PONG
    await heard_nothing(client)


async def test_rubbish_is_answered_by_silence(site: Site) -> None:
    """Now and then a wrong message costs nothing and is told nothing, and pings between them are answered."""
    client = await greeted(site)
    for rubbish in ("hello", "{", '{"type":"subscribe","data":{"channel":"all"},"id":"c1"}', '{"type":[]}'):
        await client.send_text(rubbish)
        await heard_nothing(client)
    assert site.server.context.hub.channels_of(_connection(site)) == {"all", "user:alice"}


async def test_rubbish_without_end_ends_the_connection(site: Site) -> None:
    """Silence is no licence: over the limit of errors it is closed with 3509, and told by the close alone."""
    client = await greeted(site)
    for _ in range(60):
        await client.send_text("rubbish")
    messages, closed = await client.until_closed()
    assert messages == []
    assert closed.code == CloseCode.TOO_MANY_ERRORS


async def test_a_binary_message_is_none_of_its(site: Site) -> None:
    """The dialect is text: a binary frame ends the connection, as RFC 6455 has it for data that is not taken."""
    client = await greeted(site)
    await client.send_packed({"type": "ping"})
    messages, closed = await client.until_closed()
    assert (messages, closed.code) == ([], CloseCode.UNSUPPORTED_DATA)


async def test_force_logout_reaches_each_in_its_shape(site: Site) -> None:
    """One announcement: flat and in Japanese here, natively with the publisher's words there."""
    client, native = await greeted(site), await site.connect()
    await site.server.context.push.announce("user:alice", "force_logout", LOGGED_IN_ELSEWHERE)
    assert await said(client) == FORCE_LOGOUT
    told = await native.receive_json()
    assert (told["type"], told["data"]) == ("force_logout", LOGGED_IN_ELSEWHERE)
    await heard_nothing(client)


async def test_a_close_follows_without_a_word(site: Site) -> None:
    """What explains a close comes first, then the close frame, and no `disconnect` between the two."""
    client, push = await greeted(site), site.server.context.push
    await push.announce("user:alice", "force_logout", LOGGED_IN_ELSEWHERE)
    assert push.disconnect("alice", CloseCode.LOGGED_IN_ELSEWHERE) == 1
    messages, closed = await client.until_closed()
    assert [message["type"] for message in messages] == ["force_logout"]
    assert closed.code == CloseCode.LOGGED_IN_ELSEWHERE


async def test_a_notification_is_neither_sent_nor_taken_from_others(site: Site) -> None:
    """It has no frame for it, and no seat at the inbox: what it passes still waits for the user's other clients."""
    client = await greeted(site)
    push = site.server.context.push
    await push.to_user("alice", "notification", NOTIFICATION)
    await heard_nothing(client)
    await push.announce("user:alice", "force_logout", LOGGED_IN_ELSEWHERE)
    assert await said(client) == FORCE_LOGOUT
    # Neither has named a device: they would share a position.
    native = await site.connect()
    assert (await native.receive_json())["data"] == NOTIFICATION


async def test_what_waits_in_the_inbox_is_not_for_it(site: Site) -> None:
    """Pages of notifications wait, and a word that somebody has kept: it is live from the first frame on."""
    push = site.server.context.push
    for _ in range(300):
        await push.to_user("alice", "notification", NOTIFICATION)
    await push.to_user("alice", "force_logout", LOGGED_IN_ELSEWHERE)
    client = await greeted(site)
    await heard_nothing(client)
    assert not site.server.context.hub.is_held(_connection(site), "user:alice")


async def test_words_about_positions_are_not_said(site: Site) -> None:
    """A new epoch, and what was not for its login, are told to others as positions: to it, not at all."""
    client = await greeted(site)
    await site.server.context.push.to_user(
        "alice", "notification", NOTIFICATION, excluded_session="login-of-alice"
    )
    site.server.context.hub.moved("user:alice", Position("another", 5))
    site.server.context.hub.moved("all", Position("another", 0))
    await heard_nothing(client)


def _connection(site: Site) -> Any:
    [connection] = site.server.context.hub.connections_of("alice")
    return connection
