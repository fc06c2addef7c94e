"""What of a history is not for a login: by its own time, as far as its token tells it."""

from typing import Any

import msgspec
import pytest
from support.site import SECRET
from support.tokens import forged

from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.publications import Publication
from tidings.server.auth import Authenticator
from tidings.server.config import Auth
from tidings.server.delivery.inbox import skips
from tidings.server.identity import Identity


@pytest.mark.parametrize(
    ("claims", "skipped"),
    [
        ({}, ()),
        ({"iat": 1_799_999_999}, ()),
        ({"iat": 1_800_000_000}, (0, 999)),
        ({"iat": 1_800_000_001}, (0, 999, 1000)),
        ({"iat": 1_800_000_000.5}, (0,)),
        ({"iat": 1_800_000_000.0}, ()),
        ({"iat": 1_800_000_001, "auth_time": 1_800_000_000}, (0, 999)),
        ({"iat": 1_800_000_001, "auth_time": 1_800_000_000.5}, (0,)),
    ],
)
def test_whole_seconds_are_compared_as_such(claims: dict[str, Any], skipped: tuple[int, ...]) -> None:
    """A login of the second in which the password was changed counts as later where the token tells no more of it;
    one that tells nothing is told of each."""
    auth = Authenticator(Auth(secret=SECRET), clock=lambda: 1_800_000_100.0)
    identity = auth.verify(forged({"sub": "alice", "exp": 1_800_000_200} | claims))
    assert isinstance(identity, Identity)
    skip = skips(builtin_registry(), identity)
    for ms in (0, 999, 1000):
        event = Publication(
            "user:alice", "user:password-changed", b"{}", 1, "e", 1_800_000_000_000 + ms, "alice", None
        )
        assert skip(event) == (ms in skipped), ms
        other = msgspec.structs.replace(event, event="notification")
        assert not skip(other)
