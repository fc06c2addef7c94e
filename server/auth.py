"""Who a token says somebody is, and whether to believe it."""

import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

import msgspec

from tidings.server.auth_keys import AuthConfigError, KeyRing
from tidings.server.claims import (
    DEVICE_CLAIM,
    LOGIN_CLAIM,
    SERVICE_IDS,
    ClaimRules,
    RefusalReason,
    TokenRefusal,
    read_claims,
)
from tidings.server.config import Auth
from tidings.server.identity import NO_END, Identity
from tidings.server.revocations import Revocations

__all__ = [
    "MAX_TOKEN_CHARS",
    "AuthConfigError",
    "Authenticator",
    "CannotIssue",
    "RefusalReason",
    "TokenRefusal",
    "new_secret",
]

# Half of a request head of 16 KiB; tokens with dozens of roles and grants take a quarter of it.
MAX_TOKEN_CHARS = 8192

# Base64url as the base64 that binascii reads, whose own `+` and `/` are not to pass.
_TO_BASE64 = bytes.maketrans(b"-_+/", b"+/!!")
# By how many characters stand in the last group of four: the padding that they lack, and which of them
# may come last, since the bits beyond the last byte are zero. One character alone makes no byte.
_PADDING = (b"", b"", b"==", b"=")
_LAST = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")

# What publishers can put into a header. The same as in the client's credentials.py.
_is_visible = re.compile(r"[\x21-\x7e]+").fullmatch

_is_service_name = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch

_MALFORMED = TokenRefusal("malformed", "the token is not a well-formed JWT")
_BAD_SIGNATURE = TokenRefusal("bad_signature", "the token's signature does not match")
_REVOKED = TokenRefusal("revoked", "the token was revoked")


def new_secret() -> str:
    """A random `auth.secret`, long enough for every HS algorithm."""
    return secrets.token_urlsafe(48)


class CannotIssue(ValueError):
    """A token would be refused where it was made."""

    def __init__(self, refusal: TokenRefusal) -> None:
        """Take why."""
        super().__init__(f"no such token can be issued: {refusal.message}")
        self.refusal = refusal


