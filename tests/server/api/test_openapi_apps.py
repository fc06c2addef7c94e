"""The description of a server with apps: whatever their types are called, it is there, and it is true."""

from typing import Any

import msgspec
import pytest
import structlog.testing
from litestar import Router, get, post, route
from litestar.dto import DTOConfig, MsgspecDTO
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from support.exchanges import MemoryExchange, request
from support.site import configured

from tidings.server.app import Server
from tidings.server.extension import App, CloseCode, ConnectionInfo


def _app(name: str, *handlers: HTTPRouteHandler | Router) -> App:
    app = App(name)
    app.routes(*handlers)
    return app


async def _ask(server: Server, target: str = "/openapi.json") -> MemoryExchange:
    exchange = MemoryExchange(request(target))
    await server.front._http(exchange)
    return exchange


async def _document(*apps: App) -> Any:
    """What a server with these apps says, which is whole, without a word in the log."""
    with structlog.testing.capture_logs() as logs:
        exchange = await _ask(Server(configured(), apps=apps))
    assert (exchange.status, logs) == (200, [])
    document = exchange.json
    described = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert _references(document) == described
    ids = [each["operationId"] for item in document["paths"].values() for each in item.values()]
    assert len(set(ids)) == len(ids)
    return document


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


def _schema(document: Any, reference: dict[str, str]) -> Any:
    return document["components"]["schemas"][reference["$ref"].rpartition("/")[2]]


