"""The main job over a real socket."""

import msgspec
import trio_websocket
from support.site import Site


async def test_two_clients_chat_through_a_room(site: Site) -> None:
    """What one member says in a room reaches every member once, with channel and offset."""
    alice, bob = await site.connect("alice"), await site.connect("bob")
    for client in (alice, bob):
        assert (await client.command("join_room", {"room": "lobby"}))["type"] == "subscribed"
    await alice.send_json({"type": "room_message", "data": {"room": "lobby", "text": "hello"}})
    heard = await bob.receive_json()
    assert heard["type"] == "room_message"
    assert (heard["channel"], heard["offset"]) == ("room:lobby", 1)
    assert heard["data"]["user_id"] == "alice"


async def test_the_cards_own_client_library_connects(live_site: Site) -> None:
    """A trio-websocket client authenticates, pings and closes over a real socket."""
    url = f"{live_site.listening[0].url('ws')}/ws?token={live_site.token()}"
    async with trio_websocket.open_websocket_url(url) as ws:
        assert msgspec.json.decode(await ws.get_message())["type"] == "connected"
        await ws.send_message('{"type":"ping","id":"1"}')
        assert msgspec.json.decode(await ws.get_message())["type"] == "pong"
