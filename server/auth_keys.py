"""The keys that tokens are verified with, and which algorithms each of them may serve."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
from jwt.algorithms import Algorithm

# Algorithm → the type of key that it takes: RFC 7518 section 3.1, RFC 8037, RFC 8812. Whatever PyJWT
# comes to support beside these, `none` above all, stays out until it is listed here.
_KEY_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    "ES256": "EC P-256",
    "ES256K": "EC secp256k1",
    "ES384": "EC P-384",
    "ES512": "EC P-521",
    "EdDSA": "OKP",
}


class AuthConfigError(ValueError):
    """The `[auth]` section cannot be used; the message says the cure and shows no secret."""


class VerificationKey:
    """One key, the algorithms that it may verify, and its name in the JWKS file, if it has one.

    A plain class and not a Struct: its repr must not show the key.
    """

    __slots__ = ("_ready", "algorithms", "kid")

    def __init__(self, key: Any, algorithms: Mapping[str, Algorithm], kid: str | None = None) -> None:
        self.algorithms = frozenset(algorithms)
        self.kid = kid
        # Once, not for each token: to see that a secret is no public key takes longer than the HMAC does.
        self._ready = {name: (each, each.prepare_key(key)) for name, each in algorithms.items()}

    def verifies(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether this key made the signature by `algorithm`, one of its own."""
        verifier, key = self._ready[algorithm]
        return verifier.verify(signing_input, key, signature)


