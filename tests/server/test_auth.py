"""Tokens: what `threats.md` lists under "Tokens", with real JWTs."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tidings.client.credentials import check_credential
from tidings.server.auth import (
    MAX_TOKEN_CHARS,
    AuthConfigError,
    Authenticator,
    CannotIssue,
    TokenRefusal,
    new_secret,
)
from tidings.server.config import Auth
from tidings.server.identity import ChannelGrant, Identity
from tidings.server.revocations import Kind, revocation

NOW = 1_800_000_000
SECRET = "canary-secret-of-more-than-sixty-four-bytes-for-every-hs-algorithm-0123456789"
OTHER_SECRET = "another-secret-of-more-than-sixty-four-bytes-for-every-hs-algorithm-0123456789"
CLAIMS: dict[str, Any] = {"sub": "ada", "exp": NOW + 600}
JWS = jwt.PyJWS()

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def authenticator(clock: Clock | None = None, **fields: Any) -> Authenticator:
    return Authenticator(Auth(**{"secret": SECRET, **fields}), clock=clock or Clock())


def signed(
    claims: object, key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None
) -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return JWS.encode(payload, key, algorithm, headers)


def handmade(header: object, claims: object, signature: bytes = b"") -> str:
    """A token that PyJWT would not make."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def hs256(header: dict[str, Any], claims: object, secret: str = SECRET) -> str:
    """A token with any header at all and the right HS256 signature."""
    unsigned = handmade(header, claims).rpartition(".")[0]
    signature = jwt.get_algorithm_by_name("HS256").sign(unsigned.encode(), secret.encode())
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def reason_of(verdict: Identity | TokenRefusal) -> str:
    assert isinstance(verdict, TokenRefusal), verdict
    return verdict.reason


def refused(claims: object, **fields: Any) -> str:
    return reason_of(authenticator(**fields).verify(signed(claims)))


def accepted(claims: object, **fields: Any) -> Identity:
    identity = authenticator(**fields).verify(signed(claims))
    assert isinstance(identity, Identity), identity
    return identity


def jwk_of(key: Any, **members: Any) -> dict[str, Any]:
    algorithm = {rsa.RSAPublicKey: "RS256", ec.EllipticCurvePublicKey: "ES256"}
    name = next((name for kind, name in algorithm.items() if isinstance(key.public_key(), kind)), "EdDSA")
    jwk: dict[str, Any] = jwt.get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, **members}


def jwks_file(folder: Path, *keys: object) -> str:
    file = folder / "jwks.json"
    file.write_text(json.dumps({"keys": keys}))
    return str(file)


def pem_of(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


# Who is accepted, as whom


def test_a_token_of_all_claims_makes_the_identity_it_describes() -> None:
    """Every claim that is understood arrives in the identity."""
    identity = accepted(
        CLAIMS
        | {
            "username": "Ada ♥",
            "roles": ["editor", "admin"],
            "group_id": "g:1",
            "jti": "t1",
            "sid": "s1",
            "kind": "device",
            "channels": {"room:a:b": ["subscribe"], "line:*": ["publish", "subscribe"], "all": []},
        }
    )
    assert identity == Identity(
        user_id="ada",
        username="Ada ♥",
        expires_at=NOW + 600,
        roles=frozenset({"editor", "admin"}),
        kind="device",
        group_id="g:1",
        token_id="t1",
        session_id="s1",
        channels={
            "room:a:b": ChannelGrant(subscribe=True, publish=False),
            "line:*": ChannelGrant(subscribe=True, publish=True),
            "all": ChannelGrant(subscribe=False, publish=False),
        },
    )


def test_a_token_of_the_least_makes_a_plain_user() -> None:
    """A user id and an end are enough; the name falls back to the id, and null counts as absent."""
    identity = accepted(
        CLAIMS | {"username": None, "roles": None, "channels": None, "kind": None, "jti": None}
    )
    assert identity == Identity(user_id="ada", username="ada", expires_at=NOW + 600)


@pytest.mark.parametrize(
    ("claims", "user_id"),
    [
        ({"user_id": 42}, "42"),
        ({"user_id": -7}, "-7"),
        ({"sub": None, "user_id": "u"}, "u"),
        ({"sub": "a@b.c+d"}, "a@b.c+d"),
    ],
)
def test_a_user_id_comes_from_the_first_claim_present_as_text(claims: dict[str, Any], user_id: str) -> None:
    """An integer id becomes decimal text, and a later claim stands in for an absent one."""
    assert accepted({"exp": NOW + 600} | claims).user_id == user_id


def test_a_subject_is_a_string() -> None:
    """An integer `sub` is refused (RFC 7519 section 4.1.2), also where another claim would have served."""
    assert refused({"sub": 42, "user_id": "u", "exp": NOW + 600}) == "bad_claim"


def test_claims_are_found_under_the_configured_names() -> None:
    """The names of the four claims come from the configuration."""
    identity = accepted(
        {
            "uid": 1,
            "nick": "A",
            "team": 5,
            "scope": "a, b c",
            "exp": NOW + 1,
            "sub": "no",
            "roles": ["admin"],
        },
        user_claims=("uid",),
        username_claims=("nick",),
        group_claims=("team",),
        role_claims=("scope",),
    )
    assert (identity.user_id, identity.username, identity.group_id) == ("1", "A", "5")
    assert identity.roles == {"a", "b", "c"}


def test_a_list_of_channels_grants_subscribing_only() -> None:
    """`channels` as a list of names lets its bearer subscribe and not publish."""
    assert accepted(CLAIMS | {"channels": ["room:x"]}).channels == {"room:x": ChannelGrant(publish=False)}


# Signature, algorithm, key


def test_alg_none_is_refused() -> None:
    """A token without a signature is nobody's, however `none` is spelt."""
    for name in ("none", "None", "NONE"):
        assert reason_of(authenticator().verify(handmade({"alg": name}, CLAIMS))) == "unsupported"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_an_algorithm_that_is_not_configured_is_refused(algorithm: str) -> None:
    """The right secret with another algorithm than the configured one does not do."""
    assert reason_of(authenticator().verify(signed(CLAIMS, algorithm=algorithm))) == "unsupported"


@pytest.mark.parametrize("alg", [None, 5, ["HS256"], {"HS256": 1}, True])
def test_an_alg_that_is_not_text_is_malformed(alg: object) -> None:
    """An `alg` of another type is refused like one that is absent."""
    assert reason_of(authenticator().verify(handmade({"alg": alg}, CLAIMS))) == "malformed"


def test_another_secret_is_refused() -> None:
    """A token signed with a secret that is not in force is refused."""
    assert reason_of(authenticator().verify(signed(CLAIMS, OTHER_SECRET))) == "bad_signature"


def test_a_changed_payload_is_refused() -> None:
    """A signature covers the claims."""
    header, _, signature = signed(CLAIMS).split(".")
    payload = signed(CLAIMS | {"sub": "eve"}).split(".")[1]
    assert reason_of(authenticator().verify(f"{header}.{payload}.{signature}")) == "bad_signature"


def test_the_previous_secret_still_verifies_during_rotation() -> None:
    """Tokens of the secret before are accepted while it is configured; new ones carry the new secret."""
    rotating = authenticator(secret=OTHER_SECRET, previous_secret=SECRET)
    assert isinstance(rotating.verify(signed(CLAIMS)), Identity)
    fresh = rotating.issue("ada", ttl=60)
    assert isinstance(authenticator(secret=OTHER_SECRET).verify(fresh), Identity)
    assert reason_of(authenticator().verify(fresh)) == "bad_signature"


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA_KEY, "RS256"), (EC_KEY, "ES256"), (ED_KEY, "EdDSA"), (RSA_KEY, "PS256")]
)
def test_tokens_of_a_jwks_file_are_verified(tmp_path: Path, key: Any, algorithm: str) -> None:
    """RS, PS, ES and EdDSA tokens verify against the public keys of a file, with a kid and without."""
    file = jwks_file(tmp_path, jwk_of(key, kid="k1"))
    auth = authenticator(secret="", jwks_file=file, algorithms=(algorithm,))
    for headers in (None, {"kid": "k1"}):
        assert isinstance(auth.verify(signed(CLAIMS, key, algorithm, headers)), Identity)


