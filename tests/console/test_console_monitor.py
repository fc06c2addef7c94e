"""The monitor: what happens on the server shows on an administrator's page, within seconds and by itself."""

import re
import socket
from typing import Any

import httpx
import pytest
from support.console import LOST, Demo, Visitors, check_access, connected, playwright

pytestmark = pytest.mark.slow


# Who does not read is behind after some 8 MB, more than a kernel keeps for a connection, and not yet closed.
# The one that does not read is to be closed for what waits, and not because it answers no ping.
SETTINGS = ("limits.outbox_bytes=16777216", "heartbeat.ping_interval=600")
BEHIND = 134

# As many as fit a request's body.
AT_ONCE = 16


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


def knock(demo: Demo, token: str) -> tuple[socket.socket, bytes]:
    """Ask for a WebSocket, and read the first line of the answer and nothing more."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.settimeout(20)
    peer.connect(("127.0.0.1", demo.port))
    peer.sendall(
        f"GET /ws?token={token} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return peer, peer.recv(12)


def publish(http: httpx.Client, channel: str, count: int, text: str = "") -> None:
    """Publish the same so many times."""
    publication = {"channel": channel, "event": "e", "payload": {"text": text}}
    for first in range(0, count, AT_ONCE):
        body = {"publications": [publication] * min(AT_ONCE, count - first)}
        http.post("/api/v1/publish/batch", json=body).raise_for_status()


def report(http: httpx.Client) -> Any:
    return http.get("/api/v1/monitor").raise_for_status().json()


def test_what_happens_shows_by_itself(open_console: Visitors, demo: Demo) -> None:
    """A burst, a refusal, a slow consumer and its end: in figures, charts, tables, and in what to do about it; a
    page that was paused, or whose server was gone, has it all the same.
    """
    page = open_console("admin", "monitor", expected=LOST)
    expect(page, "#tile-connections").to_have_text("1")
    expect(page, "#deepest-title ~ .empty").to_be_visible()
    with demo.http() as http:
        body = [{"channel": "all", "event": "e", "payload": {"n": n}} for n in range(600)]
        http.post("/api/v1/publish/batch", json={"publications": body}).raise_for_status()
        refused, status = knock(demo, "nonsense")
        refused.close()
        assert status == b"HTTP/1.1 401"
        expect(page, "#loudest tr >> nth=0").to_have_text(re.compile(r"^all.*/s\s*1$"))
        expect(page, "#largest").to_contain_text("role:admin")
        expect(page, "#refusals").to_contain_text("handshake")
        told = re.compile(r"publications: now .*highest \d{2}.*deliveries: now .*highest \d{2}")
        expect(page, "#chart-flow svg[role=img]").to_have_attribute("aria-label", told)
        expect(page, "#tile-publications").to_have_text(re.compile(r"^\d.*/s$"))
        expect(page, "#latencies tr:has-text('Fan-out') td").to_have_text([re.compile(r"^[\d,.]+$")] * 4)

        page.click("#pause")
        sleeper, status = knock(demo, demo.tokens["alice"])
        assert status == b"HTTP/1.1 101"
        publish(http, "user:alice", BEHIND, "x" * 60_000)
        # Three samples later a page that was not paused would have asked.
        last = report(http)["samples"][-1]["at"]
        while len(http.get("/api/v1/monitor", params={"after": last}).json()["samples"]) < 3:
            page.wait_for_timeout(100)
        expect(page, "#tile-connections").to_have_text("1")
        page.click("#pause")
        expect(page, "#tile-connections").to_have_text("2")
        expect(page, "#deepest tr").to_have_text(re.compile(r"^alice.*(KiB|MiB).*127\.0\.0\.1"))
        expect(page, "#notes [data-key=slow]").to_have_count(0)
        check_access(page)
        while "3008" not in (closes := report(http)["totals"]["closes"]):
            assert "3012" not in closes
            publish(http, "user:alice", AT_ONCE, "x" * 60_000)
        expect(page, "#notes [data-key=slow]").to_contain_text("limits.outbox_bytes")
        expect(page, "#closes tr:has-text('3008')").to_have_text(re.compile(r"slow consumer\s*1$"))
        told = re.compile(r"slow consumers: now .*highest 1")
        expect(page, "#chart-trouble svg[role=img]").to_have_attribute("aria-label", told)
        sleeper.close()

    demo.stop()
    expect(page, "[role=alert]").to_contain_text("out of date")
    demo.start()
    connected(page)
    expect(page, ".notice [role=alert]").to_be_hidden()
    # Of the life before it has what it was told; the totals are of the new one.
    expect(page, "#closes tr").to_have_count(0)
    expect(page, "#chart-trouble svg[role=img]").to_have_attribute("aria-label", told)


def test_it_is_for_administrators(open_console: Visitors, demo: Demo) -> None:
    """Others have no such page in the navigation, are led elsewhere by its address, and the server refuses them."""
    page = open_console("alice")
    expect(page, "#nav a[href='#/lab']").to_be_visible()
    expect(page, "#nav a[href='#/monitor']").to_have_count(0)
    page.evaluate("location.hash = '#/monitor'")
    expect(page, "main > tidings-notifications h1").to_be_visible()
    with demo.http("alice") as http:
        assert http.get("/api/v1/monitor").status_code == 403
