"""What the client decides without any waiting: URLs, delays, verdicts on endings, payloads."""

import errno
import socket
import ssl
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.client import Reconnect
from tidings.client.backoff import LONGEST_ASKED, retry_after_seconds
from tidings.client.endings import Ending, closed, not_connected, rejected
from tidings.client.publications import PayloadTypes
from tidings.client.urls import http_base, websocket_address
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.messages.answers import Disconnect
from tidings.protocol.messages.events import Notification


@pytest.mark.parametrize(
    ("url", "host", "path", "base"),
    [
        ("http://h", "h", "/ws", "http://h"),
        ("ws://h:8000", "h:8000", "/ws", "http://h:8000"),
        ("ws://h:8000/", "h:8000", "/ws", "http://h:8000"),
        ("ws://h:8000/ws", "h:8000", "/ws", "http://h:8000"),
        ("ws://h/ws?dialect=native", "h", "/ws?dialect=native", "http://h"),
        ("wss://h/push/ws", "h", "/push/ws", "https://h/push"),
        ("https://h:443", "h", "/ws", "https://h"),
        ("https://h:80", "h:80", "/ws", "https://h:80"),
        ("http://[::1]:8000", "[::1]:8000", "/ws", "http://[::1]:8000"),
    ],
)
def test_every_form_of_a_url_is_taken(url: str, host: str, path: str, base: str) -> None:
    """http, https, ws and wss, with or without a path, name both the WebSocket and the HTTP API."""
    address = websocket_address(url)
    assert (address.authority, address.path) == (host, path)
    assert address.tls is url.startswith(("https", "wss"))
    assert http_base(url) == base