def test_a_key_id_picks_its_key_and_an_unknown_one_picks_none(tmp_path: Path) -> None:
    """A token is verified with the key that it names; without a name each key of the type is tried."""
    file = jwks_file(tmp_path, jwk_of(RSA_KEY, kid="a"), jwk_of(OTHER_RSA_KEY, kid="b"))
    auth = authenticator(secret="", jwks_file=file, algorithms=("RS256",))
    assert isinstance(auth.verify(signed(CLAIMS, OTHER_RSA_KEY, "RS256", {"kid": "b"})), Identity)
    assert isinstance(auth.verify(signed(CLAIMS, OTHER_RSA_KEY, "RS256")), Identity)
    assert reason_of(auth.verify(signed(CLAIMS, RSA_KEY, "RS256", {"kid": "b"}))) == "bad_signature"
    assert reason_of(auth.verify(signed(CLAIMS, RSA_KEY, "RS256", {"kid": "c"}))) == "unknown_key"


@pytest.mark.parametrize(
    "kid", [5, None, ["a"], {}, True, "../../dev/null", "' OR 1=1 --", "\x00", "\ud800", "é", "k" * 3000]
)
def test_an_odd_key_id_reaches_nothing(tmp_path: Path, kid: object) -> None:
    """A key id is only ever compared: any other text is unknown, any other type is malformed."""
    file = jwks_file(tmp_path, jwk_of(RSA_KEY, kid="a"))
    auth = authenticator(jwks_file=file, algorithms=("HS256", "RS256"))
    reason = reason_of(auth.verify(handmade({"alg": "RS256", "kid": kid}, CLAIMS, b"x" * 256)))
    assert reason == ("unknown_key" if isinstance(kid, str) else "malformed")


def test_a_public_key_does_not_serve_as_a_secret(tmp_path: Path) -> None:
    """An RS token made HS256 and signed with the public key is refused, even where both are configured."""
    file = jwks_file(tmp_path, jwk_of(RSA_KEY, kid="a"))
    jwk = json.dumps(jwk_of(RSA_KEY, kid="a"))
    for algorithms, secret, reason in (
        (("RS256",), "", "unsupported"),
        (("RS256", "HS256"), SECRET, "bad_signature"),
    ):
        auth = authenticator(secret=secret, jwks_file=file, algorithms=algorithms)
        for public in (pem_of(RSA_KEY), jwk, jwk_of(RSA_KEY)["n"]):
            for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": "a"}):
                assert reason_of(auth.verify(hs256(header, CLAIMS, public))) == reason


def test_a_key_serves_the_algorithms_of_its_own_type_only(tmp_path: Path) -> None:
    """A token of one type of key that names the key of another has no key at all."""
    file = jwks_file(tmp_path, jwk_of(RSA_KEY, kid="r"), jwk_of(EC_KEY, kid="e"))
    auth = authenticator(jwks_file=file, algorithms=("HS256", "RS256", "ES256"))
    assert reason_of(auth.verify(signed(CLAIMS, EC_KEY, "ES256", {"kid": "r"}))) == "unknown_key"
    assert reason_of(auth.verify(signed(CLAIMS, RSA_KEY, "RS256", {"kid": "e"}))) == "unknown_key"
    assert isinstance(auth.verify(signed(CLAIMS, EC_KEY, "ES256", {"kid": "e"})), Identity)


def test_a_key_within_the_token_is_ignored() -> None:
    """A token cannot bring the key that it is to be verified with."""
    header = {
        "alg": "HS256",
        "jwk": {"kty": "oct", "k": "eA"},
        "jku": "https://evil.example/k",
        "x5u": "file:///k",
    }
    assert reason_of(authenticator().verify(hs256(header, CLAIMS, OTHER_SECRET))) == "bad_signature"


