"""Messages that have broken servers, over real sockets and on each engine: a typed error, and nothing left."""

import pytest
from support.client import masked
from support.hostile import BAD_FRAMES, BAD_HEADS, TOKEN, head
from support.hostile_messages import BAD_MESSAGES
from support.hostile_rows import MESSAGES
from support.hostile_site import every_engine, every_variant, hostile_site, try_rows
from support.site import Site
from support.tasks import reset, unharmed
from support.tokens import BAD_TOKENS

from tidings.protocol.frames import Opcode


@every_variant
async def test_a_bad_message_gets_a_typed_error(engine: str, compression: bool) -> None:
    """A wrong message costs nothing but an error, which bears the id where one could be read."""
    async with hostile_site(engine, compression=compression) as site:
        await try_rows(site, MESSAGES)


@pytest.mark.parametrize(
    "sent",
    [
        b'{"type":"ping","type":"ping","id":"no","id":"x"}',
        b'{"type":"ping","id":"x","unknown":{"deep":[1,2,{"x":null}]},"data":{"unknown":1}}',
        rb'{"type":"ping","id":"\u0078"}',
        b' \t\n{"id":"x","type":"ping"}\r\n ',
    ],
)
async def test_what_may_be_ignored_is_ignored(live_site: Site, sent: bytes) -> None:
    """Unknown fields are skipped and the last of duplicate keys wins."""
    async with unharmed(live_site) as peers:
        client = await peers.connect()
        await client.send(masked(Opcode.TEXT, sent))
        answer = await client.receive_json()
        assert (answer["type"], answer["id"]) == ("pong", "x")


@every_engine
async def test_everything_at_once_leaves_nothing(engine: str) -> None:
    """All hostile inputs open at one time against one server: it lives, and tasks and descriptors are as before."""
    async with hostile_site(engine) as site, unharmed(site) as peers:
        token = site.token().encode()
        for sent, _ in BAD_HEADS.values():
            client = await peers.open()
            await client.send(sent.replace(TOKEN, token))
        for number, (sent, code) in enumerate(BAD_FRAMES.values()):
            client = await peers.connect(f"framer-{number}")
            await client.send(sent)
            if number % 2:  # every other one stays and watches how it is closed
                assert (await client.closed()).code == code
        for bad in BAD_TOKENS.values():
            client = await peers.open()
            await client.handshake()
            await client.send_json({"type": "authenticate", "data": {"token": bad}})
        for sent in (head(), head()[:-2]):
            client = await peers.open()
            await client.send(sent.replace(TOKEN, token))
            reset(client)
        for number, (sent, _) in enumerate(BAD_MESSAGES.values()):
            client = await peers.connect(f"user-{number}")
            await client.send(masked(Opcode.TEXT, sent))
