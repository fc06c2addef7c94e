"""The plain HTTP pages, over the front door."""

import trio
from support.site import Site

from tidings.server.edge.front import Front
from tidings.server.http import Request, Response


async def _get(site: Site, target: str, method: str = "GET") -> tuple[int, dict[str, str], object]:
    client = await site.open()
    await client.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return await client.response()


async def test_health_and_readiness_differ_only_in_the_drain(site: Site) -> None:
    """/healthz answers 200 as long as the loop turns; /readyz answers 503 once the server drains."""
    assert (await _get(site, "/healthz"))[::2] == (200, {"status": "ok"})
    assert (await _get(site, "/readyz"))[::2] == (200, {"status": "ready"})
    site.server.context.draining = True
    status, headers, _ = await _get(site, "/readyz")
    assert (status, headers["retry-after"]) == (503, "5")
    assert (await _get(site, "/healthz"))[0] == 200


async def test_the_page_says_what_this_is_and_loads_nothing(site: Site) -> None:
    """/ is a page about this server, under a policy that lets it load nothing from anywhere."""
    status, headers, page = await _get(site, "/")
    assert status == 200
    assert isinstance(page, bytes)
    assert b"Tidings" in page
    assert b"{{" not in page
    assert headers["content-security-policy"].startswith("default-src 'none'")


async def test_unknown_paths_and_methods_are_refused(site: Site) -> None:
    """404 for a path that is not there, 405 with Allow for a method that is not."""
    assert (await _get(site, "/nothing"))[0] == 404
    status, headers, _ = await _get(site, "/", "DELETE")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def _with_http(site: Site, handler: object) -> None:
    front: Front = site.server.front
    front._http = handler  # type: ignore[assignment]


async def test_a_handler_that_fails_is_answered(site: Site) -> None:
    """A fault behind the HTTP surface is a 500 with a JSON body, not a closed socket."""

    async def failing(request: Request) -> Response:
        raise RuntimeError("secret detail")

    _with_http(site, failing)
    status, _, body = await _get(site, "/")
    assert status == 500
    assert "secret detail" not in str(body)


async def test_a_handler_that_hangs_is_answered(site: Site) -> None:
    """A handler beyond `handler_timeout` is a 503 with Retry-After."""

    async def hanging(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    _with_http(site, hanging)
    status, headers, _ = await _get(site, "/")
    assert (status, headers["retry-after"]) == (503, "5")