@pytest.mark.parametrize("crit", [["x"], ["b64"], [], "exp", None, [5]])
def test_any_critical_extension_is_refused(crit: object) -> None:
    """No `crit` extension is understood, so that a token with one is refused."""
    token = hs256({"alg": "HS256", "crit": crit, "b64": True, "x": 1}, CLAIMS)
    assert reason_of(authenticator().verify(token)) == "unsupported"


def test_an_unencoded_payload_is_refused() -> None:
    """A token in the detached form of RFC 7797 is refused."""
    assert reason_of(authenticator().verify(hs256({"alg": "HS256", "b64": False}, CLAIMS))) == "malformed"


# Times


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CLAIMS.items() if key != name}


def test_a_token_without_exp_is_refused() -> None:
    """A token that would never end is refused, as is one whose `exp` is null."""
    assert refused(without("exp")) == "missing_claim"
    assert refused(CLAIMS | {"exp": None}) == "missing_claim"


@pytest.mark.parametrize(
    "exp", ["1800000600", True, NOW + 600.0, [NOW + 600], {}, "", 0, -1, -(10**400), "Infinity"]
)
def test_an_exp_that_is_not_a_positive_integer_is_refused(exp: object) -> None:
    """An `exp` of another type, a float of whole seconds too, is not a time."""
    assert refused(CLAIMS | {"exp": exp}) == "bad_claim"


@pytest.mark.parametrize("exp", ["1e999", "NaN", "Infinity", "-Infinity", "1800000600.5"])
def test_an_exp_that_is_no_integer_in_json_is_refused(exp: str) -> None:
    """Infinite, fractional and undefined numbers are refused, whether JSON knows them or not."""
    token = signed(b'{"sub": "ada", "exp": %s}' % exp.encode())
    assert reason_of(authenticator().verify(token)) in {"bad_claim", "malformed"}


@pytest.mark.parametrize("exp", [10**400, 2**63, NOW + 3606])
def test_a_token_that_lives_too_long_is_refused(exp: int) -> None:
    """No `exp` lies further ahead than `max_ttl` and the leeway, so that every timer can hold it."""
    assert refused(CLAIMS | {"exp": exp}, max_ttl=3600) == "lifetime_too_long"


def test_max_ttl_and_leeway_are_inclusive() -> None:
    """A token of exactly `max_ttl` from a clock that is `leeway` ahead is accepted."""
    assert accepted(CLAIMS | {"exp": NOW + 3605, "iat": NOW + 5}, max_ttl=3600).expires_at == NOW + 3605


def test_a_long_life_is_refused_at_its_end_too() -> None:
    """A token that says when it was made lives no longer than `max_ttl` from then, however near its end is."""
    assert refused(CLAIMS | {"exp": NOW + 60, "iat": NOW - 3546}, max_ttl=3600) == "lifetime_too_long"
    assert refused(CLAIMS | {"exp": NOW + 60, "iat": 0}, max_ttl=3600) == "lifetime_too_long"
    assert accepted(CLAIMS | {"exp": NOW + 60, "iat": NOW - 3545}, max_ttl=3600).issued_at == NOW - 3545


@given(life=st.integers(1, 20 * 3600), later=st.integers(0, 30 * 3600))
def test_what_ends_too_late_today_is_not_accepted_when_its_revocation_is_forgotten(
    life: int, later: int
) -> None:
    """Revoked, one that says when it was made is refused for ever, whatever `exp` its issuer gave it."""
    clock = Clock()
    auth = authenticator(clock, max_ttl=3600)
    token = signed({"sub": "ada", "jti": "j", "iat": NOW, "exp": NOW + life})
    revoked: dict[Kind, str] = {"token": "j", "user": "ada"}
    for kind, value in revoked.items():
        auth.revocations.apply(
            revocation(
                kind, value, now=NOW + 1, issued_before=None, expires_at=None, longest=3600, leeway=5
            )
        )
    clock.now += later + 86400 * (later % 3)
    auth.revocations.has_room("user", "eve")  # forgets what has ended
    assert isinstance(auth.verify(token), TokenRefusal)


def test_an_integer_of_too_many_digits_is_refused() -> None:
    """An integer that Python's parser declines is refused, not raised."""
    token = signed(b'{"sub": "ada", "exp": %s}' % (b"9" * 5000))
    assert reason_of(authenticator().verify(token)) == "malformed"


def test_an_expired_token_is_refused_after_the_leeway() -> None:
    """A token ends at `exp`, give or take the leeway."""
    assert accepted(CLAIMS | {"exp": NOW - 4}, leeway=5).expires_at == NOW - 4
    assert refused(CLAIMS | {"exp": NOW - 5}, leeway=5) == "expired"
    assert refused(CLAIMS | {"exp": NOW}, leeway=0) == "expired"


@pytest.mark.parametrize("name", ["nbf", "iat", "auth_time"])
def test_a_token_of_the_future_is_refused_beyond_the_leeway(name: str) -> None:
    """`nbf`, `iat` and `auth_time` may be ahead by the leeway and no more; another type is refused."""
    assert accepted(CLAIMS | {name: NOW + 5}).user_id == "ada"
    assert accepted(CLAIMS | {name: NOW - 0.5}).user_id == "ada"
    for ahead in (NOW + 6, NOW + 5.5, 10**400):
        assert refused(CLAIMS | {name: ahead}) == "not_yet_valid"
    for odd in each(name, "1", True, -1, [], -(10**400)):
        assert refused(CLAIMS | odd) == "bad_claim"
    endless = b'{"sub": "ada", "exp": %d, "%s": 1e999}' % (NOW + 1, name.encode())
    assert reason_of(authenticator().verify(signed(endless))) == "not_yet_valid"


