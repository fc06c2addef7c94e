"""What a client that does nothing wrong gets: subscriptions, rooms, publications, figures."""

import re
from typing import Any

import msgspec
import pytest
from support.client import RawClient, masked
from support.site import Site, configured, memory_site
from support.tasks import unharmed
from trio.testing import MockClock

from tidings.protocol.frames import Opcode
from tidings.server.config import Limits


async def _publish(
    client: RawClient, channel: str, event: str, payload: dict[str, Any] | None = None
) -> Any:
    data = {"channel": channel, "event": event, "payload": payload or {}}
    return await client.command("publish", data)


async def test_connected_says_what_a_client_needs(site: Site, autojump_clock: MockClock) -> None:
    """The first message names the connection, the user, the heartbeat and the token's end, and has no channel."""
    async with unharmed(site) as peers:
        ids = set()
        for _ in range(2):
            client = await peers.open()
            token = site.token("alice", username="Alice A.", ttl=100)
            status, fields, _ = await client.handshake(token=token)
            assert (status, fields["sec-websocket-accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            assert "sec-websocket-protocol" not in fields
            connected = await client.receive_json()
            assert set(connected) == {"type", "data", "timestamp"}
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", connected["timestamp"])
            data = connected["data"]
            assert (data["user_id"], data["username"]) == ("alice", "Alice A.")
            assert (data["ping_interval"], data["pong_timeout"]) == (20, 10)
            identity = site.server.context.authenticator.verify(token)
            assert data["expires_at"] == identity.expires_at  # type: ignore[union-attr]
            ids.add(data["connection_id"])
        assert len(ids) == 2


async def test_a_subscription_begins_where_it_says(site: Site, autojump_clock: MockClock) -> None:
    """`subscribed` tells epoch and offset; the next publication has the offset after it."""
    async with unharmed(site) as peers:
        admin, alice = await peers.connect("admin", roles=["admin"]), await peers.connect("alice")
        for number in (1, 2):
            answer = await _publish(admin, "room:r", "e")
            assert answer["data"] == {"channel": "room:r", "offset": number}
        subscribed = await alice.command("subscribe", {"channel": "room:r"})
        assert subscribed["data"]["channel"] == "room:r"
        assert subscribed["data"]["offset"] == 2
        assert subscribed["data"]["recovered"] is False
        await _publish(admin, "room:r", "e", {"n": 3})
        message = await alice.receive_json()
        assert set(message) == {"type", "data", "timestamp", "channel", "offset"}
        assert (message["type"], message["offset"], message["data"]) == ("e", 3, {"n": 3})
        again = await alice.command("subscribe", {"channel": "room:r"})
        assert (again["data"]["epoch"], again["data"]["offset"]) == (subscribed["data"]["epoch"], 3)


async def test_a_second_subscription_changes_nothing(site: Site, autojump_clock: MockClock) -> None:
    """Subscribing twice is answered twice and delivers once; one `unsubscribe` ends it."""
    async with unharmed(site) as peers:
        alice = await peers.connect("alice")
        for kind in ("join_room", "room_subscribe", "join_room"):
            assert (await alice.command(kind, {"room": "r"}))["type"] == "subscribed"
        await alice.send_json({"type": "room_message", "data": {"room": "r", "text": "1"}, "id": "1"})
        await alice.send_json({"type": "ping", "id": "fence"})
        kinds = [(await alice.receive_json())["type"] for _ in range(3)]
        assert kinds == ["room_message", "published", "pong"]
        assert (await alice.command("leave_room", {"room": "r"}))["type"] == "unsubscribed"
        assert (await alice.command("leave_room", {"room": "r"}))["data"]["code"] == "not_found"


@pytest.mark.parametrize("leave", ["leave_room", "room_unsubscribe", "unsubscribe"])
async def test_unsubscribed_is_the_last_word(site: Site, autojump_clock: MockClock, leave: str) -> None:
    """In a burst, all that was said before leaving comes before the answer, and nothing after it."""
    data = {"channel": "room:r"} if leave == "unsubscribe" else {"room": "r"}
    async with unharmed(site) as peers:
        alice, other = await peers.connect("alice"), await peers.connect("bob")
        for client in (alice, other):
            await client.command("join_room", {"room": "r"})
        say = masked(Opcode.TEXT, b'{"type":"room_message","data":{"room":"r","text":"x"}}')
        leaving = msgspec.json.encode({"type": leave, "data": data, "id": "leave"})
        await alice.send(7 * say + masked(Opcode.TEXT, leaving))
        await other.send(20 * say)
        before = []
        while (message := await alice.receive_json()).get("id") != "leave":
            before.append(message)
        assert (message["type"], message["data"]) == ("unsubscribed", {"channel": "room:r"})
        heard = [message for message in before if message["type"] == "room_message"]
        assert [message["offset"] for message in heard] == list(range(1, len(heard) + 1))
        assert sum(message["data"]["user_id"] == "alice" for message in heard) == 7
        await alice.send_json({"type": "ping", "id": "fence"})
        while (message := await alice.receive_json()).get("id") != "fence":
            assert "channel" not in message
        assert (await alice.command(leave, data))["data"]["code"] == "not_found"


async def test_a_connection_may_have_so_many_channels(autojump_clock: MockClock) -> None:
    """Over `channels_per_connection`: `limit_reached`; one that is left makes room for another."""
    config = configured(limits=Limits(channels_per_connection=4))
    async with memory_site(config) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")  # in user:alice and all
        for room in ("a", "b"):
            assert (await alice.command("join_room", {"room": room}))["type"] == "subscribed"
        error = await alice.command("join_room", {"room": "c"}, id="c")
        assert (error["type"], error["data"]["code"], error["id"]) == ("error", "limit_reached", "c")
        assert (await alice.command("join_room", {"room": "a"}))["type"] == "subscribed"
        await alice.command("leave_room", {"room": "a"})
        assert (await alice.command("join_room", {"room": "c"}))["type"] == "subscribed"
        stats = await alice.command("stats")
        assert stats["data"]["connection"]["channels"] == ["all", "room:b", "room:c", "user:alice"]


async def test_what_has_no_id_is_not_confirmed(site: Site, autojump_clock: MockClock) -> None:
    """Whoever gives no id gets no `published`; what goes wrong is told all the same."""
    async with unharmed(site) as peers:
        alice = await peers.connect("alice")
        await alice.command("join_room", {"room": "r"})
        await alice.send_json({"type": "room_message", "data": {"room": "r", "text": "1"}})
        await alice.send_json({"type": "room_message", "data": {"room": "elsewhere", "text": "2"}})
        await alice.send_json({"type": "room_message", "data": {"room": "r", "text": "3"}, "id": "c3"})
        heard = [await alice.receive_json() for _ in range(4)]
        kinds = sorted(message["type"] for message in heard)
        assert kinds == ["error", "published", "room_message", "room_message"]
        assert (heard[3]["type"], heard[3]["id"]) == ("published", "c3")


async def test_an_unknown_event_is_carried_as_given(site: Site, autojump_clock: MockClock) -> None:
    """An event that nobody registered reaches its channel with its payload to the last digit and character."""
    payload = {"n": 2**63, "f": -0.1, "s": "é\u2028\U0001f600", "deep": [[{"x": None}]], "empty": {}, "": 1}
    async with unharmed(site) as peers:
        admin, alice = await peers.connect("admin", roles=["admin"]), await peers.connect("alice")
        assert (await _publish(admin, "user:alice", "my-own.event:1", payload))["type"] == "published"
        message = await alice.receive_json()
        assert (message["type"], message["data"]) == ("my-own.event:1", payload)
        assert message["user_id"] == "alice"


async def test_a_registered_event_is_checked(site: Site, autojump_clock: MockClock) -> None:
    """A registered event's payload must fit its Struct, else `invalid_data` names the field, and nobody gets it."""
    async with unharmed(site) as peers:
        admin, alice = await peers.connect("admin", roles=["admin"]), await peers.connect("alice")
        for wrong in ({}, {"title": 7, "message": "x"}, {"title": "x"}):
            error = await _publish(admin, "user:alice", "notification", wrong)
            assert (error["type"], error["data"]["code"]) == ("error", "invalid_data")
            assert "`$.data.payload" in error["data"]["message"]
        right = {"title": "Hi", "message": "there", "further": [1]}
        assert (await _publish(admin, "user:alice", "notification", right))["data"]["offset"] == 1
        assert (await alice.receive_json())["data"] == right


async def test_the_servers_own_words_cannot_be_published(site: Site, autojump_clock: MockClock) -> None:
    """An admin, too, is refused what would look like the server's word about a connection."""
    async with unharmed(site) as peers:
        admin = await peers.connect("admin", roles=["admin"])
        control = site.server.context.registry.answers
        assert {"connected", "error", "disconnect", "pong", "subscribed", "published"} <= set(control)
        for event in control:
            error = await _publish(admin, "all", event, {"code": 3500})
            assert (error["type"], error["data"]["code"]) == ("error", "forbidden"), event
        assert site.server.context.hub.statistics().publications == 0


@pytest.mark.parametrize("event", ["", "a b", "é", "a\n", "x" * 65])
async def test_an_event_has_a_plain_name(site: Site, autojump_clock: MockClock, event: str) -> None:
    """Event names are 1 to 64 plain ASCII characters."""
    async with unharmed(site) as peers:
        admin = await peers.connect("admin", roles=["admin"])
        assert (await _publish(admin, "all", event))["data"]["code"] == "invalid_data"


async def test_a_number_that_not_everybody_can_carry_is_refused(
    site: Site, autojump_clock: MockClock
) -> None:
    """What MessagePack cannot hold is refused at the publisher, not found out in the middle of a fan-out."""
    async with unharmed(site) as peers:
        admin = await peers.connect("admin", roles=["admin"])
        for number, expected in ((2**64 - 1, "published"), (2**64, "error"), (-(2**63) - 1, "error")):
            await admin.send_text(
                '{"type":"publish","data":{"channel":"room:r","event":"e","payload":{"n":NUMBER}},"id":"b"}'.replace(
                    "NUMBER", str(number)
                )
            )
            answer = await admin.receive_json()
            assert answer["type"] == expected
            assert answer["data"].get("code") == (None if expected == "published" else "invalid_data")


async def test_further_fields_of_a_room_message_reach_the_room(
    site: Site, autojump_clock: MockClock
) -> None:
    """`room_message` carries what its sender adds, as a reply's reference, beside what the server knows."""
    async with unharmed(site) as peers:
        alice = await peers.connect("alice", username="Alice")
        await alice.command("join_room", {"room": "r"})
        said = {"room": "r", "text": "hello", "reply_to": "m1", "mentions": ["bob"]}
        await alice.send_json({"type": "room_message", "data": said})
        data = (await alice.receive_json())["data"]
        assert data | said == data
        assert set(data) == {*said, "id", "user_id", "username"}
        assert data["username"] == "Alice"


async def test_a_messagepack_client_is_in_the_same_room(site: Site, autojump_clock: MockClock) -> None:
    """JSON and MessagePack clients hear each other, each in its own encoding, with one offset for both."""
    async with unharmed(site) as peers:
        plain = await peers.connect("plain")
        packed = await peers.open()
        status, fields, _ = await packed.handshake(
            token=site.token("packed"), headers={"Sec-WebSocket-Protocol": "chat, tidings.v1.msgpack"}
        )
        assert (status, fields["sec-websocket-protocol"]) == (101, "tidings.v1.msgpack")
        assert (await packed.receive_packed())["type"] == "connected"
        for command in (plain.command, packed.packed_command):
            assert (await command("join_room", {"room": "r"}))["type"] == "subscribed"
        await packed.packed_command("room_message", {"room": "r", "text": "héllo"})
        heard = await plain.receive_json()
        assert (heard["data"]["text"], heard["data"]["user_id"], heard["offset"]) == ("héllo", "packed", 1)
        await plain.command("room_message", {"room": "r", "text": "hello yourself"})
        while (heard := await packed.receive_packed()).get("offset") != 2:
            pass
        assert (heard["type"], heard["data"]["text"]) == ("room_message", "hello yourself")


async def test_the_wrong_kind_of_frame_is_told(site: Site, autojump_clock: MockClock) -> None:
    """A text frame to MessagePack, or a binary one to JSON, ends in 1003, which says what to speak."""
    async with unharmed(site) as peers:
        packed = await peers.open()
        await packed.handshake(token=site.token(), headers={"Sec-WebSocket-Protocol": "tidings.v1.msgpack"})
        await packed.receive_packed()
        await packed.send_text('{"type":"ping"}')
        closed = await packed.closed()
        assert (closed.code, closed.reason) == (1003, "only binary messages are understood here")
        plain = await peers.connect()
        await plain.send_packed({"type": "ping"})
        closed = await plain.closed()
        assert (closed.code, closed.reason) == (1003, "only text messages are understood here")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("tidings.v1.json", "tidings.v1.json"),
        ("tidings.v1.msgpack, tidings.v1.json", "tidings.v1.msgpack"),
        ("tidings.v1.json, tidings.v1.msgpack", "tidings.v1.json"),
        ("graphql-ws, mqtt", None),
        ("TIDINGS.V1.JSON", None),
    ],
)
async def test_the_clients_first_known_subprotocol_is_chosen(
    site: Site, autojump_clock: MockClock, offered: str, chosen: str | None
) -> None:
    """The answer names the one that is spoken, or none: never one that was not offered."""
    async with unharmed(site) as peers:
        client = await peers.open()
        status, fields, _ = await client.handshake(
            token=site.token(), headers={"Sec-WebSocket-Protocol": offered}
        )
        assert (status, fields.get("sec-websocket-protocol")) == (101, chosen)


async def test_an_extension_is_not_granted(site: Site, autojump_clock: MockClock) -> None:
    """What the engine does not speak is not promised: permessage-deflate is left out of the answer."""
    async with unharmed(site) as peers:
        client = await peers.open()
        offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
        status, fields, _ = await client.handshake(token=site.token(), headers=offer)
        assert status == 101
        assert "sec-websocket-extensions" not in fields


async def test_stats_counts_what_was_said(site: Site, autojump_clock: MockClock) -> None:
    """A connection's figures: its commands, its errors, its bytes."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.command("ping")
        await client.command("leave_room", {"room": "r"})
        figures = (await client.command("stats"))["data"]["connection"]
        assert (figures["commands"], figures["errors"], figures["outbox_bytes"]) == (3, 1, 0)
        assert figures["bytes_sent"] > 300
