"""The description of the API: complete enough to make a client from, and true."""

from importlib.metadata import version
from typing import Any

import httpx
import pytest

DOCUMENTED = {
    ("post", "/api/v1/publish"): "publish",
    ("post", "/api/v1/publish/batch"): "publishBatch",
    ("post", "/api/v1/broadcast"): "broadcast",
    ("get", "/api/v1/stats"): "serverStats",
    ("get", "/api/v1/channels"): "listChannels",
    ("get", "/api/v1/monitor"): "monitor",
    ("get", "/api/v1/about"): "aboutServer",
    ("get", "/api/v1/whoami"): "whoAmI",
    ("get", "/api/v1/presence/{channel}"): "channelPresence",
    ("get", "/api/v1/users/online"): "onlineUsers",
    ("get", "/api/v1/history/{channel}"): "channelHistory",
    ("delete", "/api/v1/history/{channel}"): "clearHistory",
    ("post", "/api/v1/tokens/revoke"): "revokeTokens",
    ("get", "/api/v1/users/{user_id}/presence"): "userPresence",
    ("get", "/api/v1/users/{user_id}/connections"): "userConnections",
    ("post", "/api/v1/users/{user_id}/disconnect"): "disconnectUser",
    ("post", "/api/v1/users/{user_id}/unsubscribe"): "unsubscribeUser",
    ("get", "/metrics"): "metrics",
    ("get", "/healthz"): "healthz",
    ("get", "/readyz"): "readyz",
}

GUARDED = {"400", "401", "403", "404", "405", "408", "429", "431", "500", "503"}


# What nobody has to log in for, and what everybody may ask who has.
OPEN = {"aboutServer"}
ANYBODYS = {"whoAmI"}


@pytest.fixture
async def document(stranger: httpx.AsyncClient) -> Any:
    """The document, which anybody may read."""
    response = await stranger.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    return response.json()


async def test_it_lists_every_operation(document: Any) -> None:
    """With the ids that generated clients name their methods by, a summary and a tag."""
    found = {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert {key: operation["operationId"] for key, operation in found.items()} == DOCUMENTED
    assert all(operation["summary"] and operation["tags"] for operation in found.values())
    assert document["info"]["version"] == version("tidings")
    assert document["openapi"].startswith("3.1")


async def test_every_refusal_is_described(document: Any) -> None:
    """Every status that a guarded route may answer, with the body that all refusals have."""
    for item in document["paths"].values():
        for operation in item.values():
            if "health" in operation["tags"]:
                continue
            expected = GUARDED | ({"413", "415", "417"} if "requestBody" in operation else set())
            if operation["operationId"] in OPEN:
                assert "security" not in operation
                expected -= {"401", "403"}
            else:
                assert operation["security"] == [{"token": []}, {"api_key": []}]
            if operation["operationId"] in ANYBODYS:
                expected -= {"403"}
            assert expected <= set(operation["responses"]), operation["operationId"]
            for status, answer in operation["responses"].items():
                if status != "200":
                    assert answer["content"] == {
                        "application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}
                    }
    assert "409" in document["paths"]["/api/v1/publish"]["post"]["responses"]
    publish = document["paths"]["/api/v1/publish"]["post"]["responses"]
    assert {status: list(publish[status]["headers"]) for status in ("401", "405", "429", "503")} == {
        "401": ["WWW-Authenticate"], "405": ["Allow"], "429": ["Retry-After"], "503": ["Retry-After"]
    }  # fmt: skip


async def test_bodies_are_described_to_their_fields(document: Any) -> None:
    """Types, bounds, patterns as other languages read them, words and examples."""
    schemas = document["components"]["schemas"]
    publish = schemas["Publish"]
    assert publish["required"] == ["channel", "event", "payload"]
    assert publish["properties"]["channel"]["pattern"].startswith("^(?:all|user:")
    assert publish["properties"]["channel"]["pattern"].endswith("$")
    assert publish["properties"]["channel"]["examples"] == ["room:lobby"]
    assert all("description" in str(field) for field in publish["properties"].values())
    assert schemas["Broadcast"]["properties"]["channels"]["default"] == ["all"]
    assert 1005 not in schemas["CloseCode"]["enum"]
    assert 3503 in schemas["CloseCode"]["enum"]
    body = document["paths"]["/api/v1/users/{user_id}/disconnect"]["post"]["requestBody"]
    assert body["required"] is False
    assert document["paths"]["/api/v1/publish"]["post"]["requestBody"]["required"] is True
    assert set(document["components"]["securitySchemes"]) == {"token", "api_key"}


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


async def test_every_reference_leads_somewhere(document: Any) -> None:
    """And nothing is described that no operation uses."""
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert _references(document) == schemas
    assert "\\A" not in str(document)
    assert "\\Z" not in str(document)


async def test_it_is_made_once_and_revalidated(stranger: httpx.AsyncClient) -> None:
    """The same bytes under the same ETag; 304 to who has them."""
    first, second = [await stranger.get("/openapi.json") for _ in range(2)]
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    known = await stranger.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