def test_tokens_follow_the_wall_clock_when_it_moves_an_hour() -> None:
    """The clock moved on ends a token, moved back makes it early, and set right accepts it again."""
    clock = Clock()
    auth = authenticator(clock)
    token = auth.issue("ada", ttl=600)
    clock.now = NOW + 3600.0
    assert reason_of(auth.verify(token)) == "expired"
    clock.now = NOW - 3600.0
    assert reason_of(auth.verify(token)) == "not_yet_valid"
    clock.now = float(NOW)
    assert isinstance(auth.verify(token), Identity)


def test_the_clock_is_the_wall_clock_unless_another_is_given() -> None:
    """Without an injected clock tokens are judged by `time.time`."""
    auth = Authenticator(Auth(secret=SECRET))
    assert isinstance(auth.verify(signed({"sub": "a", "exp": int(time.time()) + 60})), Identity)
    assert reason_of(auth.verify(signed({"sub": "a", "exp": int(time.time()) - 60}))) == "expired"


# Issuer, audience


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, "missing_claim"),
        ({"iss": "evil"}, "wrong_issuer"),
        ({"iss": ["us"]}, "wrong_issuer"),
        ({"iss": 1}, "wrong_issuer"),
    ],
)
def test_another_issuer_is_refused(claims: dict[str, Any], reason: str) -> None:
    """A configured issuer must be the token's, exactly."""
    assert refused(CLAIMS | claims, issuer="us") == reason
    assert accepted(CLAIMS | {"iss": "us"}, issuer="us").user_id == "ada"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, "missing_claim"),
        ({"aud": "them"}, "wrong_audience"),
        ({"aud": []}, "wrong_audience"),
        ({"aud": ["them", 5, None, {}]}, "wrong_audience"),
        ({"aud": {"us": 1}}, "wrong_audience"),
        ({"aud": "us and them"}, "wrong_audience"),
    ],
)
def test_another_audience_is_refused(claims: dict[str, Any], reason: str) -> None:
    """A configured audience must be the token's or one of them."""
    assert refused(CLAIMS | claims, audience="us") == reason
    assert accepted(CLAIMS | {"aud": "us"}, audience="us").user_id == "ada"
    assert accepted(CLAIMS | {"aud": ["them", "us"]}, audience="us").user_id == "ada"


def test_an_audience_is_not_asked_about_unless_configured() -> None:
    """Without a configured issuer and audience a token may have any."""
    assert accepted(CLAIMS | {"aud": "them", "iss": 5}).user_id == "ada"


# The other claims


def each(name: str, *values: Any) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


LONG = "x" * 129


@pytest.mark.parametrize(
    "claims",
    [
        *each("sub", True, False, 1.5, [], {}, "", "a b", "é", "a\n", "a/b", "*", "а", LONG, 10**200),
        *each("username", 5, True, ["a"], "x" * 257, "\ud800"),
        *each("group_id", True, 1.0, "", "a@b", "g\n", LONG, []),
        *each("roles", 5, True, {"admin": 1}, ["a b"], ["admin\n"], [""], [5], [["admin"]], ["аdmin"]),
        *each("roles", [f"r{number}" for number in range(65)]),
        *each("roles", " ".join(f"r{number}" for number in range(65))),
        *each("kind", "admin", 5, "", ["user"], True),
        *each("jti", 5, "", LONG, "\udfff", [], True),
        *each("sid", 5, "", LONG, "\udfff", [], True),
        *each("channels", 5, "room:x", True, [5], ["Room:x"], ["room:"], ["room:x\n"], ["*"], ["room:a*"]),
        *each("channels", *each("room:x", "subscribe", ["admin"], {}, None, [["publish"]], [5])),
        *each("channels", {"": ["publish"]}, [f"r:{number}" for number in range(257)]),
    ],
    ids=lambda claims: ascii(claims)[:60],
)
def test_a_claim_of_another_shape_is_refused(claims: dict[str, Any]) -> None:
    """A claim that is present and not understood refuses the token: it is never half believed."""
    assert refused(CLAIMS | claims) == "bad_claim"


def test_a_token_without_a_user_is_refused() -> None:
    """A token that names nobody is refused, and the message names the claims that were looked for."""
    verdict = authenticator().verify(signed(without("sub")))
    assert verdict == TokenRefusal("missing_claim", "the token has no user id (sub or user_id)")


@pytest.mark.parametrize(
    "claims",
    [b"[]", b"5", b'"text"', b"null", b"", b"{", b'{"sub": "\xff"}', b"\xef\xbb\xbf{}", b"[" * 5000],
)
def test_a_payload_that_is_not_an_object_is_refused(claims: bytes) -> None:
    """A rightly signed payload of anything but a JSON object in UTF-8 is refused."""
    assert reason_of(authenticator().verify(signed(claims))) == "malformed"


def test_a_payload_in_another_encoding_is_refused() -> None:
    """JSON in UTF-16, which Python's parser would guess, is refused."""
    assert (
        reason_of(authenticator().verify(signed(json.dumps(dict(CLAIMS)).encode("utf-16")))) == "malformed"
    )


# Text that is no token


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "Bearer " + signed(CLAIMS),
        signed(CLAIMS) + "\n",
        signed(CLAIMS) + " ",
        signed(CLAIMS) + ".x",
        signed(CLAIMS) + "é",
        signed(CLAIMS) + "\ud800",
        "\udcff" + signed(CLAIMS),
        signed(CLAIMS).replace(".", ".\x00", 1),
        signed(CLAIMS).rpartition(".")[0],
        handmade(5, CLAIMS),
        handmade([], CLAIMS),
        handmade({}, CLAIMS),
        base64.urlsafe_b64encode(b"[" * 4000).decode() + ".e30.AAAA",
    ],
    ids=lambda token: ascii(token)[:40],
)
def test_text_that_is_no_token_is_malformed(token: str) -> None:
    """Anything but three segments of base64url is refused before a signature is computed."""
    assert reason_of(authenticator().verify(token)) == "malformed"


