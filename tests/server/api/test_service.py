"""What is answered over plain HTTP beside the API's own routes, and how the routes of apps are treated."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import httpx
import msgspec
import pytest
import structlog.testing
import trio
from litestar import get, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException, ImproperlyConfiguredException, NotFoundException
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from litestar.types import ControllerRouterHandler
from support.exchanges import MemoryExchange, request
from support.site import SECRET, Site, configured
from support.tokens import forged

from tidings.server.access import Caller, admins_only, users_only
from tidings.server.api.application import Parts
from tidings.server.api.service import Service
from tidings.server.app import Server
from tidings.server.config import Auth
from tidings.server.http import BodyRefused, PeerGone, refusal
from tidings.server.metrics import Metrics
from tidings.server.push import Push

KEY = "a-key-of-the-tests"


class Vote(msgspec.Struct):
    """An app's own body."""

    choice: Annotated[str, msgspec.Meta(max_length=5)]
    weight: int = 1


@post("/polls/{poll:str}/votes", guards=[users_only], status_code=200)
async def vote(
    poll: FromPath[str], data: JSONBody[Vote], push: NamedDependency[Push], caller: Caller
) -> dict[str, Any]:
    """An app's route as an app writes it."""
    position = await push.to_room(poll, "vote", {"who": caller.user_id, "choice": data.choice})
    return {"offset": position.offset}


@get("/whoami")
async def whoami(caller: Caller) -> str:
    """Asks who calls without a guard."""
    return caller.user_id


@get("/secrets", guards=[admins_only])
async def secrets() -> str:
    """For admins."""
    return "none"


@get("/faulty")
async def faulty() -> str:
    """Fails."""
    raise RuntimeError("secret detail")


@get("/unserializable")
async def unserializable() -> Any:
    """Returns what no body can be made of."""
    return object()


@get("/missing/{thing:str}")
async def missing(thing: FromPath[str]) -> str:
    """Refuses as Litestar's own applications do."""
    raise NotFoundException(detail=f"no {thing}")


@get("/busy")
async def busy() -> str:
    """Refuses with a status that asks for a header."""
    raise HTTPException(status_code=503, detail="not now")


@get("/behind/{status:int}")
async def behind(status: FromPath[int]) -> str:
    """Tells of a server behind it, as a proxy does."""
    raise HTTPException(status_code=status, detail="the archive does not answer")


@get("/slow")
async def slow() -> None:
    """Never answers."""
    await trio.sleep_forever()


@get("/stream")
async def stream() -> Stream:
    """Answers in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number

    return Stream(pieces(), media_type="text/plain")


HANDLERS = [vote, whoami, secrets, faulty, unserializable, missing, busy, behind, slow, stream]


class Web:
    """A server's HTTP service on exchanges of memory."""

    def __init__(self, handlers: Sequence[ControllerRouterHandler] = HANDLERS) -> None:
        self.server = Server(configured(auth=Auth(secret=SECRET, api_keys=(KEY,))))
        context = self.server.context
        self.metrics = Metrics(context.hub, context.refusals)
        parts = Parts(
            http=context.config.http,
            push=context.push,
            hub=context.hub,
            presence=context.presence,
            authenticator=context.authenticator,
            revoker=self.server.messaging.revoker,
            metrics=self.metrics,
            version="1.2.3",
            started=time.monotonic(),
        )
        self.service = Service(parts, origins=(), is_ready=lambda: not context.draining, handlers=handlers)

    async def ask(self, method: str, target: str, *body: bytes, **headers: str) -> MemoryExchange:
        """Ask, with headers by name."""
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        exchange = MemoryExchange(request(target, method, headers=fields), *body)
        await self.service(exchange)
        return exchange


@pytest.fixture(scope="module")
def web() -> Web:
    """A service with an app's routes; what a test does to it hurts no other."""
    return Web()


# --- fixed pages ---------------------------------------------------------------------------------


async def test_health_and_readiness_differ_only_in_the_drain(site: Site) -> None:
    """/healthz answers 200 as long as the loop turns; /readyz answers 503 once the server drains."""

    async def ask(path: str) -> tuple[int, dict[str, str], Any]:
        client = await site.open()
        await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return await client.response()

    assert (await ask("/healthz"))[::2] == (200, {"status": "ok"})
    assert (await ask("/readyz"))[::2] == (200, {"status": "ready"})
    site.server.context.draining = True
    status, headers, body = await ask("/readyz")
    assert (status, headers["retry-after"], body["error"]["code"]) == (503, "5", "unavailable")
    assert (await ask("/healthz"))[0] == 200


