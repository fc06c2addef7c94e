"""Which idempotency keys each way in takes, and with which words it refuses the others."""

import re
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.site import Site

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.fields import is_idempotency_key
from tidings.server.brokers.base import Receipt
from tidings.server.push import PublishRefused

WRONG = ("", "k" * 129, "\x00", "a\x00b", "k\n", "\x1f", "\x7f", "a\x80", "\x9f", "\x85")
ODD = ('"', "'; --", "100%", "%00", "\\u0000", " ", "é", "\u2028", "\U0001f600" * 128, "\xa0")
GOOD: dict[str, Any] = {"channel": "room:lobby", "event": "news", "payload": {"n": 1}}
SAID = "an idempotency key: 1 to 128 characters, no control characters, such as a UUID"


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("publish", GOOD, "$.idempotency_key"),
        ("broadcast", {"event": "news", "payload": {}}, "$.idempotency_key"),
    ],
)
async def test_http_names_the_key(
    api_site: Site, api: httpx.AsyncClient, path: str, body: dict[str, Any], where: str
) -> None:
    """400 `invalid_data` with the field and what a key is; nothing is published."""
    for key in WRONG:
        response = await api.post(f"/api/v1/{path}", json=body | {"idempotency_key": key})
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["message"]) == ("invalid_data", f"Expected {SAID} - at `{where}`"), key
    assert api_site.server.context.hub.statistics().publications == 0


async def test_a_batch_names_the_key(api_site: Site, api: httpx.AsyncClient) -> None:
    """One wrong key refuses the batch: with the field, and nothing is published."""
    items = [GOOD | {"idempotency_key": "k"}, GOOD | {"idempotency_key": "a\x00b"}]
    response = await api.post("/api/v1/publish/batch", json={"publications": items})
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert SAID in message
    assert "idempotency_key`" in message
    assert api_site.server.context.hub.statistics().publications == 0


async def test_a_command_names_the_key(api_site: Site) -> None:
    """`invalid_data` with the field, the cure and the command's id; the connection goes on."""
    async with aclosing(await api_site.connect("admin", roles=["admin"])) as admin:
        for key in WRONG:
            answer = await admin.command("publish", GOOD | {"idempotency_key": key})
            assert (answer["type"], answer["data"]["code"]) == ("error", "invalid_data"), key
            assert answer["data"]["message"] == f"Expected {SAID} - at `$.data.idempotency_key`"
        assert (await admin.command("publish", GOOD | {"idempotency_key": "k"}))["data"]["offset"] == 1


async def test_a_program_is_told_as_clients_are(api_site: Site) -> None:
    """Refused by value or by exception, with the same words; also what only a program can have."""
    push = api_site.server.context.push
    for key in (*WRONG, "\ud800", "a\udfffb", "\ud83d\ude00"):
        refusal = await push.submit("all", "news", {}, idempotency_key=key)
        assert refusal == Refusal(ErrorCode.INVALID_DATA, f"idempotency_key: expected {SAID}"), key
        with pytest.raises(PublishRefused, match="idempotency_key: expected"):
            await push.publish("all", "news", {}, idempotency_key=key)
    assert api_site.server.context.hub.statistics().publications == 0


async def test_odd_keys_are_keys_every_way(api_site: Site, api: httpx.AsyncClient) -> None:
    """The key again is the same publication, another body a conflict: over HTTP, for programs, by command."""
    push = api_site.server.context.push
    async with aclosing(await api_site.connect("admin", roles=["admin"])) as admin:
        for number, key in enumerate(ODD, 1):
            keyed = GOOD | {"idempotency_key": key}
            first, again = [await api.post("/api/v1/publish", json=keyed) for _ in range(2)]
            receipt = await push.submit("room:lobby", "news", {"n": 1}, idempotency_key=key)
            assert isinstance(receipt, Receipt)
            assert first.json()["offset"] == again.json()["offset"] == receipt.offset == number, key
            other = await api.post("/api/v1/publish", json=keyed | {"payload": {}})
            assert other.status_code == 409, key
            # A user's keys are their own.
            said = keyed | {"channel": "room:said"}
            answers = [await admin.command("publish", said) for _ in range(2)]
            assert [answer["data"]["offset"] for answer in answers] == [number, number], key
            answer = await admin.command("publish", said | {"payload": {}})
            assert answer["data"]["code"] == "conflict", key


async def test_the_description_says_the_same(stranger: httpx.AsyncClient) -> None:
    """The pattern in `/openapi.json` takes what the server takes, wherever a key may stand."""
    schemas = (await stranger.get("/openapi.json")).json()["components"]["schemas"]
    patterns = {
        each["pattern"]
        for name in ("Publish", "Broadcast")
        for each in schemas[name]["properties"]["idempotency_key"]["anyOf"]
        if "pattern" in each
    }
    [pattern] = patterns
    # Python's `$` lets a final line break pass, which that of JSON Schema does not.
    fits = re.compile(pattern.replace("$", r"\Z")).search

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=130))
    def agree(text: str) -> None:
        assert (fits(text) is not None) == is_idempotency_key(text)

    agree()
    for text in (*WRONG, *ODD):
        assert (fits(text) is not None) == is_idempotency_key(text)