def _answer(document: Any, path: str, method: str = "get") -> Any:
    """The schema of what a route answers when all is well."""
    (status,) = (each for each in document["paths"][path][method]["responses"] if each < "300")
    return document["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]


def _answering(kind: Any, path: str) -> HTTPRouteHandler:
    async def answer() -> Any:
        """Never asked."""

    answer.__annotations__["return"] = kind
    return get(path)(answer)


def _of_ours(document: Any) -> dict[str, Any]:
    return {
        path: item
        for path, item in document["paths"].items()
        if path in ("/metrics", "/healthz", "/readyz") or path.startswith("/api/v1/")
    }


async def test_apps_may_call_their_structs_as_we_call_ours() -> None:
    """All of our names at once: ours keep them and say what they said, theirs are described beside them."""
    alone = await _document()
    ours = alone["components"]["schemas"]
    assert {"Results", "Published", "ErrorBody", "ErrorDetail", "Publish", "CloseCode"} <= set(ours)
    kinds = {
        name: msgspec.defstruct(name, [(f"own_{name.lower()}", str)], module="polls.types") for name in ours
    }
    bodies: Any = JSONBody  # of which mypy takes no type that is made
    taken, several = bodies[kinds["Publish"]], list.__class_getitem__(kinds["Published"])

    async def take(data: Any) -> Any:
        """Never asked."""

    take.__annotations__ |= {"data": taken, "return": several}
    document = await _document(
        _app(
            "polls",
            *(_answering(kind, f"/polls/{name}") for name, kind in kinds.items()),
            post("/polls")(take),
        )
    )
    assert {name: document["components"]["schemas"][name] for name in ours} == ours
    assert _of_ours(document) == alone["paths"]
    for name in kinds:
        theirs = _answer(document, f"/polls/{name}")
        assert theirs == {"$ref": f"#/components/schemas/polls_{name}"}
        assert list(_schema(document, theirs)["properties"]) == [f"own_{name.lower()}"]
    body = document["paths"]["/polls"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/polls_Publish"}
    (reference,) = _references(_answer(document, "/polls", "post"))
    assert list(_schema(document, {"$ref": reference})["properties"]) == ["own_published"]


class Inner(msgspec.Struct):
    """Of one app."""

    one: int
    back: "Outer | None" = None


class Outer(msgspec.Struct):
    """It and Inner refer to each other."""

    inner: Inner
    code: CloseCode
    who: ConnectionInfo


async def test_two_apps_may_use_one_name_for_two_things() -> None:
    """The second is told by its app's name, with all that refers to it; what is the same is described once."""
    inner = msgspec.defstruct("Inner", [("two", str)], module="second.types")
    outer = msgspec.defstruct("Outer", [("inner", inner)], module="second.types")
    document = await _document(
        _app("first", _answering(Outer, "/first")),
        _app("second", _answering(outer, "/second"), _answering(inner, "/second/inner")),
        _app("third", _answering(Outer, "/third"), _answering(Inner, "/third/inner")),
    )
    schemas = document["components"]["schemas"]
    assert (
        _answer(document, "/first") == _answer(document, "/third") == {"$ref": "#/components/schemas/Outer"}
    )
    assert _answer(document, "/third/inner") == {"$ref": "#/components/schemas/Inner"}
    assert {"$ref": "#/components/schemas/Outer"} in schemas["Inner"]["properties"]["back"]["anyOf"]
    assert _answer(document, "/second") == {"$ref": "#/components/schemas/second_Outer"}
    assert schemas["second_Outer"]["properties"]["inner"] == {"$ref": "#/components/schemas/second_Inner"}
    assert _answer(document, "/second/inner") == {"$ref": "#/components/schemas/second_Inner"}
    # What we lend them is described as with us.
    assert schemas["Outer"]["properties"]["code"] == {"$ref": "#/components/schemas/CloseCode"}
    assert schemas["Outer"]["properties"]["who"] == {"$ref": "#/components/schemas/ConnectionInfo"}
    assert "third_Inner" not in schemas


def _made(field: str) -> type[msgspec.Struct]:
    """A Struct whose qualified name is that of all others made here."""

    class Made(msgspec.Struct):
        """Made."""

    return msgspec.defstruct("Made", [(field, int)], bases=(Made,), module=__name__)


async def test_structs_of_one_qualified_name_are_told_apart() -> None:
    """As a function makes them that makes apps: each route is described by its own."""
    document = await _document(
        *(_app(name, _answering(_made(f"{name}_field"), f"/{name}")) for name in ("red", "blue"))
    )
    for name in ("red", "blue"):
        assert list(_schema(document, _answer(document, f"/{name}"))["properties"]) == [f"{name}_field"]


class Cat(msgspec.Struct, tag=True):
    """A member of a union."""


class Dog(msgspec.Struct, tag=True):
    """Another."""


class Pet(msgspec.Struct):
    """A tagged union refers to its members twice."""

    pet: Cat | Dog


async def test_a_tagged_unions_references_lead_somewhere() -> None:
    """Also those by which a client tells its members apart."""
    document = await _document(_app("pets", _answering(Pet, "/pets")))
    union = document["components"]["schemas"]["Pet"]["properties"]["pet"]
    assert union["discriminator"]["mapping"] == {
        name: f"#/components/schemas/{name}" for name in ("Cat", "Dog")
    }


class _Short(MsgspecDTO[Inner]):
    config = DTOConfig(exclude={"back"})


async def test_what_a_route_says_of_itself_stands() -> None:
    """A DTO's form of a Struct, a refusal of its own, and a type that msgspec cannot describe."""

    class Strange:
        """No Struct."""

    odd = msgspec.defstruct("Odd", [("what", Strange)], module=__name__)

    @get("/short", return_dto=_Short, responses={404: ResponseSpec(Dog, generate_examples=False)})
    async def short() -> Inner:
        return Inner(1)

    document = await _document(_app("odd", short, _answering(odd, "/odd")))
    assert list(_schema(document, _answer(document, "/short"))["properties"]) == ["one"]
    refused = document["paths"]["/short"]["get"]["responses"]["404"]["content"]["application/json"][
        "schema"
    ]
    assert refused == {"$ref": "#/components/schemas/Dog"}
    assert list(_schema(document, _answer(document, "/odd"))["properties"]) == ["what"]


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json", "/openapi", "/schema/{name:str}"])
async def test_no_path_is_kept_for_the_descriptions_maker(path: str) -> None:
    """What is not ours is an app's to answer, and is described."""
    handler = get(path)(_one_named) if "{" in path else _answering(Cat, path)
    server = Server(configured(), apps=[_app("mine", handler)])
    document = (await _ask(server)).json
    assert path.replace(":str", "") in document["paths"]


async def _one_named(name: FromPath[str]) -> str:
    return name


async def test_ids_that_nobody_chose_give_way() -> None:
    """Routes whose made-up ids would be the same, and one that chose what another's would be."""

    @get("/red/votes")
    async def votes() -> None: ...

    @get("/red-/votes", name="again")
    async def votes_too() -> None: ...

    @route(["/both", "/both/{name:str}"], http_method=["GET", "POST"], status_code=200)
    async def both(name: FromPath[str] = "") -> None: ...

    votes_too.fn.__name__ = "votes"
    document = await _document(
        _app("red", votes, votes_too, both), _app("blue", get("/x", operation_id="RedVotesVotes")(_nothing))
    )
    ids = {path: each["operationId"] for path, item in document["paths"].items() for each in item.values()}
    assert (ids["/x"], ids["/red/votes"], ids["/red-/votes"]) == (
        "RedVotesVotes", "RedVotesVotes2", "RedVotesVotes3")  # fmt: skip


async def _nothing() -> None: ...


async def test_a_description_that_fails_costs_one_attempt() -> None:
    """Our own routes are described all the same; the failure is logged once, whoever asks how often."""

    attempts = []

    def once(*_: object) -> str:
        attempts.append(1)
        if len(attempts) > 1:  # the first is the check at the start
            raise RuntimeError("no id for this")
        return "fine"

    server = Server(configured(), apps=[_app("faulty", get("/faulty", operation_id=once)(_nothing))])
    with structlog.testing.capture_logs() as logs:
        first, second = [await _ask(server) for _ in range(2)]
    assert [line["event"] for line in logs] == ["the routes of apps cannot be described"]
    assert logs[0]["exc_info"] is not None
    assert (first.status, first.content) == (200, second.content)
    assert len(attempts) == 2
    assert set(first.json["paths"]) == set((await _document())["paths"])
    assert "routes of apps are missing" in first.json["info"]["description"]
    assert "routes of apps are missing" not in (await _document())["info"]["description"]
