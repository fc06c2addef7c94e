"""Tokens of every kind, most of them spoilt in one way or another."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import jwt
from hypothesis import strategies as st

from support.token_reference import ALGORITHMS, NOW, OURS, SECRET, STRANGERS, Key

CLAIMS: dict[str, Any] = {"sub": "ada", "exp": NOW + 600}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def made(
    header: bytes, payload: bytes, key: Key = SECRET, algorithm: str = "HS256", *, pad: bool = False
) -> str:
    """A token of any two texts at all, rightly signed by `key`."""
    parts = [b64(header), b64(payload)]
    if pad:
        parts = [part + "=" * (-len(part) % 4) for part in parts]
    unsigned = ".".join(parts)
    signature = b64(jwt.get_algorithm_by_name(algorithm).sign(unsigned.encode(), key.private))
    return f"{unsigned}.{signature + '=' * (-len(signature) % 4) if pad else signature}"


def token_of(claims: object = CLAIMS, key: Key = SECRET, algorithm: str = "HS256", **header: Any) -> str:
    members = {"typ": "JWT", "alg": algorithm} | header
    return made(json.dumps(members).encode(), json.dumps(claims).encode(), key, algorithm)


def ends_otherwise(part: str) -> str:
    """The same bytes by another last character, where the bits beyond the last byte leave room."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) ^ 1]