def test_a_token_over_the_limit_is_refused_whatever_it_holds() -> None:
    """A rightly signed token over 8 KiB is refused without being decoded, one just below is read."""
    assert refused(CLAIMS | {"x": "y" * MAX_TOKEN_CHARS}) == "malformed"
    assert accepted(CLAIMS | {"x": "y" * 5900}).user_id == "ada"


@pytest.mark.parametrize("token", [None, 5, b"a.b.c", ["a"]])
def test_what_is_not_text_is_malformed(token: Any) -> None:
    """A caller's slip of the type is refused too, not raised."""
    assert reason_of(authenticator().verify(token)) == "malformed"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4)
    ),
    max_leaves=8,
)
CLAIM_NAMES = st.sampled_from(
    [
        "exp",
        "nbf",
        "iat",
        "auth_time",
        "iss",
        "aud",
        "sub",
        "user_id",
        "username",
        "group_id",
        "roles",
        "kind",
        "jti",
        "sid",
        "channels",
    ]
)
TIMES = st.integers(NOW - 10, NOW + 10) | st.sampled_from([10**400, -(10**400), 2**63])
ODD_CLAIMS = st.dictionaries(CLAIM_NAMES, JSON_VALUES | TIMES).map(lambda odd: {**CLAIMS, **odd})
HYPOTHESIS_AUTH = authenticator(issuer="us", audience="us")
PLAIN_AUTH = authenticator()


@given(
    st.text(st.characters())
    | st.binary().map(lambda data: f"e30.{base64.urlsafe_b64encode(data).decode()}.AAAA")
)
def test_any_text_is_refused_and_never_raises(token: str) -> None:
    """Whatever text a stranger sends as a token, the answer is a refusal."""
    assert isinstance(PLAIN_AUTH.verify(token), TokenRefusal)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ"]), JSON_VALUES), st.booleans())
def test_any_header_gives_an_identity_or_a_refusal(header: dict[str, Any], keep_alg: bool) -> None:
    """Whatever a rightly signed token's header holds, the answer is an identity or a refusal."""
    verdict = PLAIN_AUTH.verify(hs256(header | ({"alg": "HS256"} if keep_alg else {}), CLAIMS))
    assert isinstance(verdict, Identity | TokenRefusal)


@given(JSON_VALUES | ODD_CLAIMS)
def test_any_claims_give_an_identity_or_a_refusal(claims: object) -> None:
    """Whatever JSON is rightly signed, the answer is an identity that can be encoded, or a refusal."""
    assert isinstance(HYPOTHESIS_AUTH.verify(signed(claims)), Identity | TokenRefusal)
    verdict = PLAIN_AUTH.verify(signed(claims))
    assert isinstance(verdict, Identity | TokenRefusal)
    if isinstance(verdict, Identity):
        assert NOW - 5 < verdict.expires_at <= NOW + Auth().max_ttl + 5
        msgspec.json.encode(verdict)  # raises for half a surrogate pair


# What gets out


def test_no_refusal_shows_any_part_of_the_token() -> None:
    """Messages and reprs of refusals hold neither the token nor what its claims or header say."""
    canary = "canary7f3a"
    auth = authenticator(issuer="us", audience="us")
    base = CLAIMS | {"iss": "us", "aud": "us"}
    spoilt: list[dict[str, Any]] = [
        {name: canary} for name in ("exp", "nbf", "iat", "auth_time", "iss", "aud", "kind", "channels")
    ] + [
        {"sub": f"{canary} x"},
        {"sub": None},
        {"username": [canary]},
        {"group_id": f"{canary} x"},
        {"roles": [f"{canary}/"]},
        {"jti": canary * 20},
        {"channels": [canary.upper()]},
        {"channels": {"room:x": [canary]}},
        {"exp": NOW - 100, "sub": canary},
        {"exp": 2**60, "sub": canary},
    ]
    tokens = [signed(base | claims) for claims in spoilt]
    tokens += [
        canary,
        f"{canary}.{canary}.{canary}",
        f"\ud800{canary}",
        signed(base, OTHER_SECRET),
        hs256({"alg": canary}, base),
        hs256({"alg": "HS256", "crit": [canary]}, base),
        hs256({"alg": "HS256", "kid": [canary]}, base),
    ]
    for token in tokens:
        verdict = auth.verify(token)
        assert isinstance(verdict, TokenRefusal)
        assert verdict.message
        for text in (repr(verdict), str(verdict), verdict.message):
            assert canary not in text.lower()
            assert not any(len(part) > 3 and part in text for part in token.split("."))


# What is refused at start


def complaint(**fields: Any) -> str:
    with pytest.raises(AuthConfigError) as caught:
        authenticator(**fields)
    shown = f"{caught.value} {caught.value!r}"
    for key in ("secret", "previous_secret"):
        if value := fields.get(key):
            assert value not in shown
            assert ascii(value)[1:-1] not in shown
    # What a traceback would print below the message.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def test_no_key_at_all_refuses_to_start() -> None:
    """Without a secret and a JWKS file there is no start, and the message says how to make a secret."""
    assert "secrets.token_urlsafe" in complaint(secret="")


@pytest.mark.parametrize(("algorithm", "size"), [("HS256", 31), ("HS384", 47), ("HS512", 63)])
def test_a_short_secret_refuses_to_start(algorithm: str, size: int) -> None:
    """A secret below its algorithm's digest is refused, as secret and as previous secret."""
    for fields in ({"secret": "s" * size}, {"previous_secret": "p" * size}):
        assert f"at least {size + 1} bytes" in complaint(algorithms=(algorithm,), **fields)
    assert isinstance(authenticator(algorithms=(algorithm,), secret="s" * (size + 1)), Authenticator)


def test_a_secret_must_suit_each_listed_algorithm() -> None:
    """A secret long enough for HS256 alone does not do when HS512 is listed too."""
    assert "HS512" in complaint(algorithms=("HS256", "HS512"), secret="s" * 32)


