"""`Authenticator.verify` against the plain way to do the same: PyJWS.decode, json.loads, claim by claim."""

import base64
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from support.token_maker import CLAIMS, b64, ends_otherwise, made, token_of, tokens
from support.token_reference import (
    ALGORITHMS,
    FILE,
    HS,
    NOW,
    OURS,
    PREVIOUS,
    SECRET,
    STRANGERS,
    Key,
    Reference,
    json_object,
    jwk_of,
)

from tidings.server.auth import Authenticator, TokenRefusal
from tidings.server.config import Auth


class Pair(NamedTuple):
    """An authenticator and the reference of the same configuration."""

    auth: Authenticator
    reference: Reference

    def agree(self, token: str) -> str:
        """The reason both refuse `token` for, empty where both accept it as the same."""
        expected, found = self.reference.claims(token), self.auth._signed_claims(token)
        if isinstance(found, TokenRefusal):
            verdict = self.auth.verify(token)
            assert verdict == found
            if found.reason != expected:
                assert found.reason == "malformed"
                assert expected in ("unsupported", "unknown_key")
                assert is_told_sooner(token)
            return found.reason
        # By what they print: 1, 1.0 and True are equal, as are 0.0 and -0.0.
        assert repr(found) == repr(expected)
        verdict = self.auth.verify(token)
        judged = self.reference.verdict(token)
        if isinstance(verdict, TokenRefusal):
            assert verdict.reason == judged
            return verdict.reason
        assert verdict == judged
        assert type(verdict.expires_at) is int
        return ""


def is_told_sooner(token: str) -> bool:
    """The one difference that is meant: both refuse the token, and verify sees it is malformed at once.

    PyJWT comes to base64 with more than one way to write it, and to a `kid` of null, only when the
    algorithm and the key have been looked up.
    """
    parts = token.split(".")
    if json_object(base64.urlsafe_b64decode(parts[0].rstrip("=") + "==")).get("kid", "") is None:
        return True
    return any(
        part.rstrip("=") != _canonical(part) or (part.endswith("=") and len(part) % 4) for part in parts
    )


