"""What a token's verdict is by PyJWT and json alone, with nothing done for speed; and keys of every kind."""

import base64
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from tidings.server.auth import MAX_TOKEN_CHARS
from tidings.server.config import Auth
from tidings.server.identity import ChannelGrant, Identity

NOW = 1_800_000_000
HS = ("HS256", "HS384", "HS512")
RS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


class Key(NamedTuple):
    """A key that signs, the algorithms it serves, and the name that it has in the JWKS file."""

    private: Any
    algorithms: Sequence[str]
    kid: str | None = None

    @property
    def public(self) -> Any:
        return self.private if isinstance(self.private, bytes) else self.private.public_key()


def secret_key(name: str, algorithms: Sequence[str] = HS, kid: str | None = None) -> Key:
    return Key(
        f"{name}-secret-of-more-than-sixty-four-bytes-for-every-hs-algorithm".encode() * 2, algorithms, kid
    )


def rsa_key(algorithms: Sequence[str] = RS, kid: str | None = None) -> Key:
    return Key(rsa.generate_private_key(public_exponent=65537, key_size=2048), algorithms, kid)


def ec_key(curve: ec.EllipticCurve, algorithm: str, kid: str | None = None) -> Key:
    return Key(ec.generate_private_key(curve), (algorithm,), kid)


SECRET, PREVIOUS = secret_key("first"), secret_key("former")
FILE = (
    rsa_key(kid="a"),
    rsa_key(("RS256",), kid="b"),
    rsa_key(),
    ec_key(ec.SECP256R1(), "ES256", kid="a"),
    ec_key(ec.SECP256R1(), "ES256", kid="b"),
    ec_key(ec.SECP384R1(), "ES384"),
    ec_key(ec.SECP521R1(), "ES512", kid="b"),
    ec_key(ec.SECP256K1(), "ES256K", kid="a"),
    Key(ed25519.Ed25519PrivateKey.generate(), ("EdDSA",), "a"),
    Key(ed448.Ed448PrivateKey.generate(), ("EdDSA",)),
    secret_key("shared", ("HS256",), kid="o"),
)
OURS = (SECRET, PREVIOUS, *FILE)
STRANGERS = (secret_key("foreign"), rsa_key(), ec_key(ec.SECP256R1(), "ES256"))
ALGORITHMS = tuple(dict.fromkeys(name for key in OURS for name in key.algorithms))


def jwk_of(key: Key) -> dict[str, Any]:
    algorithm = jwt.get_algorithm_by_name(key.algorithms[0])
    jwk: dict[str, Any] = algorithm.to_jwk(key.public, as_dict=True)
    jwk.pop("key_ops", None)
    narrowed = {"alg": key.algorithms[0]} if len(key.algorithms) == 1 else {}
    return jwk | narrowed | ({} if key.kid is None else {"kid": key.kid})


# The reference


def _no_constant(name: str) -> None:
    raise ValueError(name)