@pytest.mark.parametrize(
    "secret",
    [
        pem_of(RSA_KEY),
        pem_of(EC_KEY),
        json.dumps(jwk_of(RSA_KEY)),
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7",
    ],
    ids=["rsa pem", "ec pem", "jwk", "ssh"],
)
def test_a_public_key_as_secret_refuses_to_start(secret: str) -> None:
    """A public key as HMAC secret, with which anybody could sign, is refused."""
    assert "auth.jwks_file" in complaint(secret=secret)
    assert "auth.jwks_file" in complaint(previous_secret=secret)


def test_a_secret_that_cannot_be_encoded_refuses_to_start() -> None:
    """A secret of broken bytes, as an environment can hold, is refused without being shown."""
    assert "UTF-8" in complaint(secret="\udcff" * 64)


@pytest.mark.parametrize("algorithms", [("none",), ("HS256", "none"), ("HS1",), ("hs256",), ("",), ()])
def test_an_unknown_algorithm_refuses_to_start(algorithms: tuple[str, ...]) -> None:
    """`none` and whatever is not known cannot be configured."""
    assert "auth.algorithms" in complaint(algorithms=algorithms)


def test_an_algorithm_without_a_key_refuses_to_start(tmp_path: Path) -> None:
    """Each listed algorithm has a key and each secret an algorithm, or the message says which has none."""
    file = jwks_file(tmp_path, jwk_of(RSA_KEY))
    assert "RS256" in complaint(algorithms=("HS256", "RS256"))
    assert "HS256" in complaint(secret="", jwks_file=file, algorithms=("RS256", "HS256"))
    assert "EC P-256" in complaint(secret="", jwks_file=file, algorithms=("RS256", "ES256"))
    assert "HS256" in complaint(jwks_file=file, algorithms=("RS256",))
    assert "auth.secret" in complaint(secret="", previous_secret=SECRET, jwks_file=file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"keys": []}',
        '{"keys": {}}',
        '{"keys": [5]}',
        '{"keys": [{}]}',
        "[" * 100_000,
        '{"keys": [{"kty": "RSA"}]}',
        '{"keys": [{"kty": "RSA", "n": "!", "e": 5}]}',
        '{"keys": [{"kty": "RSA", "kid": 5}]}',
        '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}',
        '{"keys": [{"kty": ["RSA"]}]}',
    ],
    ids=lambda text: text[:50],
)
def test_a_broken_jwks_file_refuses_to_start(tmp_path: Path, text: str) -> None:
    """A JWKS file that is not one, or holds a broken key, is refused and named."""
    file = tmp_path / "jwks.json"
    file.write_text(text)
    for algorithms in (("RS256",), ("ES256",), ("RS256", "ES256")):
        assert str(file) in complaint(secret="", jwks_file=str(file), algorithms=algorithms)


