"""`/openapi.json`: the routes described for people and for generators of clients."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import msgspec
import structlog
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.routes import HTTPRoute
from litestar.types import Method

from tidings.server.answers import ErrorBody
from tidings.server.api.schemas import WHERE, Schemas, Structs
from tidings.server.api.static import StaticFile
from tidings.server.extension.app import OURS
from tidings.server.extension.routes import claim

_DESCRIPTION = """\
Publish to users, groups, rooms and everybody who is connected, see who that is, and end connections.

Credentials: `Authorization: Bearer <token>` of somebody with the role `admin`, or `X-API-Key`; where callers ask
about themselves anybody's token will do. Every refusal has the body `{"error": {"code", "message"}}`. Bodies are
JSON in UTF-8; unknown fields are refused, and the last of duplicate keys wins.
"""

_TAGS = [
    Tag("publishing", "What is published reaches everybody who is subscribed to the channel."),
    Tag("history", "What channels keep."),
    Tag("users", "The connections of one user."),
    Tag("tokens", "Ending tokens before their time."),
    Tag("presence", "Who is there."),
    Tag(
        "accounts",
        "The users that this server keeps: logging in and out, one's own account, and everybody's for whoever "
        "has the role `admin`.",
    ),
    Tag(
        "notifications",
        "What is shown to users: stored first, pushed second; and the routes of the document that it comes from.",
    ),
    Tag(
        "rooms",
        "Rooms that are kept: who owns them, who is in, who may enter and speak, and what was said.",
    ),
    Tag(
        "lines", "The line board: groups and their activation codes, and what their devices have reported."
    ),
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


# Where nobody would put a route of their own: Litestar wants a place to serve the description at.
_NOWHERE = "/-tidings-description-"

# Between an operation id that was made up and the number that makes it unlike all others.
_NUMBER = "#"

_WITHOUT_APPS = """
The routes of apps are missing here: describing them failed, and the server's log says why.
"""

_log = structlog.get_logger("tidings.api")


@dataclass
class Description(OpenAPIConfig):
    """How the application is described. Nothing of it is served by Litestar: its pages load from elsewhere."""

    with_apps: bool = True
    """Whether the routes of apps are described too."""


def description(version: str, *, with_apps: bool = True) -> Description:
    """What Litestar is told."""
    numbers = count()

    def operation_id(handler: HTTPRouteHandler, method: Method, path: Any) -> str:
        # Litestar's own for two routes may be the same, and then it gives up.
        return f"{OpenAPIConfig.operation_id_creator(handler, method, path)}{_NUMBER}{next(numbers)}"

    return Description(
        title="Tidings",
        version=version,
        description=_DESCRIPTION if with_apps else _DESCRIPTION + _WITHOUT_APPS,
        tags=_TAGS,
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    bearer_format="JWT",
                    description="A token with the role admin; anybody's where callers ask about themselves.",
                ),
                "api_key": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="One of the keys in auth.api_keys, or of a service in auth.service_keys.",
                ),
            }
        ),
        operation_id_creator=operation_id,
        render_plugins=[JsonRenderPlugin()],
        path=_NOWHERE,
        with_apps=with_apps,
    )


def document(make: Callable[[Description], Litestar], version: str) -> StaticFile:
    """The description of the application that `make` puts together. Takes some 50 ms: not for the loop.

    Where the routes of apps cannot be described, that is logged and they are left out: whatever apps do,
    there is an answer that can be kept, and nobody makes the server try again.
    """
    try:
        schema = _schema(make(description(version)))
    except Exception as error:
        _log.error("the routes of apps cannot be described", exc_info=error)
        schema = _schema(make(description(version, with_apps=False)))
    body = msgspec.json.encode(_portable(schema))
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return StaticFile(
        body, "application/json", etag, [(b"ETag", etag.encode()), (b"Cache-Control", b"no-cache")]
    )


def _schema(described: Litestar) -> dict[str, Any]:
    schema: dict[str, Any] = described.openapi_schema.to_schema()
    schemas = Schemas()
    schemas.bring({f"{WHERE}{name}": told for name, told in schema["components"]["schemas"].items()})
    structs = Structs(schemas)
    health = _health(structs.described(ErrorBody))
    # Ours come first, so nobody else's Struct takes the name of one of ours.
    operations = sorted(_operations(described, schema["paths"]), key=lambda each: each.owner is not None)
    _name_operations(operations)
    for each in operations:
        _mend(each.told, structs)
        _mend_bounds(each)
        _mend_body(each)
        _describe_bodies(each, structs)
        placed = schemas.placed(each.told, each.owner)
        each.told.clear()
        each.told.update(placed)
    schema["paths"] |= schemas.placed(health, None)
    # Of an app that is not here there is nothing to say.
    used = {
        tag for item in schema["paths"].values() for each in item.values() for tag in each.get("tags", ())
    }
    schema["tags"] = [tag for tag in schema["tags"] if tag["name"] in used]
    schema["components"]["schemas"] = dict(sorted(schemas.named.items()))
    return schema


@dataclass(slots=True, frozen=True)
class _Operation:
    handler: HTTPRouteHandler
    owner: str | None
    """The app's name; None for ours."""
    told: dict[str, Any]
    """Its part of the document."""