async def test_the_console_and_its_files_are_served(stranger: httpx.AsyncClient) -> None:
    """By exact path, to everybody, packed for whoever takes gzip, and 304 with the ETag that was given."""
    page = await stranger.get("/console/", headers={"Accept-Encoding": "identity"})
    assert page.status_code == 200
    assert "Tidings" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    packed = await stranger.get("/console/", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == page.text
    assert int(packed.headers["content-length"]) < int(page.headers["content-length"])
    again = await stranger.get("/console/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await stranger.head("/console/", headers={"Accept-Encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(page.content)


@pytest.mark.parametrize(
    "path",
    ["/console/..", "/console/%2e%2e/pages", "/console/lib/", "//", "/index.html", "/%2e%2e/etc/passwd"],
)
async def test_only_exact_paths_are_files(web: Web, path: str) -> None:
    """Dots, encoded slashes and doubled ones lead nowhere."""
    exchange = await web.ask("GET", path)
    assert (exchange.status, exchange.json["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/console/", "/openapi.json"])
async def test_pages_take_get_and_head(web: Web, path: str) -> None:
    """Anything else is 405, and says what would have been right."""
    exchange = await web.ask("POST", path)
    assert (exchange.status, exchange.headers["allow"]) == (405, "GET, HEAD")
    assert exchange.json["error"]["code"] == "bad_request"


async def test_unknown_paths_and_methods_are_refused_in_json(stranger: httpx.AsyncClient) -> None:
    """404 for what is not there; 405 with Allow for a method that is not."""
    for path in (
        "/nothing",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/users/a/b/c",
        "/schema",
        "/schema/openapi.json",
    ):
        response = await stranger.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found"), path
    response = await stranger.get("/api/v1/publish")
    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")
    response = await stranger.delete("/api/v1/stats")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert response.json()["error"]["code"] == "bad_request"


async def test_options_tells_what_a_path_takes(stranger: httpx.AsyncClient) -> None:
    """Without credentials: a client may look before it asks."""
    response = await stranger.options("/api/v1/publish")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "OPTIONS, POST"


async def test_a_path_that_is_not_utf_8_is_refused(web: Web) -> None:
    """400, before any route sees it."""
    exchange = await web.ask("GET", "/api/v1/users/%ff/connections", x_api_key=KEY)
    assert (exchange.status, exchange.json["error"]["code"]) == (400, "bad_request")


async def test_head_is_answered_wherever_get_is(api: httpx.AsyncClient) -> None:
    """With the length that the GET would have, and no body."""
    head, whole = await api.head("/api/v1/channels"), await api.get("/api/v1/channels")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


# --- routes of apps ------------------------------------------------------------------------------


async def test_an_apps_route_is_given_push_and_caller(web: Web) -> None:
    """By name: the server to push with, and who calls."""
    token = f"Bearer {forged()}"
    body = b'{"choice":"tea"}'
    exchange = await web.ask("POST", "/polls/lunch/votes", body, authorization=token)
    assert (exchange.status, exchange.json) == (200, {"offset": 1})
    assert (await web.ask("POST", "/polls/lunch/votes", body, x_api_key=KEY)).json == {"offset": 2}


async def test_an_apps_bodies_are_as_strict_as_ours(web: Web) -> None:
    """A number is no string of digits, and the message has the path."""
    for body, said in [
        (b'{"choice":"tea","weight":"2"}', "Expected `int`, got `str` - at `$.weight`"),
        (b'{"choice":"coffee"}', "Expected `str` of length <= 5 - at `$.choice`"),
        (b'{"choice":"\xff"}', "the body is not UTF-8"),
        (b"", "a JSON body is needed"),
    ]:
        exchange = await web.ask("POST", "/polls/lunch/votes", body, x_api_key=KEY)
        assert exchange.status == 400
        assert said in exchange.json["error"]["message"]


async def test_an_apps_guards_are_ours(web: Web) -> None:
    """`users_only` takes any good token, `admins_only` the role; `caller` asks by itself."""
    user = f"Bearer {forged()}"
    assert (await web.ask("POST", "/polls/x/votes", b"{}")).status == 401
    assert (await web.ask("GET", "/secrets")).status == 401
    assert (await web.ask("GET", "/secrets", authorization=user)).status == 403
    assert (await web.ask("GET", "/secrets", x_api_key=KEY)).status == 200
    assert (await web.ask("GET", "/whoami")).status == 401
    assert (await web.ask("GET", "/whoami", authorization=user)).content == b"alice"


@pytest.mark.parametrize("path", ["/faulty", "/unserializable"])
async def test_a_fault_is_told_and_logged_and_no_more(web: Web, path: str) -> None:
    """500 `internal`; what went wrong stands in the log and never in the answer."""
    with structlog.testing.capture_logs() as logs:
        exchange = await web.ask("GET", path)
    assert (exchange.status, exchange.json["error"]["code"]) == (500, "internal")
    assert b"secret" not in exchange.content
    assert b"Traceback" not in exchange.content
    assert [line["event"] for line in logs] == ["request failed"]
    assert logs[0]["exc_info"] is not None


async def test_an_apps_refusals_have_our_shape(web: Web) -> None:
    """Whatever exception of Litestar's it raises, with the headers that go with the status."""
    exchange = await web.ask("GET", "/missing/poll")
    assert (exchange.status, exchange.json) == (
        404, {"error": {"code": "not_found", "message": "no poll"}})  # fmt: skip
    exchange = await web.ask("GET", "/busy")
    assert (exchange.status, exchange.headers["retry-after"]) == (503, "5")
    assert exchange.json["error"] == {"code": "unavailable", "message": "not now"}


@pytest.mark.parametrize("status", [501, 502, 503, 504])
async def test_an_app_may_choose_a_status_of_gateways(web: Web, status: int) -> None:
    """What it says of a server behind it is its answer, and no fault of ours: nothing is logged."""
    with structlog.testing.capture_logs() as logs:
        exchange = await web.ask("GET", f"/behind/{status}")
    assert exchange.status == status
    assert exchange.json["error"] == {"code": "unavailable", "message": "the archive does not answer"}
    assert ("retry-after" in exchange.headers) is (status == 503)
    assert logs == []


@pytest.mark.parametrize("status", [500, 505, 599])
async def test_what_an_app_fails_with_is_internal(web: Web, status: int) -> None:
    """500 is what Litestar makes of faults, and so its detail stays in the log; so does what nobody chooses."""
    with structlog.testing.capture_logs() as logs:
        exchange = await web.ask("GET", f"/behind/{status}")
    assert (exchange.status, exchange.json["error"]["code"]) == (500, "internal")
    assert b"archive" not in exchange.content
    assert [line["event"] for line in logs] == ["request failed"]


async def test_an_apps_answer_may_come_in_pieces(web: Web) -> None:
    """Streams work on Trio, and end."""
    assert (await web.ask("GET", "/stream")).content == b"012"


async def test_an_apps_routes_are_described(web: Web) -> None:
    """Its bodies to their fields, and its refusals as what they are."""
    document = (await web.ask("GET", "/openapi.json")).json
    operation = document["paths"]["/polls/{poll}/votes"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Vote"}
    assert document["components"]["schemas"]["Vote"]["properties"]["choice"]["maxLength"] == 5
    refused = operation["responses"]["400"]["content"]["application/json"]["schema"]
    assert refused == {"$ref": "#/components/schemas/ErrorBody"}


def test_two_routes_for_one_path_and_method_refuse_to_start() -> None:
    """Nobody's route hides another's."""

    @post("/api/v1/publish")
    async def again() -> None: ...

    with pytest.raises(ImproperlyConfiguredException):
        Web([again])


async def test_every_end_of_a_request_is_counted(web: Web) -> None:
    """A refused body, a client that left, and a handler that was cut: each once, under its status."""
    web = Web()

    async def ask(*body: bytes, fails: Exception | None = None) -> None:
        head = request("/polls/x/votes", "POST", headers=[(b"x-api-key", KEY.encode())])
        await web.service(MemoryExchange(head, *body, fails=fails))

    await ask(b"{", fails=BodyRefused(refusal(413, "too_large", "no")))
    with pytest.raises(PeerGone):
        await ask(b"{", fails=PeerGone())
    with trio.move_on_after(0):
        await web.ask("GET", "/slow")
    lines = web.metrics.scrape().decode().splitlines()
    counted = [line for line in lines if line.startswith("tidings_http_requests_total{")]
    assert sorted(counted) == [
        'tidings_http_requests_total{method="GET",route="/slow",status="503"} 1.0',
        'tidings_http_requests_total{method="POST",route="/polls/{poll}/votes",status="413"} 1.0',
        'tidings_http_requests_total{method="POST",route="/polls/{poll}/votes",status="499"} 1.0',
    ]