def test_an_unreadable_jwks_file_refuses_to_start(tmp_path: Path) -> None:
    """A JWKS file that is missing, a directory or not text is refused and named."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", ".", "binary"):
        file = str(tmp_path / name)
        assert file in complaint(secret="", jwks_file=file, algorithms=("RS256",))


def test_a_weak_or_private_or_shared_key_in_the_file_refuses_to_start(tmp_path: Path) -> None:
    """A key of 1,024 bits, a private key and a key that gives the secret away are refused."""
    weak = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xc1" * 128).decode().rstrip("=")}
    assert "2048 bits" in complaint(secret="", jwks_file=jwks_file(tmp_path, weak), algorithms=("RS256",))
    private = jwt.get_algorithm_by_name("RS256").to_jwk(RSA_KEY, as_dict=True)
    message = complaint(secret="", jwks_file=jwks_file(tmp_path, private), algorithms=("RS256",))
    assert "private" in message
    assert private["d"] not in message
    public = jwk_of(RSA_KEY)
    file = jwks_file(tmp_path, public)
    assert "new auth.secret" in complaint(secret=public["n"], jwks_file=file, algorithms=("RS256", "HS256"))


def test_a_secret_of_the_file_that_is_a_public_key_refuses_to_start(tmp_path: Path) -> None:
    """An `oct` key that holds a public key, with which anybody could sign, is refused and named."""
    secret = base64.urlsafe_b64encode(pem_of(RSA_KEY).encode()).decode().rstrip("=")
    file = jwks_file(tmp_path, {"kty": "oct", "k": secret})
    message = complaint(secret="", jwks_file=file)
    assert f"{file}: key 0 is an asymmetric key" in message
    assert secret not in message


def test_a_secret_of_the_file_verifies_the_algorithms_it_is_for(tmp_path: Path) -> None:
    """An `oct` key is a candidate beside the secrets, for each listed algorithm that it is long enough for."""
    secret = base64.urlsafe_b64encode(OTHER_SECRET.encode()).decode().rstrip("=")
    auth = authenticator(
        jwks_file=jwks_file(tmp_path, {"kty": "oct", "k": secret, "kid": "o", "alg": "HS512"}),
        algorithms=("HS256", "HS512"),
    )
    assert isinstance(auth.verify(signed(CLAIMS, OTHER_SECRET, "HS512", {"kid": "o"})), Identity)
    assert isinstance(auth.verify(signed(CLAIMS, SECRET, "HS512", {"kid": "o"})), Identity)
    assert reason_of(auth.verify(signed(CLAIMS, OTHER_SECRET, "HS256"))) == "bad_signature"
    assert "64 bytes" in complaint(
        jwks_file=jwks_file(tmp_path, {"kty": "oct", "k": "eA" * 20, "alg": "HS512"}), algorithms=("HS512",)
    )


def test_no_repr_shows_a_key() -> None:
    """Neither the authenticator nor the keys that it holds show a secret when they are printed."""
    auth = authenticator()
    shown = repr(auth) + repr(auth._ring) + repr(auth._ring.candidates("HS256", None))
    assert SECRET not in shown


def test_keys_for_other_uses_are_passed_over(tmp_path: Path) -> None:
    """Keys for encryption, of unknown types and of algorithms that are not listed are ignored."""
    file = jwks_file(
        tmp_path,
        jwk_of(OTHER_RSA_KEY, use="enc"),
        {"kty": "new"},
        jwk_of(OTHER_RSA_KEY, alg="RS512"),
        jwk_of(ED_KEY),
        jwk_of(RSA_KEY, use="sig", alg="RS256"),
    )
    auth = authenticator(secret="", jwks_file=file, algorithms=("RS256",))
    assert isinstance(auth.verify(signed(CLAIMS, RSA_KEY, "RS256")), Identity)
    assert reason_of(auth.verify(signed(CLAIMS, OTHER_RSA_KEY, "RS256"))) == "bad_signature"


# API keys


def test_an_api_key_matches_itself_alone() -> None:
    """Each configured key matches, and nothing else does: prefixes, other case, nothing, other scripts."""
    auth = authenticator(api_keys=("first-key", "!second~key!"))
    assert auth.api_key_matches("first-key")
    assert auth.api_key_matches("!second~key!")
    for other in ("", "first-ke", "first-key ", "FIRST-KEY", "é", "\ud800", "first-key\x00", "x" * 100_000):
        assert not auth.api_key_matches(other)
    assert not authenticator().api_key_matches("")


@given(st.text(st.characters()))
def test_any_text_as_an_api_key_is_answered(presented: str) -> None:
    """Whatever is presented as an API key, the answer is no, never an exception."""
    assert not PLAIN_AUTH.api_key_matches(presented)


@pytest.mark.parametrize(
    "key",
    [
        *("", " ", "canary two", "canary ", "\tcanary", "canary\n", "cr\r\ncanary"),
        *("canary\x00", "canary\x7f", "canaryé", "\ud800canary"),
    ],
    ids=ascii,
)
def test_an_api_key_that_nobody_could_send_refuses_to_start(key: str) -> None:
    """An API key is what our own publishers send, or the message says how to make one and shows none."""
    with pytest.raises(ValueError, match="api_key"):
        check_credential(key, "api_key")
    message = complaint(api_keys=("good-key", key))
    assert "auth.api_keys" in message
    assert "secrets.token_urlsafe" in message
    assert "good-key" not in message
    assert "canary" not in message


def test_a_new_secret_and_any_visible_text_is_an_api_key() -> None:
    """What the message tells to make is accepted, and so is each character that a publisher can send."""
    visible = "".join(map(chr, range(0x21, 0x7F)))
    for key in (new_secret(), visible):
        assert check_credential(key, "api_key") == key
        assert authenticator(api_keys=(key,)).api_key_matches(key)


# Issuing


def test_an_issued_token_says_what_was_asked() -> None:
    """A token that is issued verifies as the user it was issued for, with ids of its own."""
    auth = authenticator(issuer="us", audience="us")
    token = auth.issue("ada", username="Ada", roles=("admin",), group_id="g", ttl=60, session_id="s")
    identity = auth.verify(token)
    assert isinstance(identity, Identity)
    assert (identity.user_id, identity.username, identity.group_id) == ("ada", "Ada", "g")
    assert (identity.roles, identity.session_id, identity.expires_at) == (
        frozenset({"admin"}),
        "s",
        NOW + 60,
    )
    plain = [auth.verify(auth.issue("ada", ttl=60)) for _ in range(2)]
    ids = {each.token_id for each in plain if isinstance(each, Identity)}
    logins = {each.session_id for each in plain if isinstance(each, Identity)}
    assert len(ids) == len(logins) == 2
    assert None not in ids | logins


@pytest.mark.parametrize(
    ("claims", "issued_at", "logged_in_ms", "is_exact"),
    [
        ({}, 0, 0, False),
        ({"iat": NOW}, NOW, NOW * 1000, False),
        ({"iat": NOW - 0.25}, NOW - 1, NOW * 1000 - 250, True),
        ({"iat": float(NOW)}, NOW, NOW * 1000, True),
        ({"iat": NOW, "auth_time": NOW - 7200}, NOW, (NOW - 7200) * 1000, False),
        ({"iat": NOW - 0.5, "auth_time": NOW - 7200}, NOW - 1, (NOW - 7200) * 1000, False),
        ({"iat": NOW, "auth_time": NOW - 7200 + 0.123}, NOW, (NOW - 7200) * 1000 + 123, True),
        ({"auth_time": 5}, 0, 5000, False),
        ({"auth_time": 0, "iat": NOW}, NOW, 0, False),
        ({"auth_time": None, "iat": None}, 0, 0, False),
    ],
)
def test_a_token_says_when_it_was_issued_and_when_the_login_was(
    claims: dict[str, Any], issued_at: int, logged_in_ms: int, is_exact: bool
) -> None:
    """`iat` in whole seconds, `auth_time` in milliseconds; without the latter the token is the login."""
    identity = accepted(CLAIMS | claims)
    assert (identity.issued_at, identity.logged_in_ms) == (issued_at, logged_in_ms)
    assert identity.login_is_exact == is_exact


@given(ms=st.integers(0, NOW * 1000))
def test_an_issued_token_keeps_the_millisecond_of_the_login(ms: int) -> None:
    """Now unless said otherwise; whoever renews a token passes the old login on, and it arrives unchanged."""
    clock = Clock()
    clock.now = NOW + ms % 1000 / 1000
    auth = authenticator(clock)
    fresh, renewed = (
        auth.verify(auth.issue("a", ttl=60)),
        auth.verify(auth.issue("a", ttl=60, logged_in_ms=ms)),
    )
    assert isinstance(fresh, Identity)
    assert isinstance(renewed, Identity)
    assert (fresh.issued_at, fresh.logged_in_ms) == (NOW, int(clock.now * 1000))
    assert (renewed.issued_at, renewed.logged_in_ms) == (NOW, ms)
    assert fresh.login_is_exact
    assert renewed.login_is_exact


def test_an_issued_token_uses_the_first_configured_names() -> None:
    """Claims are written under the names that this server, and its neighbours, look for first."""
    auth = authenticator(user_claims=("uid", "sub"), role_claims=("scope",), algorithms=("HS512", "HS256"))
    token = auth.issue("ada", roles=["b", "a"], ttl=60)
    assert jwt.get_unverified_header(token)["alg"] == "HS512"
    claims = json.loads(JWS.decode(token, SECRET, ["HS512"]))
    assert claims["uid"] == "ada"
    assert claims["scope"] == ["a", "b"]
    assert claims["iat"] == NOW
    assert "sub" not in claims


def test_an_issued_token_names_the_device_of_its_login() -> None:
    """In a claim that no other issuer gives another meaning; a login without a device has none."""
    auth = authenticator()
    token = auth.issue("ada", ttl=60, device="Ada's télé 📱")
    assert json.loads(JWS.decode(token, SECRET, ["HS256"]))["inbox_device"] == "Ada's télé 📱"
    identity, plain = auth.verify(token), auth.verify(auth.issue("ada", ttl=60))
    assert isinstance(identity, Identity)
    assert isinstance(plain, Identity)
    assert (identity.device, plain.device) == ("Ada's télé 📱", "")
    assert "inbox_device" not in json.loads(JWS.decode(auth.issue("ada", ttl=60), SECRET, ["HS256"]))


@pytest.mark.parametrize(
    ("claims", "device"),
    [
        ({}, ""),
        ({"inbox_device": None}, ""),
        ({"inbox_device": "phone"}, "phone"),
        ({"inbox_device": "x" * 64}, "x" * 64),
        ({"device": "phone", "device_id": "phone"}, ""),
    ],
)
def test_a_device_is_read_from_its_own_claim_alone(claims: dict[str, Any], device: str) -> None:
    """What other issuers call a device says nothing about inboxes."""
    assert accepted(CLAIMS | claims).device == device


@pytest.mark.parametrize(
    "device", ["", "x" * 65, 7, True, ["phone"], {}, "a\nb", "\x00", "\x7f", "\ud800", "a\u2028b\n"]
)
def test_a_device_that_no_connection_could_name_is_refused(device: object) -> None:
    """The claim takes what `?device=` takes: neither another type, nor a name that would break a log line."""
    assert refused(CLAIMS | {"inbox_device": device}) == "bad_claim"


@pytest.mark.parametrize("kind", ["user", "device", "service", None])
@pytest.mark.parametrize("user_id", ["device:", "device:1.2", "device:x@y"])
def test_the_ids_of_devices_without_a_token_are_in_no_token(user_id: str, kind: str | None) -> None:
    """Of whatever kind: whoever had one would be counted, closed and listed as a device of a group."""
    assert refused(CLAIMS | {"sub": user_id, "kind": kind}) == "bad_claim"
    with pytest.raises(CannotIssue, match="device: are for devices without a token"):
        authenticator().issue(user_id, ttl=60)


@pytest.mark.parametrize("user_id", ["device", "devices:1", "Device:1", "my-device:1"])
def test_other_ids_are_not_taken_for_those_of_devices(user_id: str) -> None:
    """Only what begins with it is reserved, and a device with a token may be called anything else."""
    assert accepted(CLAIMS | {"sub": user_id, "kind": "device"}).user_id == user_id


@pytest.mark.parametrize("ttl", [0, -1, 3601, True, 1.5, 10**400])
def test_a_token_of_an_odd_lifetime_is_not_issued(ttl: Any) -> None:
    """A lifetime outside 1 second to `max_ttl` is refused."""
    with pytest.raises(ValueError, match="1 to 3600 seconds"):
        authenticator(max_ttl=3600).issue("ada", ttl=ttl)


@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": ""},
        {"user_id": "a b"},
        {"username": "\ud800"},
        {"roles": ["a b"]},
        {"group_id": "g/"},
        {"session_id": ""},
        {"device": "a\nb"},
        {"device": "x" * 65},
        {"logged_in_ms": (NOW + 60) * 1000},
        {"roles": [f"{number:128}".replace(" ", "r") for number in range(64)]},
    ],
    ids=lambda fields: ascii(fields)[:40],
)
def test_a_token_that_would_be_refused_is_not_issued(fields: dict[str, Any]) -> None:
    """What `verify` would refuse is refused when it is asked for."""
    with pytest.raises(ValueError, match="no such token"):
        authenticator().issue(**{"user_id": "ada", "ttl": 60, **fields})


def test_tokens_of_a_private_key_are_issued_elsewhere(tmp_path: Path) -> None:
    """A server that holds public keys only, or prefers them, says so instead of issuing."""
    file = jwks_file(tmp_path, jwk_of(RSA_KEY))
    only = authenticator(secret="", jwks_file=file, algorithms=("RS256",))
    preferred = authenticator(jwks_file=file, algorithms=("RS256", "HS256"))
    for auth in (only, preferred):
        with pytest.raises(AuthConfigError, match="private key"):
            auth.issue("ada", ttl=60)


def test_a_claim_without_a_configured_name_is_not_issued() -> None:
    """A role that has no claim to stand in is refused, and one that was not asked for is not missed."""
    auth = authenticator(role_claims=())
    with pytest.raises(AuthConfigError, match=r"auth\.role_claims"):
        auth.issue("ada", roles=["admin"], ttl=60)
    assert isinstance(auth.verify(auth.issue("ada", ttl=60)), Identity)


def test_a_new_secret_suits_every_algorithm() -> None:
    """A made secret is random and long enough for every HS algorithm."""
    assert new_secret() != new_secret()
    assert isinstance(
        authenticator(secret=new_secret(), algorithms=("HS256", "HS384", "HS512")), Authenticator
    )
