"""The server's answer to a handshake, by the RFC's own example and as a client that is not ours reads it."""

import base64
import hashlib
import uuid

import h11
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocol.upgrade import accept_key, switching_protocols

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_the_rfcs_example() -> None:
    """RFC 6455 section 1.3 gives a key and its answer."""
    assert accept_key(KEY) == ACCEPT


@given(st.binary(min_size=16, max_size=16))
def test_any_key_is_answered_as_the_rfc_says(nonce: bytes) -> None:
    """Section 4.2.2: the SHA-1 of the key as it came and the one UUID, in base64."""
    key = base64.b64encode(nonce)
    guid = str(uuid.UUID("258eafa5-e914-47da-95ca-c5ab0dc85b11")).upper()
    assert base64.b64decode(accept_key(key)) == hashlib.sha1(key + guid.encode()).digest()


def answered(*args: str | None) -> dict[bytes, bytes]:
    """The headers of the answer, read by h11."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[
        ("Host", "h"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]))  # fmt: skip
    client.receive_data(switching_protocols(KEY, *args) + b"\x81\x00")
    response = client.next_event()
    assert isinstance(response, h11.InformationalResponse)
    assert response.status_code == 101
    client.send(h11.EndOfMessage())
    client.next_event()
    assert client.trailing_data[0] == b"\x81\x00", "the first frame stands behind the head"
    return dict(response.headers)


def test_the_answer_is_a_whole_head() -> None:
    """A 101 with what was asked for and nothing else; what was not negotiated is not named."""
    plain = {b"upgrade": b"websocket", b"connection": b"Upgrade", b"sec-websocket-accept": ACCEPT}
    protocol = {b"sec-websocket-protocol": b"tidings.v1.json"}
    extension = {b"sec-websocket-extensions": b"permessage-deflate; server_no_context_takeover"}
    named = "permessage-deflate; server_no_context_takeover"
    assert answered() == plain
    assert answered("tidings.v1.json") == plain | protocol
    assert answered(None, named) == plain | extension
    assert answered("tidings.v1.json", named) == plain | protocol | extension