class Authenticator:
    """Verifies tokens and API keys as the `[auth]` section asks, and issues tokens.

    Reads the JWKS file once: make a new Authenticator to take up new keys. Holds no state beside its keys and
    `revocations`, which may be shared with another.

    Raises AuthConfigError, which says the cure.
    """

    def __init__(
        self,
        auth: Auth,
        *,
        clock: Callable[[], float] = time.time,
        revocations: Revocations | None = None,
    ) -> None:
        # `clock` gives Unix seconds. It is asked for each token, so that tokens follow the wall clock when
        # it moves.
        self._clock = clock
        self.revocations = Revocations(clock=clock) if revocations is None else revocations
        """What is accepted no longer, whatever its signature says."""
        self.longest_seconds = auth.max_ttl + auth.leeway
        """How far ahead the end of a token may lie that is accepted now."""
        self.leeway = auth.leeway
        """For how many seconds after its end a token is accepted."""
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
        self._api_key_digests = [_api_key_digest("auth.api_keys", key) for key in auth.api_keys]
        self._services = _services(auth.service_keys, self._api_key_digests)
        self.revocations.keys = frozenset(identity.user_id for _, identity in self._services)

    def verify(self, token: str) -> Identity | TokenRefusal:
        """Who `token` says its bearer is, now; or why it is not accepted. No input makes this raise.

        `expires_at` is the token's `exp`, so that it may already lie up to `leeway` seconds back.
        """
        claims = self._signed_claims(token)
        if isinstance(claims, TokenRefusal):
            return claims
        identity = read_claims(claims, self._rules, self._clock())
        if isinstance(identity, Identity) and self.revocations.is_revoked(identity):
            return _REVOKED
        return identity

    def is_revoked(self, identity: Identity) -> bool:
        """Whether the token behind an identity was revoked since it was verified.

        To be asked again without an await between the answer and what it permits: whoever is registered in the
        same step as the answer is found by those who close what a revocation concerns.
        """
        return self.revocations.is_revoked(identity)

    def api_key_matches(self, presented: str) -> bool:
        """Whether `presented` is one of `auth.api_keys`; the time it takes tells nothing about them."""
        digest = _digest(presented)
        if digest is None:
            return False
        matches = False
        for known in self._api_key_digests:
            # No early return: the time must not tell which key it was either.
            matches |= hmac.compare_digest(digest, known)
        return matches

    def service_by_key(self, presented: str) -> Identity | None:
        """The service whose key of `auth.service_keys` this is; the time it takes tells nothing about them.

        The same service has the same Identity. It may do what an API key may, and has no end.
        """
        digest = _digest(presented)
        if digest is None:
            return None
        found: Identity | None = None
        for known, identity in self._services:
            if hmac.compare_digest(digest, known):
                found = identity
        return found

    def issue(
        self,
        user_id: str,
        *,
        username: str | None = None,
        roles: Collection[str] = (),
        group_id: str | None = None,
        ttl: int,
        session_id: str | None = None,
        logged_in_ms: int | None = None,
        login_number: int | None = None,
        device: str = "",
    ) -> str:
        """A token that `verify` accepts for `ttl` seconds, with a random `jti` and, unless given, `sid`.

        Each claim goes under the first name that is configured for it. `logged_in_ms` (Unix milliseconds) is when
        the user logged in, now unless given: who renews a token gives the `sid` and the login of the old one.
        Right after the user's tokens were revoked a new login is dated after that, by up to `leeway` seconds; an
        older one cannot be renewed for so long.

        Raises ValueError for a `ttl` outside 1 to `max_ttl`, CannotIssue (one, too) for what `verify` would refuse;
        AuthConfigError (a ValueError) when the first of `auth.algorithms` needs a private key, which the
        server has not.
        """
        algorithm, key = self.check_issues()
        if type(ttl) is not int or not 1 <= ttl <= self._rules.max_ttl:
            raise ValueError(f"ttl is {ttl!r}: give 1 to {self._rules.max_ttl} seconds (auth.max_ttl)")
        moment = self._clock()
        now = int(moment)
        if logged_in_ms is None:
            logged_in_ms = self.revocations.provable_ms(user_id, int(moment * 1000))
        claims: dict[str, Any] = {
            "iat": now,
            "exp": now + ttl,
            # A fraction also where it is 0: `verify` takes it for milliseconds.
            "auth_time": logged_in_ms / 1000,
            "jti": secrets.token_urlsafe(16),
            "sid": session_id if session_id is not None else secrets.token_urlsafe(16),
        }
        optional = (
            ("iss", self._rules.issuer),
            ("aud", self._rules.audience),
            (LOGIN_CLAIM, login_number),
            (DEVICE_CLAIM, device),
            (_first_name("username_claims", self._rules.username_claims, username), username),
            (_first_name("role_claims", self._rules.role_claims, roles), sorted(roles)),
            (_first_name("group_claims", self._rules.group_claims, group_id), group_id),
            # Last, so that it stands even where another claim was configured under the same name.
            (self._rules.user_claims[0], user_id),
        )
        claims |= {name: value for name, value in optional if value or value == 0}
        token = self._ring.jws.encode(json.dumps(claims).encode(), key, algorithm)
        match self.verify(token):
            case TokenRefusal() as refusal:
                raise CannotIssue(refusal)
            case _:
                return token

    def check_issues(self) -> tuple[str, bytes]:
        """The algorithm and the key that tokens are made with. Raises AuthConfigError where there is none."""
        algorithm, key = self._ring.algorithms[0], self._ring.signing_key
        if not algorithm.startswith("HS") or key is None:
            raise AuthConfigError(
                f"{algorithm} tokens are made with the issuer's private key: issue them there,"
                " or set auth.secret and put HS256 first in auth.algorithms"
            )
        return algorithm, key

    def check_issues_logins(self) -> None:
        """As `check_issues`, for tokens with all that a login says of a user: each claim needs a name."""
        self.check_issues()
        for field in ("username_claims", "role_claims", "group_claims"):
            _first_name(field, getattr(self._rules, field), value=True)

    def _signed_claims(self, token: str) -> dict[str, Any] | TokenRefusal:
        try:
            return self._read(token)
        except Exception:
            # Foreign parsers on a stranger's bytes. msgspec, json, binascii and PyJWT's algorithms have
            # leaked UnicodeError, ValueError, TypeError, OverflowError and RecursionError beside what they
            # document, and cryptography has errors of its own. Nothing here changes any state, so that
            # whatever it was, refusing the token is the whole answer.
            return _MALFORMED

    def _read(self, token: str) -> dict[str, Any] | TokenRefusal:
        """The claims of a token that is rightly signed. Raises anything for what is no token.

        PyJWT does the cryptography and makes the keys. Its PyJWS.decode is not asked: it would parse the
        token and prepare the key again, for three times the price of the rest. What it checks is checked
        here, and `test_auth_differential.py` holds the two against each other.
        """
        if len(token) > MAX_TOKEN_CHARS:
            return _MALFORMED
        raw = token.encode("ascii")
        header_part, payload_part, signature_part = raw.translate(_TO_BASE64).split(b".")
        header = _json_object(_decoded(header_part))
        payload, signature = _decoded(payload_part), _decoded(signature_part)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not payload or type(algorithm) is not str or ("kid" in header and type(kid) is not str):
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
        # RFC 7797 section 6: without `crit`, too, whoever knows `b64` would read another payload.
        if header.get("b64") is False:
            return _MALFORMED
        signing_input = raw.rpartition(b".")[0]
        for key in keys:
            if key.verifies(algorithm, signing_input, signature):
                return _json_object(payload)
        return _BAD_SIGNATURE