# What a JSON parser may see: texts, not values, since most of these have none.
ODD_NUMBERS = [
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1.8e308", b"5e-324", b"1e-999", b"-0", b"-0.0"),
    *(b"1.0", b"1800000600.0", b"18000006e2", b"01", b"1.", b".5", b"+1", b"-", b"0x10", b"1_0"),
    *(b"9007199254740993", b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809"),
    *(b"1" + b"0" * 400, b"-1" + b"0" * 400, b"9" * 4300, b"9" * 4301),
]  # fmt: skip
ODD_STRINGS = [
    *(rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', rb'"\ud83d\u0041"', rb'"\u0000"', rb'"\u12"'),
    *(rb'"\x41"', rb'"\/"', b"'a'", b'"a', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"'),
    *(b'"\x00"', b'"\x1f"', b'"\x7f"', '"é♥😀"'.encode()),
]  # fmt: skip
ODD_TEXTS = [
    *ODD_NUMBERS,
    *ODD_STRINGS,
    *(b"", b"undefined", b"True", b"tru", b"[1,]", b'{"a":1,}', b"{1:2}", b"/**/1"),
    # Far below the depth at which parsers give up and far above: just where that is depends on the caller.
    *(b"[" * 400 + b"]" * 400, b'{"a":' * 400 + b"1" + b"}" * 400, b"[" * 2500 + b"]" * 2500),
]  # fmt: skip
ODD_HEADERS: list[dict[str, Any]] = [
    *({"b64": False}, {"b64": True}, {"b64": 0}, {"b64": False, "crit": ["b64"]}, {"crit": []}, {"crit": ["exp"]}),
    *({"kid": None}, {"kid": 5}, {"kid": "\ud800"}, {"jwk": {"kty": "oct", "k": "eA"}}, {"x": "\ud800"}),
]  # fmt: skip
MEMBERS = [
    *("exp", "nbf", "iat", "iss", "aud", "sub", "user_id", "username", "name", "group_id", "group", "roles"),
    *("role", "kind", "jti", "sid", "channels", "alg", "kid", "crit", "b64", "typ", "jwk", "x", "", "é"),
    *("auth_time",),
    *(r"\u0065xp", r"\ud800"),
]  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=6)
    | st.sampled_from(
        [*ALGORITHMS, "none", "a", "b", "o", "us", "ada", "user", "b64", "subscribe", "room:x", "room:*"]
    )
    | st.integers(NOW - 10, NOW + 10)
    | st.integers(NOW + 3590, NOW + 3610),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
EXP = st.integers(NOW - 10, NOW + 4000)
SHAPES = st.fixed_dictionaries(
    {"sub": st.sampled_from(["ada", "a@b.c+d"]), "exp": st.one_of(EXP, EXP, EXP, EXP, EXP.map(float))},
    optional={
        "nbf": st.integers(NOW - 10, NOW + 10),
        "iat": st.integers(NOW - 10, NOW + 10) | st.floats(0, NOW),
        "auth_time": st.integers(NOW - 10, NOW + 10) | st.floats(0, NOW),
        "iss": st.sampled_from(["us", "them"]),
        "aud": st.sampled_from(["us", "them", ["them", "us"], []]),
        "username": st.text(max_size=8),
        "group_id": st.sampled_from(["g:1", 7, -7, "g 1"]),
        "roles": st.sampled_from(["admin, editor", " ", ["admin"], [], ["a b"], ["r"] * 65, "r " * 64]),
        "kind": st.sampled_from(["user", "device", "service", "admin"]),
        "jti": st.text(max_size=8),
        "sid": st.text(max_size=8),
        "channels": st.lists(st.sampled_from(["room:x", "line:*", "all", "room:", "X"]), max_size=3)
        | st.dictionaries(
            st.sampled_from(["room:x", "line:*", "all", "room:"]),
            st.lists(st.sampled_from(["subscribe", "publish", "publish", "admin"]), max_size=3),
            max_size=3,
        ),
        "x": VALUES,
    },
)
AROUND = [b" \r\n\t%s\n", b"\xef\xbb\xbf%s", b"%s\x00", b"\x0c%s", b"%s{}", b"[%s]"]
TEXTS = st.sampled_from(ODD_TEXTS) | VALUES.map(lambda value: json.dumps(value).encode())


@st.composite
def _objects(draw: st.DrawFn, base: dict[str, Any]) -> bytes:
    """JSON of `base` with odd members before and after, which may come twice, and odd text around it."""
    members = [(json.dumps(name), json.dumps(value).encode()) for name, value in base.items()]
    for name, text in draw(st.lists(st.tuples(st.sampled_from(MEMBERS), TEXTS), max_size=2)):
        members.insert(draw(st.integers(0, len(members))), (f'"{name}"', text))
    data = b"{%s}" % b", ".join(b"%s:%s" % (name.encode(), text) for name, text in members)
    around = draw(st.sampled_from([b"%s"] * 20 + AROUND))
    data = around % data
    return data.decode("latin-1").encode("utf-16") if draw(st.integers(0, 40)) == 0 else data


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Tokens of every algorithm and claim, most of them spoilt in one way or another."""
    key = draw(st.sampled_from([*OURS, *OURS, *STRANGERS, SECRET, SECRET, SECRET]))
    algorithm = draw(st.sampled_from(key.algorithms))
    header: dict[str, Any] = {"typ": "JWT", "alg": algorithm}
    if draw(st.booleans()):
        header["kid"] = draw(st.sampled_from([key.kid or "z", "a", "b", "o", "z"]))
    if draw(st.integers(0, 7)) == 0:
        header["alg"] = draw(st.sampled_from([*ALGORITHMS, "none", "hs256", "", None, 5, ["HS256"]]))
    if draw(st.integers(0, 7)) == 0:
        header |= draw(st.sampled_from(ODD_HEADERS))
    odd = draw(st.sampled_from(["", "", "header", "claims", "payload"]))
    payload = draw(SHAPES)
    head, body = json.dumps(header).encode(), json.dumps(payload).encode()
    if odd == "header":
        head = draw(_objects(header) | TEXTS)
    elif odd == "claims":
        body = draw(_objects(payload))
    elif odd == "payload":
        body = draw(TEXTS | st.binary(max_size=12))
    token = made(head, body, key, algorithm, pad=draw(st.integers(0, 5)) == 0)
    for mutation in draw(st.just([]) | st.lists(st.sampled_from(MUTATIONS), max_size=2)):
        token = mutation(draw, token)
    return token


def _spoil_character(draw: st.DrawFn, token: str) -> str:
    at = draw(st.integers(0, len(token)))
    new = draw(st.text(st.sampled_from("AQgwBEzZ09-_=+/. \n\x00é\ud800"), max_size=4))
    return token[:at] + new + token[at + draw(st.integers(0, 1)) :]


def _in_a_part(change: Callable[[st.DrawFn, str], str]) -> Callable[[st.DrawFn, str], str]:
    def changed(draw: st.DrawFn, token: str) -> str:
        parts = token.split(".")
        at = draw(st.integers(0, len(parts) - 1))
        parts[at] = change(draw, parts[at])
        return ".".join(parts)

    return changed


def _end_otherwise(_draw: st.DrawFn, part: str) -> str:
    return ends_otherwise(part) if re.search(r"[\w-]$", part, re.ASCII) else part


def _take_parts(draw: st.DrawFn, token: str) -> str:
    return ".".join(draw(st.lists(st.sampled_from(token.split(".")), min_size=1, max_size=4)))


def _add_padding(draw: st.DrawFn, part: str) -> str:
    return part + "=" * draw(st.integers(1, 4))


def _cut(draw: st.DrawFn, part: str) -> str:
    return part[: draw(st.integers(0, len(part)))]


def _drop_signature(_draw: st.DrawFn, token: str) -> str:
    return token.rpartition(".")[0] + "."


MUTATIONS: list[Callable[[st.DrawFn, str], str]] = [
    _spoil_character,
    _take_parts,
    _drop_signature,
    _in_a_part(_end_otherwise),
    _in_a_part(_add_padding),
    _in_a_part(_cut),
]
