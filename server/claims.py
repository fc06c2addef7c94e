"""From the claims of a verified token to an Identity, or to why not."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from tidings.protocol.channels import is_name, is_user_id
from tidings.protocol.messages.fields import DEVICE, DEVICE_CHARS
from tidings.server.identity import ChannelGrant, Identity

MAX_USERNAME_CHARS = 256
# Token and session ids are kept to revoke by: a UUID takes 36, the longest usual hash in hexadecimal 128.
MAX_ID_CHARS = 128
MAX_ROLES = 64
MAX_GRANTS = 256

#: What the user ids of services with a key of their own begin with. Nobody else may have such an id: where users
#: choose theirs, one could come in as `service:billing`, read its inbox, and be taken for it in every list.
SERVICE_IDS = "service:"

#: The same of devices that an app's door lets in without a token.
DEVICE_IDS = "device:"

#: Say as what device a login connects, and which of the user's logins it is. Of our own tokens; names that no other
#: issuer gives something else.
DEVICE_CLAIM = "inbox_device"
LOGIN_CLAIM = "login_number"

# Any kind of channel, so that a token may name a plug-in's; `kind:*` grants every channel of the kind.
_is_grant_name = re.compile(r"[a-z]+(?::[A-Za-z0-9_.:@+-]{1,128}|:\*)?").fullmatch
_is_device = re.compile(DEVICE).fullmatch
_split_roles = re.compile(r"[ ,]+").split

_SUBSCRIBE = ChannelGrant(subscribe=True, publish=False)

RefusalReason = Literal[
    "malformed",
    "bad_signature",
    "expired",
    "not_yet_valid",
    "wrong_issuer",
    "wrong_audience",
    "missing_claim",
    "bad_claim",
    "lifetime_too_long",
    "unknown_key",
    "unsupported",
    "revoked",
]


class TokenRefusal(msgspec.Struct, frozen=True):
    """Why a token was not accepted. Safe to log and to send: no part of the token is in it."""

    reason: RefusalReason
    message: str
    """A sentence for people; may name a claim, never its value."""


class ClaimRules(NamedTuple):
    """What is asked of a token's claims: times in seconds, issuer and audience empty if not asked for."""

    issuer: str
    audience: str
    leeway: int
    max_ttl: int
    user_claims: Sequence[str]
    username_claims: Sequence[str]
    group_claims: Sequence[str]
    role_claims: Sequence[str]