class KeyRing:
    """Every key in force, held with the algorithms of its own type.

    That pairing is what stops algorithm confusion: an RSA key is never a candidate for an HS256 token,
    whatever the token's header says and however many algorithms are configured side by side.

    Empty strings stand for what is not configured. Raises AuthConfigError.
    """

    def __init__(
        self,
        algorithms: Sequence[str],
        *,
        secret: str = "",
        previous_secret: str = "",
        jwks_file: str = "",
    ) -> None:
        if not secret and not jwks_file:
            raise AuthConfigError(
                "no key to verify tokens with: set auth.secret (TIDINGS_AUTH_SECRET) to at least"
                " 32 random bytes, as `python -c 'import secrets; print(secrets.token_urlsafe(48))'`"
                " prints them, or set auth.jwks_file"
            )
        if previous_secret and not secret:
            raise AuthConfigError(
                "auth.previous_secret is set without auth.secret: set auth.secret, or remove both"
            )
        self.algorithms = _known(algorithms)
        self.jws = jwt.PyJWS(algorithms=list(self.algorithms), options={"enforce_minimum_key_length": True})
        self.signing_key: bytes | None = None
        self._keys: list[VerificationKey] = []
        for field, value in (("auth.secret", secret), ("auth.previous_secret", previous_secret)):
            if value:
                self._keys.append(self._secret_key(field, value))
        if secret:
            self.signing_key = secret.encode()
        if jwks_file:
            self._keys += self._file_keys(
                jwks_file, {value for value in (secret, previous_secret) if value}
            )
        for algorithm in self.algorithms:
            if not any(algorithm in key.algorithms for key in self._keys):
                wanted = (
                    "auth.secret"
                    if algorithm.startswith("HS")
                    else f"a {_KEY_TYPES[algorithm]} key in auth.jwks_file"
                )
                raise AuthConfigError(
                    f"auth.algorithms lists {algorithm} but no key serves it: set {wanted},"
                    f" or remove {algorithm}"
                )

    def candidates(self, algorithm: str, kid: str | None) -> list[VerificationKey]:
        """The keys that may have signed a token.

        Those of its algorithm's type and, where token and key both name one, of its key id. A
        secret has no key id, so that it is a candidate whatever the token calls its key.
        """
        return [
            key
            for key in self._keys
            if algorithm in key.algorithms and (kid is None or key.kid is None or key.kid == kid)
        ]

    def _secret_key(self, field: str, value: str) -> VerificationKey:
        algorithms = frozenset(name for name in self.algorithms if _KEY_TYPES[name] == "oct")
        if not algorithms:
            raise AuthConfigError(
                f"{field} is set but auth.algorithms lists no HS algorithm: add HS256, or remove it"
            )
        problem = _secret_problem(value)
        if problem is None:
            problem = self._too_short(value.encode(), algorithms)
        if problem is not None:
            raise AuthConfigError(f"{field} {problem}")
        return VerificationKey(value.encode(), self._named(algorithms))

    def _named(self, algorithms: frozenset[str]) -> dict[str, Algorithm]:
        return {name: self.jws.get_algorithm_by_name(name) for name in algorithms}

    def _too_short(self, key: Any, algorithms: frozenset[str]) -> str | None:
        # At start and not for each token: a weak key would show as every single token being refused.
        for name in sorted(algorithms):
            if self.jws.get_algorithm_by_name(name).check_key_length(key) is not None:
                least = "2048 bits" if _KEY_TYPES[name] == "RSA" else f"{int(name[2:]) // 8} bytes"
                return f"is too short for {name}: use a random one of at least {least}"
        return None

    def _file_keys(self, jwks_file: str, secrets: set[str]) -> list[VerificationKey]:
        keys = []
        for number, jwk in enumerate(_read_jwks(jwks_file)):
            where = f"auth.jwks_file {jwks_file}: key {number}"
            if not isinstance(jwk, dict):
                raise AuthConfigError(
                    f"{where} is not an object: a JWKS file is {{'keys': [{{'kty': …}}, …]}}"
                )
            if jwk.get("use", "sig") != "sig":
                continue  # an encryption key, which no token is signed with
            key = self._file_key(where, jwk)
            if key is None:
                continue
            if jwk["kty"] != "oct" and any(
                value in secrets for value in jwk.values() if isinstance(value, str)
            ):
                raise AuthConfigError(
                    f"{where} holds the value of auth.secret in public: make a new auth.secret"
                )
            keys.append(key)
        if not keys:
            raise AuthConfigError(
                f"auth.jwks_file {jwks_file} has no key for {', '.join(self.algorithms)}:"
                " list in auth.algorithms what its keys are for, or add a key"
            )
        return keys

    def _file_key(self, where: str, jwk: dict[str, Any]) -> VerificationKey | None:
        kid = jwk.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise AuthConfigError(f"{where} has a kid that is not a string")
        kind = jwk.get("kty")
        if kind == "EC":
            kind = f"EC {jwk.get('crv')}"
        algorithms = frozenset(
            name for name in self.algorithms if _KEY_TYPES[name] == kind and jwk.get("alg", name) == name
        )
        if not algorithms:
            return None  # RFC 7517 section 5: keys that one has no use for are ignored
        if kind != "oct" and "d" in jwk:
            raise AuthConfigError(
                f"{where} is a private key: leave it with the issuer, give the server the public one"
            )
        try:
            key = self.jws.get_algorithm_by_name(min(algorithms)).from_jwk(jwk)
        except Exception:
            # PyJWT leaks KeyError, TypeError, binascii.Error and more on a malformed key.
            key = None
        # Outside the handler, so that no traceback carries PyJWT's message: that one may quote the key.
        if key is None:
            raise AuthConfigError(f"{where} is not a valid {kind} key: export it again from the issuer")
        problem = _secret_problem(key) if kind == "oct" else None
        if problem is None:
            problem = self._too_short(key, algorithms)
        if problem is not None:
            raise AuthConfigError(f"{where} {problem}")
        return VerificationKey(key, self._named(algorithms), kid)


def _known(algorithms: Sequence[str]) -> tuple[str, ...]:
    if not algorithms:
        raise AuthConfigError("auth.algorithms is empty: list what tokens are signed with, as ['HS256']")
    for name in algorithms:
        if name not in _KEY_TYPES:
            raise AuthConfigError(
                f"auth.algorithms lists {name!r}, which is not one of {', '.join(_KEY_TYPES)}"
            )
    return tuple(dict.fromkeys(algorithms))


def _secret_problem(value: str | bytes) -> str | None:
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(value)
    except UnicodeEncodeError:
        return "is not valid UTF-8: use printable characters"
    except jwt.InvalidKeyError:
        # A PEM, SSH, DER or JWK key. As an HMAC secret, whoever has the public key could sign.
        return "is an asymmetric key, not a secret: put its public part into the file of auth.jwks_file"
    return None


def _read_jwks(jwks_file: str) -> list[Any]:
    try:
        document = json.loads(Path(jwks_file).read_text(encoding="utf-8"))
    except OSError as error:
        raise AuthConfigError(f"auth.jwks_file {jwks_file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise AuthConfigError(
            f"auth.jwks_file {jwks_file} is not JSON: a JWKS file is {{'keys': […]}}"
        ) from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not keys:
        raise AuthConfigError(f"auth.jwks_file {jwks_file} holds no keys: a JWKS file is {{'keys': […]}}")
    return keys
