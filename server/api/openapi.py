"""`/openapi.json`: the routes described for people and for generators of clients."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag

from tidings.protocol.close_codes import CloseCode, is_sendable
from tidings.server.api.errors import ErrorBody
from tidings.server.api.static import StaticFile

_DESCRIPTION = """\
Publish to users, groups, rooms and everybody who is connected, see who that is, and end connections.

Credentials: `Authorization: Bearer <token>` of somebody with the role `admin`, or `X-API-Key`. Every refusal
has the body `{"error": {"code", "message"}}`. Bodies are JSON in UTF-8; unknown fields are ignored, and the last
of duplicate keys wins.
"""

_TAGS = [
    Tag("publishing", "What is published reaches everybody who is subscribed to the channel."),
    Tag("users", "The connections of one user."),
    Tag("inspection", "What the server is doing."),
    Tag("health", "For load balancers and process managers."),
]

# A header that goes with a status, whatever the route.
_HEADERS = {
    "401": ("WWW-Authenticate", "string", "Bearer"),
    "405": ("Allow", "string", "The methods that the path takes."),
    "429": ("Retry-After", "integer", "Seconds to wait."),
    "503": ("Retry-After", "integer", "Seconds to wait."),
}


def openapi_config(version: str) -> OpenAPIConfig:
    """How the application is described. Nothing of it is served by Litestar: its pages load from elsewhere."""
    return OpenAPIConfig(
        title="Tidings",
        version=version,
        description=_DESCRIPTION,
        tags=_TAGS,
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    bearer_format="JWT",
                    description="A token with the role admin.",
                ),
                "api_key": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="One of the keys in auth.api_keys.",
                ),
            }
        ),
        render_plugins=[JsonRenderPlugin()],
        path="/schema",
    )


def document(make: Callable[[OpenAPIConfig], Litestar], version: str) -> StaticFile:
    """The description of the application that `make` puts together. Takes some 50 ms: not for the loop."""
    described = make(openapi_config(version))
    schema: dict[str, Any] = described.openapi_schema.to_schema()
    schema["paths"] |= _health()
    bodies: dict[str, Any] = schema["components"]["schemas"]
    # Of a Struct Litestar tells less than msgspec does: patterns of items, what `null` may stand beside.
    bodies |= {name: body for name, body in _structs(described).items() if name in bodies}
    bodies["Results"]["properties"]["results"]["items"] = {
        "oneOf": [_reference("Published"), _reference("ErrorBody")]
    }
    bodies["CloseCode"]["enum"] = sorted(filter(is_sendable, CloseCode))
    for item in schema["paths"].values():
        for operation in item.values():
            _mend(operation)
    body = msgspec.json.encode(_portable(schema))
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return StaticFile(
        body, "application/json", etag, [(b"ETag", etag.encode()), (b"Cache-Control", b"no-cache")]
    )


def _structs(described: Litestar) -> dict[str, Any]:
    """What msgspec says of the Structs in bodies and answers, by name."""
    kinds: set[type[msgspec.Struct]] = {ErrorBody}
    for route in described.routes:
        for handler in getattr(route, "route_handlers", ()):
            for field in (handler.parsed_data_field, handler.parsed_return_field):
                kind = None if field is None else field.annotation
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                    kinds.add(kind)
    in_order = sorted(kinds, key=lambda kind: kind.__qualname__)
    return msgspec.json.schema_components(in_order, ref_template="#/components/schemas/{name}")[1]


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _mend(operation: dict[str, Any]) -> None:
    """Say what Litestar cannot be told: headers of refusals, their shape, and that a body may be left out."""
    for answer in operation["responses"].values():
        for content in answer.get("content", {}).values():
            # Of a route with parameters Litestar says that it refuses wrong ones in its own way.
            if {"status_code", "detail"} <= set(content["schema"].get("properties", ())):
                content["schema"] = _reference("ErrorBody")
    for status, (name, kind, words) in _HEADERS.items():
        if status in operation["responses"]:
            header = {"description": words, "schema": {"type": kind}}
            operation["responses"][status]["headers"] = {name: header}
    if operation.get("operationId") == "disconnectUser":
        operation["requestBody"]["required"] = False


def _portable(value: Any) -> Any:
    r"""Patterns as ECMA 262 has them: msgspec takes Python's, which anchor with \A and \Z."""
    if isinstance(value, dict):
        return {
            key: _anchored(inner) if key == "pattern" and isinstance(inner, str) else _portable(inner)
            for key, inner in value.items()
        }
    return [_portable(inner) for inner in value] if isinstance(value, list) else value


def _anchored(pattern: str) -> str:
    if pattern.startswith(r"\A") and pattern.endswith(r"\Z"):
        return f"^{pattern[2:-2]}$"
    return pattern


def _health() -> dict[str, Any]:
    def described(operation_id: str, summary: str, status: str, answers: dict[str, str]) -> dict[str, Any]:
        fine = {"type": "object", "required": ["status"], "properties": {"status": {"const": status}}}
        refused = _reference("ErrorBody")
        return {
            "get": {
                "operationId": operation_id,
                "summary": summary,
                "tags": ["health"],
                "security": [],
                "responses": {
                    code: {
                        "description": words,
                        "content": {"application/json": {"schema": fine if code == "200" else refused}},
                    }
                    for code, words in answers.items()
                },
            }
        }

    return {
        "/healthz": described(
            "healthz", "Whether the process runs", "ok", {"200": "It runs, and its loop turns."}
        ),
        "/readyz": described(
            "readyz",
            "Whether new connections are welcome",
            "ready",
            {"200": "They are.", "503": "The server is shutting down."},
        ),
    }