def _operations(described: Litestar, paths: dict[str, Any]) -> Iterator[_Operation]:
    owners: Mapping[str, str] = described.state.owners
    for route in described.routes:
        for method, (handler, _) in route.route_handler_map.items() if isinstance(route, HTTPRoute) else ():
            told = paths.get(route.path_format or "/", {}).get(method.lower())
            if told is not None:
                owner = owners.get(claim(route, method), OURS)
                yield _Operation(handler, None if owner == OURS else owner, told)


def _name_operations(operations: Iterable[_Operation]) -> None:
    """Take the numbers from the ids that were made up, where they are not needed."""
    taken = {each.told["operationId"] for each in operations if each.handler.operation_id is not None}
    for each in operations:
        if each.handler.operation_id is None:
            name = each.told["operationId"].rpartition(_NUMBER)[0]
            numbered = (f"{name}{number}" for number in count(2))
            each.told["operationId"] = next(free for free in chain((name,), numbered) if free not in taken)
            taken.add(each.told["operationId"])


def _describe_bodies(operation: _Operation, structs: Structs) -> None:
    """Describe what is taken and answered as msgspec does, where it is a Struct as it stands."""
    handler, told = operation.handler, operation.told
    parts = []
    if handler.parsed_data_field is not None and handler.resolve_data_dto() is None:
        parts.append((handler.parsed_data_field.annotation, told.get("requestBody", {})))
    if handler.resolve_return_dto() is None:
        answer = told["responses"].get(str(handler.status_code), {})
        parts.append((handler.parsed_return_field.annotation, answer))
    for status, spec in (handler.responses or {}).items():
        parts.append((spec.data_container, told["responses"].get(str(status), {})))
    for kind, part in parts:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            for content in part.get("content", {}).values():
                # Else the handler says more of it, which would be lost.
                if set(content["schema"]) == {"$ref"}:
                    content["schema"] = structs.described(kind) or content["schema"]


def _mend(operation: dict[str, Any], structs: Structs) -> None:
    """Say what Litestar cannot be told: headers of refusals, their shape, and that a body may be left out."""
    for answer in operation["responses"].values():
        for content in answer.get("content", {}).values():
            # Of a route with parameters Litestar says that it refuses wrong ones in its own way.
            if {"status_code", "detail"} <= set(content["schema"].get("properties", ())):
                content["schema"] = structs.described(ErrorBody)
    for status, (name, kind, words) in _HEADERS.items():
        if status in operation["responses"]:
            header = {"description": words, "schema": {"type": kind}}
            operation["responses"][status].setdefault("headers", {}).setdefault(name, header)


def _mend_bounds(operation: _Operation) -> None:
    """Say the bounds of parameters that are 0: Litestar takes them for none."""
    fields = operation.handler.parsed_fn_signature.parameters
    for parameter in operation.told.get("parameters", ()):
        field = fields.get(parameter["name"])
        kwarg = None if field is None else field.kwarg_definition
        for ours, theirs in (("ge", "minimum"), ("le", "maximum")) if kwarg is not None else ():
            if getattr(kwarg, ours) == 0:
                parameter["schema"].setdefault(theirs, 0)


def _mend_body(operation: _Operation) -> None:
    """Say which bodies may be left out: Litestar takes all for required."""
    field = operation.handler.parsed_data_field
    if field is not None and field.has_default:
        operation.told["requestBody"]["required"] = False


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


def _health(refused: dict[str, str] | None) -> dict[str, Any]:
    def described(operation_id: str, summary: str, status: str, answers: dict[str, str]) -> dict[str, Any]:
        fine = {"type": "object", "required": ["status"], "properties": {"status": {"const": status}}}
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
