"""The monitor: what happens on the server shows on an administrator's page, within seconds and by itself."""

import re
import socket
from typing import Any

import pytest
from support.console import LOST, Demo, Visitors, check_access, connected, playwright

pytestmark = pytest.mark.slow

# Somebody who does not read is slow sooner, and one burst of refusals is worth a word.
SETTINGS = ("limits.outbox_bytes=400000", "server.send_buffer_bytes=4096")


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


def sleeper(demo: Demo, user: str) -> socket.socket:
    """A connection of a user's that reads no more than the handshake's answer."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", demo.port))
    peer.sendall(
        f"GET /ws?token={demo.tokens[user]} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101" in peer.recv(100)
    return peer
