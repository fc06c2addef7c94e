"""Who a token says somebody is, and whether to believe it."""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

import jwt

from tidings.server.auth_keys import AuthConfigError, KeyRing
from tidings.server.claims import ClaimRules, RefusalReason, TokenRefusal, read_claims
from tidings.server.config import Auth
from tidings.server.identity import Identity

__all__ = [
    "MAX_TOKEN_CHARS",
    "AuthConfigError",
    "Authenticator",
    "RefusalReason",
    "TokenRefusal",
    "new_secret",
]

# Half of a request head of 16 KiB; tokens with dozens of roles and grants take a quarter of it.
MAX_TOKEN_CHARS = 8192

# Three segments of base64url. The last is empty when `alg` is none; some issuers leave the padding on.
_is_compact = re.compile(r"[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]*={0,2}").fullmatch

_MALFORMED = TokenRefusal("malformed", "the token is not a well-formed JWT")
_BAD_SIGNATURE = TokenRefusal("bad_signature", "the token's signature does not match")


def new_secret() -> str:
    """A random `auth.secret`, long enough for every HS algorithm."""
    return secrets.token_urlsafe(48)


class Authenticator:
    """Verifies tokens and API keys as the `[auth]` section asks, and issues tokens.

    Reads the JWKS file once: make a new Authenticator to take up new keys. Holds no state beside its keys.

    Raises AuthConfigError, which says the cure.
    """

    def __init__(self, auth: Auth, *, clock: Callable[[], float] = time.time) -> None:
        # `clock` gives Unix seconds. It is asked for each token, so that tokens follow the wall clock when
        # it moves.
        self._clock = clock
        self._ring = KeyRing(
            auth.algorithms,
            secret=auth.secret,
            previous_secret=auth.previous_secret,
            jwks_file=auth.jwks_file,
        )
        if not auth.user_claims:
            raise AuthConfigError(
                "auth.user_claims is empty: name the claim that holds the user id, as ['sub']"
            )
        self._rules = ClaimRules(
            issuer=auth.issuer,
            audience=auth.audience,
            leeway=auth.leeway,
            max_ttl=auth.max_ttl,
            user_claims=auth.user_claims,
            username_claims=auth.username_claims,
            group_claims=auth.group_claims,
            role_claims=auth.role_claims,
        )
        # Digests, not keys: compare_digest tells the length of what it compares.
        self._api_key_digests = [_api_key_digest(key) for key in auth.api_keys]

    def verify(self, token: str) -> Identity | TokenRefusal:
        """Who `token` says its bearer is, now; or why it is not accepted. No input makes this raise.

        `expires_at` is the token's `exp`, so that it may already lie up to `leeway` seconds back.
        """
        claims = self._signed_claims(token)
        if isinstance(claims, TokenRefusal):
            return claims
        return read_claims(claims, self._rules, self._clock())

    def api_key_matches(self, presented: str) -> bool:
        """Whether `presented` is one of `auth.api_keys`; the time it takes tells nothing about them."""
        try:
            digest = hashlib.sha256(presented.encode()).digest()
        except UnicodeEncodeError:
            return False
        matches = False
        for known in self._api_key_digests:
            # No early return: the time must not tell which key it was either.
            matches |= hmac.compare_digest(digest, known)
        return matches

    def issue(
        self,
        user_id: str,
        *,
        username: str | None = None,
        roles: Collection[str] = (),
        group_id: str | None = None,
        ttl: int,
        session_id: str | None = None,
    ) -> str:
        """A token that `verify` accepts for `ttl` seconds, with a random `jti` and, unless given, `sid`.

        Each claim goes under the first name that is configured for it.

        Raises ValueError for a `ttl` outside 1 to `max_ttl` and for what `verify` would refuse;
        AuthConfigError (a ValueError) when the first of `auth.algorithms` needs a private key, which the
        server has not.
        """
        algorithm, key = self._ring.algorithms[0], self._ring.signing_key
        if not algorithm.startswith("HS") or key is None:
            raise AuthConfigError(
                f"{algorithm} tokens are made with the issuer's private key: issue them there,"
                " or set auth.secret and put HS256 first in auth.algorithms"
            )
        if type(ttl) is not int or not 1 <= ttl <= self._rules.max_ttl:
            raise ValueError(f"ttl is {ttl!r}: give 1 to {self._rules.max_ttl} seconds (auth.max_ttl)")
        now = int(self._clock())
        claims: dict[str, Any] = {
            "iat": now,
            "exp": now + ttl,
            "jti": secrets.token_urlsafe(16),
            "sid": session_id if session_id is not None else secrets.token_urlsafe(16),
        }
        optional = (
            ("iss", self._rules.issuer),
            ("aud", self._rules.audience),
            (_first_name("username_claims", self._rules.username_claims, username), username),
            (_first_name("role_claims", self._rules.role_claims, roles), sorted(roles)),
            (_first_name("group_claims", self._rules.group_claims, group_id), group_id),
            # Last, so that it stands even where another claim was configured under the same name.
            (self._rules.user_claims[0], user_id),
        )
        claims |= {name: value for name, value in optional if value}
        token = self._ring.jws.encode(json.dumps(claims).encode(), key, algorithm)
        match self.verify(token):
            case TokenRefusal(message=message):
                raise ValueError(f"no such token can be issued: {message}")
            case _:
                return token

    def _signed_claims(self, token: str) -> dict[str, Any] | TokenRefusal:
        try:
            return self._read(token)
        except Exception:
            # Foreign parsers on a stranger's bytes. PyJWT, json and base64 have leaked UnicodeError,
            # ValueError, TypeError, OverflowError and RecursionError beside what they document, and
            # cryptography has errors of its own. Nothing here changes any state, so that whatever it was,
            # refusing the token is the whole answer.
            return _MALFORMED

    def _read(self, token: str) -> dict[str, Any] | TokenRefusal:
        if len(token) > MAX_TOKEN_CHARS or not _is_compact(token):
            return _MALFORMED
        header = _json_object(_base64url(token.partition(".")[0]))
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or not isinstance(kid, str | None):
            return _MALFORMED
        if algorithm not in self._ring.algorithms:
            return TokenRefusal(
                "unsupported", "the token is signed with an algorithm that is not accepted here"
            )
        # RFC 7515 section 4.1.11. No extension is understood here, so that any is one too many; `jwk`,
        # `jku` and the like are ignored: a key never comes out of a token.
        if "crit" in header:
            return TokenRefusal("unsupported", "the token demands an extension that is not known here")
        keys = self._ring.candidates(algorithm, kid)
        if not keys:
            return TokenRefusal("unknown_key", "the token is signed with a key that is not known here")
        for key in keys:
            try:
                return _json_object(self._ring.jws.decode(token, key.key, algorithms=[algorithm]))
            except jwt.InvalidSignatureError:
                continue
        return _BAD_SIGNATURE


def _base64url(segment: str) -> bytes:
    bare = segment.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def _json_object(data: bytes) -> dict[str, Any]:
    # Decoded as UTF-8 first: json.loads would guess UTF-16 from bytes, and let surrogates pass.
    value = json.loads(data.decode(), parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _api_key_digest(key: str) -> bytes:
    # An empty key would match an empty header.
    if not key:
        raise AuthConfigError(
            "auth.api_keys holds an empty key: remove it, or make one as auth.secret is made"
        )
    try:
        return hashlib.sha256(key.encode()).digest()
    except UnicodeEncodeError:
        pass
    # Outside the handler: the UnicodeEncodeError carries the key.
    raise AuthConfigError("auth.api_keys holds a key that is not valid UTF-8: use printable characters")


def _first_name(field: str, names: Sequence[str], value: object) -> str:
    if names:
        return names[0]
    if value:
        raise AuthConfigError(f"auth.{field} is empty: name the claim to issue")
    return ""
