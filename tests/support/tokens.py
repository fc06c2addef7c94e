"""Tokens that no issuer should make, signed with the tests' own secret."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

SECRET = "a secret of the tests, long enough for HS256 and HS512 alike, 64 bytes."

# Longer than a run of all tests may take: some tokens are made when tests are collected.
_LIFETIME = 3600


def segment(value: bytes | dict[str, Any]) -> str:
    """One part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(
    claims: bytes | dict[str, Any] | None = None,
    *,
    header: dict[str, Any] | None = None,
    secret: str = SECRET,
    **changes: Any,
) -> str:
    """A signed token of alice's that is good but for what is given; a claim of `...` is left out."""
    if claims is None:
        claims = {"sub": "alice", "exp": int(time.time()) + _LIFETIME} | changes
        claims = {name: value for name, value in claims.items() if value is not ...}
    signed = f"{segment({'alg': 'HS256', 'typ': 'JWT'} | (header or {}))}.{segment(claims)}"
    signature = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{segment(signature)}"


_SOON = int(time.time()) + _LIFETIME
# PyJWT and json may read these in Python; JSON's writer cannot make them.
_HUGE = b'{"sub":"alice","exp":1' + b"0" * 400 + b"}"
_TOO_LONG = b'{"sub":"alice","exp":' + b"9" * 5000 + b"}"

BAD_TOKENS: dict[str, str] = {
    "no signature": ".".join((segment({"alg": "none"}), segment({"sub": "alice", "exp": _SOON}), "")),
    "alg none with a signature": forged(header={"alg": "none"}),
    "another algorithm": forged(header={"alg": "HS384"}),
    "an asymmetric algorithm": forged(header={"alg": "RS256"}),
    "algorithm not a string": forged(header={"alg": 1}),
    "another key": forged(secret="another secret, as long as it needs to be."),
    "no exp": forged(exp=...),
    "exp null": forged(exp=None),
    "exp a string": forged(exp=str(_SOON)),
    "exp a fraction": forged(exp=_SOON + 0.5),
    "exp 10^400": forged(_HUGE),
    "exp of 5,000 digits": forged(_TOO_LONG),
    "exp NaN": forged(b'{"sub":"alice","exp":NaN}'),
    "exp Infinity": forged(b'{"sub":"alice","exp":1e999}'),
    "exp past": forged(exp=1),
    "exp negative": forged(exp=-1),
    "exp in a century": forged(exp=_SOON + 100 * 365 * 86400),
    "nbf ahead": forged(nbf=_SOON),
    "iat ahead": forged(iat=_SOON),
    "nbf a string": forged(nbf="now"),
    "sub missing": forged(sub=...),
    "sub a list": forged(sub=["alice"]),
    "sub true": forged(sub=True),
    "sub empty": forged(sub=""),
    "sub of two lines": forged(sub="alice\nbob"),
    "sub e-acute": forged(sub="élise"),
    "sub a wildcard": forged(sub="*"),
    "sub a lone surrogate": forged(sub="\ud800"),
    "name a lone surrogate": forged(username="\ud800"),
    "roles a number": forged(roles=7),
    "role with a blank": forged(roles=["a b"]),
    "channels of another shape": forged(channels={"room:x": ["conquer"]}),
    "crit unknown": forged(header={"crit": ["exp"]}),
    "kid not a string": forged(header={"kid": {"a": 1}}),
    "claims a list": forged(b"[]"),
    "claims deep": forged(b'{"sub":' + b"[" * 2500 + b"]" * 2500 + b"}"),
    "claims not UTF-8": forged(b'{"sub":"\xff"}'),
    "header not JSON": f"{segment(b'{')}.{segment({})}.{segment(b'x')}",
    "two segments": "a.b",
    "four segments": forged() + ".x",
    "blank inside": forged().replace(".", " .", 1),
    "empty segments": "..",
    "control characters": "\x01.\x1b[31m.\x7f",
    "e-acute": "é.é.é",
}
"""Tokens that nobody may come in with."""