def read_claims(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> Identity | TokenRefusal:
    """The identity that `claims` make at `now` (Unix seconds), or what is against it. Never raises.

    An optional claim that is `null` counts as absent.
    """
    refusal = _judge_times(claims, rules, now) or _judge_source(claims, rules)
    if refusal is not None:
        return refusal
    try:
        return _identity(claims, rules)
    except _RefusedError as error:
        return error.refusal


class _RefusedError(Exception):
    # Stays within this module: it spares a check after each of a dozen claims.
    def __init__(self, message: str, reason: RefusalReason = "bad_claim") -> None:
        super().__init__(message)
        self.refusal = TokenRefusal(reason, message)


def _judge_times(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> TokenRefusal | None:
    """Judge `exp`, `nbf`, `iat` and `auth_time`.

    Compares only and never subtracts from them: `10**400 - now` raises OverflowError, `10**400 > now` does not.
    """
    exp = claims.get("exp")
    if exp is None:
        return TokenRefusal("missing_claim", "the token has no exp claim")
    # RFC 7519 lets a NumericDate be a fraction. Refused here: timers and `expires_at` are whole seconds.
    if type(exp) is not int or exp <= 0:
        return TokenRefusal("bad_claim", "the exp claim is not a positive integer of Unix seconds")
    if exp + rules.leeway <= now:
        return TokenRefusal("expired", "the token has expired")
    # The leeway once more: the issuer's clock may be ahead of this one.
    if exp > now + rules.max_ttl + rules.leeway:
        return TokenRefusal(
            "lifetime_too_long", f"the token ends more than {rules.max_ttl} seconds from now"
        )
    for name in ("nbf", "iat", "auth_time"):
        value = claims.get(name)
        if value is None:
            continue
        # Fractions are accepted here: no timer is set by any of these.
        if type(value) not in {int, float} or not value >= 0:
            return TokenRefusal("bad_claim", f"the {name} claim is not a positive number of Unix seconds")
        if value > now + rules.leeway:
            return TokenRefusal("not_yet_valid", f"the {name} claim lies in the future")
    # From when it was made, too: else one that ends far ahead would be refused today, and come to life when
    # nobody remembers any more that it was revoked. `iat` is small here, so that nothing overflows.
    issued = claims.get("iat")
    if issued is not None and exp > issued + rules.max_ttl + rules.leeway:
        return TokenRefusal("lifetime_too_long", f"the token lives longer than {rules.max_ttl} seconds")
    return None


def _judge_source(claims: Mapping[str, Any], rules: ClaimRules) -> TokenRefusal | None:
    if rules.issuer:
        issuer = claims.get("iss")
        if issuer is None:
            return TokenRefusal("missing_claim", "the token has no iss claim")
        if issuer != rules.issuer:
            return TokenRefusal("wrong_issuer", "the token is from another issuer")
    # Without a configured audience a token that has one is accepted: the issuers that the documents
    # describe differ, and whoever shares one key among several services configures the audience.
    if rules.audience:
        audience = claims.get("aud")
        if audience is None:
            return TokenRefusal("missing_claim", "the token has no aud claim")
        if rules.audience not in (audience if isinstance(audience, list) else [audience]):
            return TokenRefusal("wrong_audience", "the token is for another audience")
    return None


def _identity(claims: Mapping[str, Any], rules: ClaimRules) -> Identity:
    user_id = _user_id(claims, rules.user_claims)
    kind: Any = "user" if claims.get("kind") is None else claims["kind"]
    if kind not in ("user", "device", "service"):
        raise _RefusedError("the kind claim is not one of user, device, service")
    if kind != "service" and user_id.startswith(SERVICE_IDS):
        raise _RefusedError(f"user ids that begin with {SERVICE_IDS} are for the kind service")
    if user_id.startswith(DEVICE_IDS):
        raise _RefusedError(f"user ids that begin with {DEVICE_IDS} are for devices without a token")
    # Judged already: numbers between 0 and now, or a little later.
    issued, logged_in = claims.get("iat") or 0, claims.get("auth_time")
    login = issued if logged_in is None else logged_in
    return Identity(
        user_id=user_id,
        username=_username(claims, rules.username_claims) or user_id,
        expires_at=claims["exp"],
        roles=_roles(claims, rules.role_claims),
        kind=kind,
        group_id=_group_id(claims, rules.group_claims),
        token_id=_opaque_id(claims, "jti"),
        session_id=_opaque_id(claims, "sid"),
        issued_at=int(issued),
        logged_in_ms=round(login * 1000),
        login_is_exact=type(login) is float,
        login_number=_login_number(claims.get(LOGIN_CLAIM)),
        device=_device(claims.get(DEVICE_CLAIM)),
        channels=_grants(claims.get("channels")),
    )


def _first(claims: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    for name in names:
        value = claims.get(name)
        if value is not None:
            return name, value
    return "", None


def _id_text(value: object) -> str | None:
    """The text of an id, which many issuers write as a number; `true` is none, though Python says so."""
    if type(value) is int:
        # A JSON integer has at most 4,300 digits here (the parser's limit), so that str() cannot raise.
        return str(value)
    return value if isinstance(value, str) else None


def _user_id(claims: Mapping[str, Any], names: Sequence[str]) -> str:
    name, value = _first(claims, names)
    if value is None:
        raise _RefusedError(f"the token has no user id ({' or '.join(names)})", "missing_claim")
    # RFC 7519 section 4.1.2 makes `sub` a string; a claim of one's own may be the number that it is.
    text = _id_text(value) if name != "sub" or isinstance(value, str) else None
    if text is None or not is_user_id(text):
        raise _RefusedError(
            f"the {name} claim is not a user id: 1 to 128 of letters, digits and _ . : @ + -"
        )
    return text


def _group_id(claims: Mapping[str, Any], names: Sequence[str]) -> str | None:
    name, value = _first(claims, names)
    if value is None:
        return None
    text = _id_text(value)
    if text is None or not is_name(text):
        raise _RefusedError(f"the {name} claim is not a group id: 1 to 128 of letters, digits and _ . : -")
    return text


def _username(claims: Mapping[str, Any], names: Sequence[str]) -> str | None:
    name, value = _first(claims, names)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_USERNAME_CHARS or not _is_encodable(value):
        raise _RefusedError(f"the {name} claim is not a name of at most {MAX_USERNAME_CHARS} characters")
    return value


def _roles(claims: Mapping[str, Any], names: Sequence[str]) -> frozenset[str]:
    name, value = _first(claims, names)
    if value is None:
        return frozenset()
    roles = [role for role in _split_roles(value) if role] if isinstance(value, str) else value
    if not isinstance(roles, list) or len(roles) > MAX_ROLES:
        raise _RefusedError(f"the {name} claim is not a list of at most {MAX_ROLES} roles")
    for role in roles:
        if not isinstance(role, str) or not is_name(role):
            raise _RefusedError(
                f"the {name} claim holds a role that is not 1 to 128 of letters, digits and _ . : -"
            )
    return frozenset(roles)


def _opaque_id(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    # An empty sid would make one login of everybody.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS or not _is_encodable(value):
        raise _RefusedError(f"the {name} claim is not a string of 1 to {MAX_ID_CHARS} characters")
    return value


def _login_number(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 2**53:
        raise _RefusedError(f"the {LOGIN_CLAIM} claim is not an integer from 0 to 2^53")
    return value


def _device(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or _is_device(value) is None or not _is_encodable(value):
        raise _RefusedError(
            f"the {DEVICE_CLAIM} claim is not a string of 1 to {DEVICE_CHARS} characters without control characters"
        )
    return value


def _grants(value: object) -> dict[str, ChannelGrant]:
    if value is None:
        return {}
    if not isinstance(value, list | dict) or len(value) > MAX_GRANTS:
        raise _RefusedError(
            f"the channels claim is not a list or an object of at most {MAX_GRANTS} channels"
        )
    for name in value:
        if not isinstance(name, str) or not _is_grant_name(name):
            raise _RefusedError("the channels claim names something that is not a channel")
    if isinstance(value, list):
        return dict.fromkeys(value, _SUBSCRIBE)
    return {name: _grant(verbs) for name, verbs in value.items()}


def _grant(verbs: object) -> ChannelGrant:
    if isinstance(verbs, list) and all(verb in ("subscribe", "publish") for verb in verbs):
        return ChannelGrant(subscribe="subscribe" in verbs, publish="publish" in verbs)
    raise _RefusedError("the channels claim grants something else than subscribe and publish")


def _is_encodable(text: str) -> bool:
    # JSON may carry half a surrogate pair, which no later encoder would take.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