def _decoded(segment: bytes) -> bytes:
    """The bytes of a segment after `_TO_BASE64`; some issuers leave the padding on. Raises ValueError.

    Of the texts that stand for the same bytes one alone is taken (RFC 4648 section 3.5), but for the
    padding: changed characters are never the same token.
    """
    bare = segment.rstrip(b"=")
    over = len(bare) % 4
    padded = bare + _PADDING[over]
    if (over and bare[-1] not in _LAST[over]) or len(segment) not in {len(bare), len(padded)}:
        raise ValueError("not canonical")
    return binascii.a2b_base64(padded, strict_mode=True)


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = _decode_json(data)
    except msgspec.DecodeError:
        # msgspec takes neither half a surrogate pair nor a number beyond 1.8e308, which json does. Both
        # may stand in a claim that nobody reads, as a name that its issuer cut in the middle of an emoji.
        # Decoded as UTF-8 first: json would guess UTF-16 from bytes, and let surrogates pass.
        value = _decode_any_json(data.decode())
    if type(value) is not dict:
        raise TypeError("not an object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Built once: json.loads builds one for each call that has options.
_decode_json = msgspec.json.Decoder().decode
_decode_any_json = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _digest(presented: str) -> bytes | None:
    try:
        return hashlib.sha256(presented.encode()).digest()
    except UnicodeEncodeError:
        return None


def _api_key_digest(field: str, key: str) -> bytes:
    # An empty key would match an empty header; any other no publisher could send, or not unchanged.
    if not _is_visible(key):
        what = "a key with blanks, line breaks or characters that are not ASCII" if key else "an empty key"
        raise AuthConfigError(
            f"{field} holds {what}, which no publisher can send: replace it by one as"
            " `python -c 'import secrets; print(secrets.token_urlsafe(48))'` prints, or remove it"
        )
    return hashlib.sha256(key.encode()).digest()


def _services(named_keys: Sequence[str], others: Collection[bytes]) -> list[tuple[bytes, Identity]]:
    """The services by the digests of their keys. A name may have several keys, so that one can be replaced."""
    identities: dict[str, Identity] = {}
    services: dict[bytes, Identity] = {}
    for number, named_key in enumerate(named_keys, 1):
        name, equals, key = named_key.partition("=")
        # What is no name is not repeated: without one, it is a key.
        if not equals or not _is_service_name(name):
            raise AuthConfigError(
                f"auth.service_keys: item {number} is not name=key with a name of 1 to 64 characters"
                " A-Z a-z 0-9 _ . -: write it as billing=<key>"
            )
        digest = _api_key_digest("auth.service_keys", key)
        if digest in services or digest in others:
            raise AuthConfigError(
                f"auth.service_keys: the key of {name} is there twice, or in auth.api_keys too: a key says who"
                " is calling, so make one for each"
            )
        identity = identities.setdefault(name, service_identity(name))
        services[digest] = identity
    return list(services.items())


def service_identity(name: str) -> Identity:
    """Who a service of `auth.service_keys` is."""
    return Identity(
        user_id=f"{SERVICE_IDS}{name}",
        username=name,
        expires_at=NO_END,
        roles=frozenset({"admin"}),
        kind="service",
    )


def _first_name(field: str, names: Sequence[str], value: object) -> str:
    if names:
        return names[0]
    if value:
        raise AuthConfigError(f"auth.{field} is empty: name the claim to issue")
    return ""