def _canonical(part: str) -> str:
    bare = part.rstrip("=")
    if len(bare) % 4 == 1:
        return ""
    return b64(base64.urlsafe_b64decode(bare + "=="))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Servers of several kinds: one secret, a rotation, public keys alone, all at once, one that asks much."""
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk_of(key) for key in FILE]}))
    secret, previous = SECRET.private.decode(), PREVIOUS.private.decode()
    public = tuple(name for name in ALGORITHMS if name not in HS)
    both = {"secret": secret, "previous_secret": previous}
    configured: dict[str, tuple[dict[str, Any], Sequence[Key]]] = {
        "plain": ({"secret": secret}, (SECRET,)),
        "rotating": (both | {"algorithms": HS}, (SECRET, PREVIOUS)),
        "public": ({"jwks_file": str(file), "algorithms": public}, FILE),
        "all": (both | {"jwks_file": str(file), "algorithms": ALGORITHMS}, OURS),
        "strict": (
            {"secret": secret, "issuer": "us", "audience": "us", "leeway": 0, "max_ttl": 3600},
            (SECRET,),
        ),
    }
    pairs = {}
    for name, (fields, keys) in configured.items():
        auth = Auth(**fields)
        pairs[name] = Pair(Authenticator(auth, clock=lambda: float(NOW)), Reference(auth, keys))
    return pairs


GOOD = token_of()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
KNOWN = {
    "good": ("plain", GOOD, ""),
    "padded": ("plain", made(b'{"alg":"HS256"}', b'{"exp":1800000600,"sub":"a"}', pad=True), ""),
    "no signature": ("plain", f"{HEADER}.{PAYLOAD}.", "bad_signature"),
    "no payload": ("plain", f"{HEADER}..{SIGNATURE}", "malformed"),
    "no header": ("plain", f".{PAYLOAD}.{SIGNATURE}", "malformed"),
    "trailing bits": ("plain", f"{HEADER}.{PAYLOAD}.{ends_otherwise(SIGNATURE)}", "malformed"),
    "signature padded": ("plain", f"{HEADER}.{PAYLOAD}.{SIGNATURE}=", ""),
    "padded too much": ("plain", f"{HEADER}.{PAYLOAD}.{SIGNATURE}==", "malformed"),
    "padding alone": ("plain", f"{HEADER}.{PAYLOAD}.====", "malformed"),
    "blanks of base64": ("plain", f"{HEADER}.{PAYLOAD}.!!!!{SIGNATURE}", "malformed"),
    "padding within": ("plain", f"{HEADER}.{PAYLOAD}.{SIGNATURE}={SIGNATURE}", "malformed"),
    "too long": ("plain", token_of(CLAIMS | {"x": "y" * 6200}), "malformed"),
    "slash": ("plain", made(b'{"alg":"HS256","x":"??>"}', b"{}").replace("_", "/"), "malformed"),
    "plus": ("plain", made(b'{"alg":"HS256","x":">>>"}', b"{}").replace("-", "+"), "malformed"),
    "b64 false": ("plain", token_of(b64=False), "malformed"),
    "b64 zero": ("plain", token_of(b64=0), ""),
    "b64 critical": ("plain", token_of(b64=False, crit=["b64"]), "unsupported"),
    "kid null": ("plain", token_of(kid=None), "malformed"),
    "kid half a pair": ("plain", token_of(kid="\ud800"), ""),
    "alg none": ("plain", token_of(alg="none"), "unsupported"),
    "alg another": ("plain", token_of(alg="HS512"), "unsupported"),
    "HS512 not listed": ("plain", token_of(algorithm="HS512"), "unsupported"),
    "RS256 not listed": ("plain", token_of(algorithm="RS256", key=FILE[0]), "unsupported"),
    "previous not configured": ("plain", token_of(key=PREVIOUS), "bad_signature"),
    "exp a float": ("plain", token_of(CLAIMS | {"exp": NOW + 600.0}), "bad_claim"),
    "exp endless": ("plain", token_of(CLAIMS | {"exp": 10**400}), "lifetime_too_long"),
    "nbf infinite": ("plain", token_of(CLAIMS | {"nbf": float("-inf")}), "malformed"),
    "x half a pair": ("plain", token_of(CLAIMS | {"x": "\ud800"}), ""),
    "username half a pair": ("plain", token_of(CLAIMS | {"username": "\ud800"}), "bad_claim"),
    "half a pair in UTF-8": (
        "plain",
        made(b'{"alg":"HS256"}', b'{"x":1e999,"y":"\xed\xa0\x80"}'),
        "malformed",
    ),
    "role of two words": ("plain", token_of(CLAIMS | {"roles": ["a b"]}), "bad_claim"),
    "channels listed": ("plain", token_of(CLAIMS | {"channels": ["room:x"]}), ""),
    "x beyond a float": ("plain", made(b'{"alg":"HS256"}', b'{"exp":1800000600,"sub":"a","x":1e999}'), ""),
    "exp twice": ("plain", made(b'{"alg":"HS256"}', b'{"exp":1,"exp":1800000600,"sub":"a"}'), ""),
    "alg twice": ("plain", made(b'{"alg":"none","alg":"HS256"}', b'{"exp":1800000600,"sub":"a"}'), ""),
    "byte order mark": ("plain", made(b'\xef\xbb\xbf{"alg":"HS256"}', b"{}"), "malformed"),
    "previous": ("rotating", token_of(key=PREVIOUS), ""),
    "previous HS512": ("rotating", token_of(key=PREVIOUS, algorithm="HS512"), ""),
    "another secret": ("rotating", token_of(key=STRANGERS[0]), "bad_signature"),
    "shared": ("all", token_of(key=FILE[-1], kid="o"), ""),
    "shared under another name": ("all", token_of(key=FILE[-1], kid="a"), "bad_signature"),
    "shared by another algorithm": ("all", token_of(key=FILE[-1], algorithm="HS512"), "bad_signature"),
    "RS512 by an RS256 key": ("all", token_of(key=FILE[1], algorithm="RS512"), "bad_signature"),
    "another kid": ("all", token_of(key=FILE[3], algorithm="ES256", kid="b"), "bad_signature"),
    "unknown kid": ("all", token_of(key=FILE[3], algorithm="ES256", kid="c"), "unknown_key"),
    "no issuer": ("strict", GOOD, "missing_claim"),
    "issuer and audience": ("strict", token_of(CLAIMS | {"iss": "us", "aud": ["us"]}), ""),
}


@pytest.mark.parametrize(("pair", "token", "reason"), KNOWN.values(), ids=KNOWN)
def test_both_ways_say_what_is_expected(pairs: dict[str, Pair], pair: str, token: str, reason: str) -> None:
    """What is known of a token beforehand is what verify and the reference say of it."""
    assert pairs[pair].agree(token) == reason
    verdict = pairs[pair].reference.verdict(token)
    assert (verdict if isinstance(verdict, str) else "") == reason


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_is_accepted_from_each_of_its_keys(pairs: dict[str, Pair], algorithm: str) -> None:
    """A token of each algorithm and key is accepted, with the key's name and without, and no other key's is."""
    for key in OURS:
        if algorithm in key.algorithms:
            names = {} if key.kid is None else {"kid": key.kid}
            for header in ({}, names):
                assert not pairs["all"].agree(token_of(key=key, algorithm=algorithm, **header))
    for key in STRANGERS:
        if algorithm in key.algorithms:
            assert pairs["all"].agree(token_of(key=key, algorithm=algorithm)) == "bad_signature"


@pytest.mark.parametrize("token", [token_of(alg="none", kid=None), token_of(alg="none") + "=="])
def test_what_is_malformed_and_unsupported_is_malformed(pairs: dict[str, Pair], token: str) -> None:
    """The one difference that is meant: of two reasons to refuse a token, verify sees its form first."""
    assert pairs["plain"].reference.claims(token) == "unsupported"
    assert pairs["plain"].agree(token) == "malformed"


@given(token=tokens())
@settings(max_examples=150)
def test_verify_agrees_with_the_plain_way(pairs: dict[str, Pair], token: str) -> None:
    """Whatever the token, verify and the reference accept it with equal claims or refuse it for one reason."""
    for pair in pairs.values():
        pair.agree(token)


@pytest.mark.slow
@given(token=tokens())
@settings(max_examples=300)
def test_verify_agrees_with_the_plain_way_for_long(pairs: dict[str, Pair], token: str) -> None:
    """The same for more tokens: some seconds."""
    for pair in pairs.values():
        pair.agree(token)