def json_object(data: bytes) -> dict[str, Any]:
    value = json.loads(data.decode(), parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise TypeError
    return value


class Reference:
    """What `verify` promises, by PyJWT alone and without a thought for speed."""

    def __init__(self, auth: Auth, keys: Sequence[Key]) -> None:
        self.auth = auth
        self.keys = keys
        self.jws = jwt.PyJWS(list(auth.algorithms), {"enforce_minimum_key_length": True})

    def claims(self, token: str) -> dict[str, Any] | str:
        """The claims of a token that is rightly signed, or the reason to refuse it."""
        try:
            return self._claims(token)
        except Exception:
            return "malformed"

    def verdict(self, token: str) -> Identity | str:
        claims = self.claims(token)
        if isinstance(claims, str):
            return claims
        return judged_source(claims, self.auth) or identity(claims)

    def _claims(self, token: str) -> dict[str, Any] | str:
        compact = r"[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]*={0,2}"
        if len(token) > MAX_TOKEN_CHARS or not re.fullmatch(compact, token):
            return "malformed"
        header_part = token.split(".", maxsplit=1)[0].rstrip("=")
        header = json_object(base64.urlsafe_b64decode(header_part + "=" * (-len(header_part) % 4)))
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or not isinstance(kid, str | None):
            return "malformed"
        if algorithm not in self.auth.algorithms or "crit" in header:
            return "unsupported"
        candidates = [
            key
            for key in self.keys
            if algorithm in key.algorithms and (kid is None or key.kid in {None, kid})
        ]
        for key in candidates:
            try:
                return json_object(self.jws.decode(token, key.public, [algorithm]))
            except jwt.InvalidSignatureError:
                continue
        return "bad_signature" if candidates else "unknown_key"


def judged_source(claims: dict[str, Any], auth: Auth) -> str:
    """What is against the times, the issuer or the audience."""
    return _judged_times(claims, auth) or _judged_source(claims, auth)


def _judged_times(claims: dict[str, Any], auth: Auth) -> str:
    exp = claims.get("exp")
    if exp is None:
        return "missing_claim"
    if isinstance(exp, bool) or not isinstance(exp, int) or exp < 1:
        return "bad_claim"
    if exp <= NOW - auth.leeway:
        return "expired"
    if exp > NOW + auth.leeway + auth.max_ttl:
        return "lifetime_too_long"
    for value in (claims.get("nbf"), claims.get("iat"), claims.get("auth_time")):
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                return "bad_claim"
            if value > NOW + auth.leeway:
                return "not_yet_valid"
    issued = NOW if claims.get("iat") is None else claims["iat"]
    if exp - issued > auth.max_ttl + auth.leeway:
        return "lifetime_too_long"
    return ""


def _judged_source(claims: dict[str, Any], auth: Auth) -> str:
    if auth.issuer and claims.get("iss") != auth.issuer:
        return "missing_claim" if claims.get("iss") is None else "wrong_issuer"
    if auth.audience:
        audience = claims.get("aud")
        if audience is None:
            return "missing_claim"
        if auth.audience not in (audience if isinstance(audience, list) else [audience]):
            return "wrong_audience"
    return ""


def identity(claims: dict[str, Any]) -> Identity | str:
    """Who the claims say it is, under the names of the default configuration."""
    claims = {name: value for name, value in claims.items() if value is not None}
    # An integer is the text of an id, but for `sub`.
    user_id = claims.get("sub", _number_as_text(claims.get("user_id")))
    if user_id is None:
        return "missing_claim"
    group_id = claims.get("group_id", claims.get("group"))
    roles = claims.get("roles", claims.get("role", []))
    try:
        return Identity(
            user_id=_matching(USER_ID, user_id),
            username=_text(claims.get("username", claims.get("name", "")), 0, 256) or user_id,
            expires_at=claims["exp"],
            roles=frozenset(_roles(re.findall("[^ ,]+", roles) if isinstance(roles, str) else roles)),
            kind=_kind(claims.get("kind", "user")),
            group_id=None if group_id is None else _matching(NAME, _number_as_text(group_id)),
            token_id=_text(claims["jti"], 1, 128) if "jti" in claims else None,
            session_id=_text(claims["sid"], 1, 128) if "sid" in claims else None,
            issued_at=math.floor(claims.get("iat", 0)),
            logged_in_ms=round(claims.get("auth_time", claims.get("iat", 0)) * 1000),
            login_is_exact=isinstance(claims.get("auth_time", claims.get("iat", 0)), float),
            channels=_channels(claims.get("channels", {})),
        )
    except ValueError:
        return "bad_claim"


NAME = r"[\w.:-]{1,128}"
USER_ID = r"[\w.:@+-]{1,128}"


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _matching(pattern: str, value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise ValueError(pattern)
    return value


def _text(value: object, least: int, most: int) -> str:
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise ValueError(most)
    value.encode()
    return value


def _kind(value: object) -> Any:
    return _matching("user|device|service", value)


def _roles(roles: object) -> list[str]:
    if not isinstance(roles, list) or len(roles) > 64:
        raise ValueError("roles")
    return [_matching(NAME, role) for role in roles]


def _channels(channels: object) -> dict[str, ChannelGrant]:
    if isinstance(channels, list):
        pairs: list[tuple[Any, Any]] = [(name, ["subscribe"]) for name in channels]
    elif isinstance(channels, dict):
        pairs = list(channels.items())
    else:
        raise ValueError("channels")  # noqa: TRY004  the kind of error for any claim
    if len(pairs) > 256:
        raise ValueError("channels")
    grants = {}
    for name, verbs in pairs:
        if not isinstance(verbs, list) or any(verb not in ("subscribe", "publish") for verb in verbs):
            raise ValueError("channels")
        pattern = rf"[a-z]+(:{USER_ID}|:\*)?"
        grants[_matching(pattern, name)] = ChannelGrant("subscribe" in verbs, "publish" in verbs)
    return grants
