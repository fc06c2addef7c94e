"""Tokens that PyJWT, json or a timer would choke on, over the wire: refused, whichever way they come."""

import time
from urllib.parse import quote

import msgspec
import pytest
import trio
from support.client import masked
from support.site import SECRET, Site, configured, listening_site
from support.tasks import converse, unharmed
from support.tokens import BAD_TOKENS, forged

from tidings.protocol.frames import Opcode
from tidings.server.config import Auth


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_is_refused_before_the_upgrade(live_site: Site, name: str) -> None:
    """In the query and in Authorization alike: 401 with a JSON body that holds nothing of the token."""
    token = BAD_TOKENS[name]
    async with unharmed(live_site) as peers:
        for query, headers in (
            ({"token": quote(token, safe="")}, None),
            ({"token": None}, {"Authorization": f"Bearer {token}"}),
        ):
            client = await peers.open()
            status, fields, body = await client.handshake(headers=headers, **query)
            assert (status, body["error"]["code"]) == (401, "unauthorized")
            assert fields["content-type"] == "application/json"
            assert token not in body["error"]["message"]


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_in_band_closes(live_site: Site, name: str) -> None:
    """`authenticate` with a bad token: a typed error with the id, `disconnect`, close 3500, and TCP ends."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        assert (await client.handshake())[0] == 101
        error = await client.command("authenticate", {"token": BAD_TOKENS[name]}, id="a1")
        assert (error["type"], error["data"]["code"], error["id"]) == ("error", "unauthorized", "a1")
        said = await client.receive_json()
        assert (said["type"], said["data"]["code"], said["data"]["reconnect"]) == (
            "disconnect",
            3500,
            False,
        )
        assert (await client.closed()).code == 3500
        await client.send_close(3500)
        assert await client.at_end()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (rb'{"type":"authenticate","data":{"token":"\ud800"},"id":"a"}', "bad_request"),
        (rb'{"type":"authenticate","data":{"token":"%s"},"id":"a"}' % (b"a" * 8193), "invalid_data"),
        (rb'{"type":"authenticate","data":{"token":""},"id":"a"}', "invalid_data"),
        (rb'{"type":"authenticate","data":{"token":7},"id":"a"}', "invalid_data"),
        (rb'{"type":"authenticate","data":{},"id":"a"}', "invalid_data"),
        (rb'{"type":"authenticate","id":"a"}', "invalid_data"),
    ],
)
async def test_what_is_no_token_at_all_is_an_error(live_site: Site, sent: bytes, code: str) -> None:
    """An `authenticate` that cannot be read is answered, and another try may follow."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        await client.handshake()
        await client.send(masked(Opcode.TEXT, sent))
        error = await client.receive_json()
        assert (error["type"], error["data"]["code"]) == ("error", code)
        assert (await client.command("authenticate", {"token": live_site.token()}))["type"] == "connected"
        await converse(client)


async def test_issuer_and_audience_are_required_where_configured() -> None:
    """A token for another service, or from another issuer, opens nothing here."""
    auth = Auth(secret=SECRET, issuer="https://id.example", audience="tidings")
    with trio.fail_after(30):
        async with listening_site(configured(auth=auth)) as site, unharmed(site) as peers:
            for claims, expected in (
                ({"iss": "https://id.example", "aud": "tidings"}, 101),
                ({"iss": "https://id.example", "aud": ["other", "tidings"]}, 101),
                ({"iss": "https://id.example"}, 401),
                ({"iss": "https://id.example", "aud": "other"}, 401),
                ({"iss": "https://evil.example", "aud": "tidings"}, 401),
                ({"iss": ["https://id.example"], "aud": "tidings"}, 401),
                ({"iss": "https://id.example", "aud": {"tidings": 1}}, 401),
                ({"aud": "tidings"}, 401),
            ):
                client = await peers.open()
                assert (await client.handshake(token=forged(**claims)))[0] == expected, claims


async def test_an_integer_subject_is_refused_and_an_integer_user_id_is_its_text(live_site: Site) -> None:
    """`sub: 42` is no subject (RFC 7519); `user_id: 42`, as documented systems have it, is the user `42`."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        assert (await client.handshake(token=forged(sub=42)))[0] == 401
        client = await peers.open()
        await client.handshake(token=forged(sub=None, user_id=42))
        connected = await client.receive_json()
        assert connected["data"]["user_id"] == "42"
        stats = await client.command("stats")
        assert stats["data"]["connection"]["channels"] == ["all", "user:42"]


async def test_a_token_that_needs_no_refusal_still_ends() -> None:
    """A token within the leeway of its end is let in and closed at once with 3005, not left in for ever."""
    with trio.fail_after(30):
        async with listening_site() as site, unharmed(site) as peers:
            client = await peers.open()
            assert (await client.handshake(token=forged(exp=int(time.time()) - 2)))[0] == 101
            assert (await client.closed()).code == 3005


async def test_a_token_is_not_asked_for_twice(live_site: Site) -> None:
    """An authenticated connection cannot become somebody else."""
    async with unharmed(live_site) as peers:
        client = await peers.connect("alice")
        answer = await client.command("authenticate", {"token": live_site.token("bob")})
        assert answer["data"]["code"] == "forbidden"
        stats = await client.command("stats")
        assert msgspec.json.encode(stats["data"]["connection"]["channels"]) == b'["all","user:alice"]'
