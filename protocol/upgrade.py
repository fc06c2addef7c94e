"""The server's answer to a WebSocket handshake (RFC 6455 section 4.2.2)."""

import base64
import hashlib

# Section 1.3: what a server appends to the key, so that only one that knows WebSocket answers rightly.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key: bytes) -> bytes:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def switching_protocols(key: bytes, subprotocol: str | None = None, extensions: str | None = None) -> bytes:
    """The 101. The arguments are checked: nothing of the client's stands in it as it came."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept_key(key),
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("ascii"))
    if extensions is not None:
        lines.append(b"Sec-WebSocket-Extensions: " + extensions.encode("ascii"))
    return b"\r\n".join(lines) + b"\r\n\r\n"