@pytest.mark.parametrize(
    "url",
    [
        "h:8000", "ftp://h", "ws://", "ws://h:99999", "ws://h:x", "ws://u:p@h", "ws://h/ws?token=secret",
        "ws://h/a b", "ws://h/é", "ws://h/\r\nX: y",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(url: str) -> None:
    """What cannot be dialled, and a secret in a URL, is a ValueError that does not repeat the secret."""
    for read in (websocket_address, http_base):
        with pytest.raises(ValueError, match=r"[a-z]") as raised:
            read(url)
        assert "secret" not in str(raised.value)


def test_a_device_is_part_of_the_url() -> None:
    """The device's name goes into the query, escaped."""
    assert websocket_address("ws://h/ws?a=b", device="my phone&").path == "/ws?a=b&device=my%20phone%26"


@given(attempt=st.integers(1, 10_000), low=st.floats(0, 1), asked=st.floats(0, 1e9))
def test_a_delay_is_drawn_below_a_bound_that_doubles(attempt: int, low: float, asked: float) -> None:
    """Full jitter: between 0 and base, twice the base … up to the cap, and on top of what the server asked for."""
    bounds: list[tuple[float, float]] = []

    def uniform(least: float, most: float) -> float:
        bounds.append((least, most))
        return least + (most - least) * low

    policy = Reconnect(base=0.5, cap=30, uniform=uniform)
    delay = policy.delay(attempt, at_least=asked)
    ((least, most),) = bounds
    assert least == 0
    assert most == min(30, 0.5 * 2 ** (min(attempt, 20) - 1))
    assert delay == min(asked, LONGEST_ASKED) + most * low


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5), (" 0 ", 0), ("99999999999999999999", LONGEST_ASKED), (None, None), ("", None), ("-1", None),
        ("1.5", None), ("soon", None), ("²", None), ("Thu, 01 Jan 1970 00:16:50 GMT", 10),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """RFC 9110 section 10.2.3; nonsense counts as not given."""
    assert retry_after_seconds(value, now=1000) == seconds


@given(st.text(max_size=60))
def test_no_retry_after_is_a_fault(value: str) -> None:
    """Whatever a server sends there, it is a bounded number or nothing."""
    seconds = retry_after_seconds(value, now=1000)
    assert seconds is None or 0 <= seconds <= LONGEST_ASKED


@pytest.mark.parametrize(
    ("codes", "returns"),
    [
        ((1001, 1005, 1006, 1011, 1012, 1013, 3000, 3001, 3004, 3005, 3008, 3010, 3012, 3013, 3499), True),
        ((1000, 1002, 1003, 1007, 1008, 1009, 3500, 3503, 3508, 3510, 3999), False),
    ],
)
def test_close_codes_say_whether_to_return(codes: tuple[int, ...], returns: bool) -> None:
    """3500-3999 and RFC 6455's final ones end it; 3000-3499 and what passes by itself do not."""
    for code in codes:
        ending = closed(code, None, None)
        assert (ending.returns, ending.code) == (returns, code)
        assert ending.reason
        assert ending.token == (code == CloseCode.TOKEN_EXPIRED)


@pytest.mark.parametrize(
    ("status", "returns"),
    [(400, False), (401, False), (403, False), (404, False), (426, False), (302, False), (200, False),
     (408, True), (425, True), (429, True), (500, True), (502, True), (503, True), (504, True)],
)  # fmt: skip
def test_statuses_say_whether_to_return(status: int, returns: bool) -> None:
    """A refused handshake is final but for what passes by itself, and only 401 is about the token."""
    ending = rejected(status, ((b"Retry-After", b"7"),), b'{"error":{"code":"x","message":"why"}}', 0)
    assert ending == Ending(status, "why", returns=returns, delay=7, token=status == 401)


@pytest.mark.parametrize("body", [None, b"", b"<html>", b'{"error":1}', b"\xff", b"[" * 5000])
def test_any_body_of_a_refusal_is_survived(body: bytes | None) -> None:
    """A proxy's page is no reason to fail."""
    assert rejected(502, (), body, 0).reason


def test_the_servers_word_before_a_close_counts() -> None:
    """`disconnect` bears the reason, the delay, and whether to return, but never against the code."""
    ending = closed(1006, None, Disconnect(3001, "shutting down", reconnect=True, delay=12))
    assert ending == Ending(3001, "shutting down", returns=True, delay=12)
    assert not closed(3001, None, Disconnect(3001, "stay away", reconnect=False)).returns
    assert not closed(3503, None, Disconnect(3503, "out", reconnect=True)).returns


def test_errors_of_the_network_are_told_in_words() -> None:
    """An untrusted certificate is final; refused, unknown and unreachable hosts are worth another try."""
    certificate = ssl.SSLCertVerificationError(1, "certificate verify failed")
    certificate.verify_message = "self-signed certificate"
    ending = not_connected(certificate)
    assert not ending.returns
    assert "self-signed certificate" in ending.reason
    refused = OSError("all attempts to connect failed")
    refused.__cause__ = ExceptionGroup("", [OSError(errno.ECONNREFUSED, "Connection refused")])
    for error, words in (
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (refused, "Connection refused"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
    ):
        ending = not_connected(error)
        assert ending.returns
        assert words in ending.reason


class Order(msgspec.Struct):
    """A payload of an application's own."""

    number: int


def test_payloads_are_typed_where_they_fit() -> None:
    """A registered event becomes its Struct; one that does not fit stays a dict and says why; others are dicts."""
    types = PayloadTypes({"order": Order})
    assert types.decode("notification", b'{"title":"a","message":"b"}') == (Notification("a", "b"), None)
    assert types.decode("order", b'{"number":7,"more":1}') == (Order(7), None)
    payload, misfit = types.decode("order", b'{"number":"seven"}')
    assert payload == {"number": "seven"}
    assert misfit is not None
    assert "number" in misfit
    assert types.decode("unheard_of", b'{"a":[1]}') == ({"a": [1]}, None)


@dataclass
class Unknown:
    """Not a Struct."""

    value: Any


def test_a_type_that_cannot_be_decoded_is_refused_at_once() -> None:
    """A mistake in the registration shows there, not with the first message."""
    with pytest.raises(TypeError):
        PayloadTypes({"x": lambda: None})  # type: ignore[dict-item]  # the mistake
