"""Refusals are counted by where and why, so that an operator sees what is going on at the door."""

from support.site import Site


async def _refusals(site: Site) -> dict[str, float]:
    """The samples of `tidings_refusals_total`, by their labels."""
    client = await site.open()
    token = site.token("root", roles=["admin"])
    await client.send(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    status, _, body = await client.response()
    assert status == 200
    await client.aclose()
    lines = [line for line in body.decode().splitlines() if line.startswith("tidings_refusals_total{")]
    return {line.partition("{")[2].partition("}")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def test_refusals_at_the_door_and_in_band_are_counted(site: Site) -> None:
    """A bad head, a handshake without a good token, a wrong command: each by its place and cause."""
    assert await _refusals(site) == {}
    broken = await site.open()
    await broken.send(b"GET / HTTP/1.1\nHost: x\n\n")
    assert (await broken.response())[0] == 400
    stranger = await site.open()
    assert (await stranger.handshake(token="a.b.c"))[0] == 401
    alice = await site.connect("alice")
    for _ in range(2):
        assert (await alice.command("nonsense"))["type"] == "error"
    assert await _refusals(site) == {
        'cause="400",where="head"': 1,
        'cause="401",where="handshake"': 1,
        'cause="unknown_type",where="command"': 2,
    }
