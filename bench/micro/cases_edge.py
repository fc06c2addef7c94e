"""The edge: what each handshake and each command costs before anybody looks at what it wants."""

import time
from collections.abc import Callable

from tidings.bench.micro.plugin import Measure
from tidings.bench.micro.wire import finished
from tidings.protocol.channels import is_channel, is_user_id, kind_of
from tidings.protocol.upgrade import switching_protocols
from tidings.server.auth import Authenticator, TokenRefusal, new_secret
from tidings.server.config import Auth
from tidings.server.edge.head import Head, read_any, read_head
from tidings.server.identity import Identity
from tidings.server.limits import Rate, Verdict

GROUP = "edge"

_HEAD_BYTES = 16384

# As a browser sends it.
_HEAD = (
    b"GET /ws HTTP/1.1\r\n"
    b"Host: push.example.org\r\n"
    b"Connection: Upgrade\r\n"
    b"Pragma: no-cache\r\n"
    b"Cache-Control: no-cache\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Safari/537.36\r\n"
    b"Upgrade: websocket\r\n"
    b"Origin: https://app.example.org\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-GB,en;q=0.9\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"\r\n"
)


async def _nothing_more() -> bytes:
    return b""


def _is_the_head(found: object) -> bool:
    return (
        isinstance(found, Head)
        and found.request.path == "/ws"
        and len(found.request.headers) == 12
        and found.request.header(b"sec-websocket-key") == b"dGhlIHNhbXBsZSBub25jZQ=="
        and not found.leftover
    )


def case_head(measure: Measure) -> None:
    """The head of a handshake, by one regular expression."""
    measure(
        f"a browser's request head, {len(_HEAD)} B",
        lambda: finished(
            read_head(_nothing_more, _HEAD, limit=_HEAD_BYTES, peer="192.0.2.1", secure=False)
        ),
        verify=_is_the_head,
    )


def case_head_by_h11(measure: Measure) -> None:
    """The same as it is read where anything about it is unusual."""
    measure(
        f"a browser's request head, {len(_HEAD)} B, by h11",
        lambda: finished(read_any(_nothing_more, _HEAD, limit=_HEAD_BYTES, peer="192.0.2.1", secure=False)),
        verify=_is_the_head,
    )


def case_switching_protocols(measure: Measure) -> None:
    """The 101; the key and its answer are the example of RFC 6455 section 1.3."""
    measure(
        "the answer 101",
        switching_protocols,
        b"dGhlIHNhbXBsZSBub25jZQ==",
        verify=lambda answer: b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer,
    )


def case_token(measure: Measure) -> None:
    """Whose a token is: HS256, and its claims."""
    authenticator = Authenticator(Auth(secret=new_secret()))
    measure(
        "a token checked, HS256",
        authenticator.verify,
        authenticator.issue("ann@example.org", username="Ann", roles=["admin"], ttl=3600),
        verify=lambda found: isinstance(found, Identity) and found.user_id == "ann@example.org",
    )


def case_forged_token(measure: Measure) -> None:
    """One that somebody else signed."""
    forged = Authenticator(Auth(secret=new_secret())).issue("ann@example.org", ttl=3600)
    measure(
        "a forged token refused, HS256",
        Authenticator(Auth(secret=new_secret())).verify,
        forged,
        verify=lambda found: isinstance(found, TokenRefusal) and found.reason == "bad_signature",
    )


def case_rate(measure: Measure) -> None:
    """A command against its connection's rate, by the real clock."""
    rate = Rate(1e9, 10**9, time.monotonic)
    strict = Rate(1.0, 2, lambda: 0.0)
    assert [strict.spend() for _ in range(3)] == [Verdict.OK, Verdict.OK, Verdict.REFUSED]
    measure("the rate of commands asked", rate.spend, verify=lambda verdict: verdict is Verdict.OK)


def case_channel(measure: Measure) -> None:
    """A channel's name."""
    assert not is_channel("room:\u0430")  # a Cyrillic letter
    measure("a channel's name checked", is_channel, "room:4f0c2d9e", verify=lambda found: found is True)


def case_channel_kind(measure: Measure) -> None:
    """The kind of a channel: who may do what depends on it."""
    measure("a channel's kind", kind_of, "room:a:b", verify=lambda kind: kind == "room")


def case_user_id(measure: Measure) -> None:
    """A user's id."""
    check: Callable[[str], bool] = is_user_id
    assert not check("ann example")
    measure("a user's id checked", check, "ann@example.org", verify=lambda found: found is True)
