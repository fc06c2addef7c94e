"""Tokens that PyJWT, json or a timer would choke on, over the wire: refused, whichever way they come."""

import hashlib
import hmac
import time
from pathlib import Path

import jwt
import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.hostile_rights import TOKENS
from support.hostile_site import Verdicts, hostile_site, try_rows, undisturbed
from support.process import run, serve
from support.served import WallClock
from support.site import SECRET, Site, configured, listening_site
from support.tasks import unharmed
from support.tokens import forged, segment

from tidings.server.config import Auth, Heartbeat

HOUR = 3600


async def test_a_bad_token_is_refused_whichever_way_it_comes() -> None:
    """Before the upgrade and at the API 401 in JSON, in band an error and 3500; what is no token is an error."""
    async with hostile_site() as site:
        await try_rows(site, TOKENS)


async def test_issuer_and_audience_are_required_where_configured() -> None:
    """A token for another service, or from another issuer, opens nothing here."""
    auth = Auth(secret=SECRET, issuer="https://id.example", audience="tidings")
    with trio.fail_after(30):
        async with listening_site(configured(auth=auth)) as site, unharmed(site) as peers:
            for claims, expected in (
                ({"iss": "https://id.example", "aud": "tidings"}, 101),
                ({"iss": "https://id.example", "aud": ["other", "tidings"]}, 101),
                ({"iss": "https://id.example"}, 401),
                ({"iss": "https://id.example", "aud": "other"}, 401),
                ({"iss": "https://evil.example", "aud": "tidings"}, 401),
                ({"iss": ["https://id.example"], "aud": "tidings"}, 401),
                ({"iss": "https://id.example", "aud": {"tidings": 1}}, 401),
                ({"aud": "tidings"}, 401),
            ):
                client = await peers.open()
                assert (await client.handshake(token=forged(**claims)))[0] == expected, claims


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


async def test_a_public_key_is_no_secret_and_a_key_id_only_a_name(tmp_path: Path) -> None:
    """HS256 by the public key's PEM opens nothing, nor does a key id that is a path, a query or no text."""
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "a", "use": "sig"}
    file = tmp_path / "keys.json"
    file.write_bytes(msgspec.json.encode({"keys": [jwk]}))
    auth = Auth(secret=SECRET, jwks_file=str(file), algorithms=("HS256", "RS256"))
    claims = {"sub": "alice", "exp": int(time.time()) + 600}
    tokens = {"good": jwt.encode(claims, KEY, "RS256", headers={"kid": "a"})}
    for name, key in {"PEM": PEM, "one line": PEM.strip(), "n": str(jwk["n"]).encode()}.items():
        for kid in ({}, {"kid": "a"}):
            signed = f"{segment({'alg': 'HS256'} | kid)}.{segment(claims)}"
            signature = hmac.digest(key, signed.encode(), hashlib.sha256)
            tokens[f"HMAC by {name} {kid}"] = f"{signed}.{segment(signature)}"
    _, body, signature_of_good = tokens["good"].split(".")
    odd: object
    for odd in ("b", "../../dev/null", "' OR 1=1 --", "\0", "\ud800", "é", "k" * 3000, 5, None, ["a"], {}):
        tokens[f"kid {odd!r:.30}"] = f"{segment({'alg': 'RS256', 'kid': odd})}.{body}.{signature_of_good}"
    verdicts = Verdicts()
    with trio.fail_after(60):
        async with listening_site(configured(auth=auth)) as site:
            for name, token in tokens.items():
                with verdicts.row(name):
                    async with undisturbed(site) as peers:
                        client = await peers.open()
                        status, _, said = await client.handshake(token=token)
                        assert status == (101 if name == "good" else 401), said
    verdicts.check()


async def test_a_public_key_as_secret_refuses_to_start(tmp_path: Path) -> None:
    """A PEM as the key with which anybody could sign ends the process with 1 and a reason, before it listens."""
    done = await run(*serve(), folder=tmp_path, env={"TIDINGS_AUTH_SECRET": PEM.decode()})
    assert (done.returncode, done.stdout) == (1, "")
    assert "auth.jwks_file" in done.stderr
    assert "Traceback" not in done.stderr
    assert "BEGIN" not in done.stderr


async def test_an_integer_subject_is_refused_and_an_integer_user_id_is_its_text(live_site: Site) -> None:
    """`sub: 42` is no subject (RFC 7519); `user_id: 42`, as documented systems have it, is the user `42`."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        assert (await client.handshake(token=forged(sub=42)))[0] == 401
        client = await peers.open()
        await client.handshake(token=forged(sub=None, user_id=42))
        connected = await client.receive_json()
        assert connected["data"]["user_id"] == "42"
        stats = await client.command("stats")
        assert stats["data"]["connection"]["channels"] == ["all", "user:42"]


async def test_a_token_that_needs_no_refusal_still_ends(live_site: Site) -> None:
    """A token within the leeway of its end is let in and closed at once with 3005, not left in for ever."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        assert (await client.handshake(token=forged(exp=int(time.time()) - 2)))[0] == 101
        assert (await client.closed()).code == 3005


async def test_the_clock_moves_an_hour() -> None:
    """An hour back ends nobody; ahead it ends, within a heartbeat, who is over by it and nobody else."""
    config = configured(heartbeat=Heartbeat(ping_interval=0.2, pong_timeout=25))
    with trio.fail_after(30):
        async with listening_site(config) as site:
            wall = WallClock(site)
            async with unharmed(site) as peers:  # whose neighbour has an hour
                soon = await peers.connect("soon", ttl=HOUR // 4)
                late = await peers.connect("late", ttl=3 * HOUR)
                wall.set_forward(-HOUR)
                assert (await soon.command("ping"))["type"] == "pong"
                wall.set_forward(HOUR + HOUR // 2)
                assert (await soon.closed()).code == 3005
                assert (await late.command("ping"))["type"] == "pong"
                wall.set_forward(-HOUR)
                assert (await late.command("ping"))["type"] == "pong"


async def test_a_token_is_not_asked_for_twice(live_site: Site) -> None:
    """An authenticated connection cannot become somebody else."""
    async with unharmed(live_site) as peers:
        client = await peers.connect("alice")
        answer = await client.command("authenticate", {"token": live_site.token("bob")})
        assert answer["data"]["code"] == "forbidden"
        stats = await client.command("stats")
        assert msgspec.json.encode(stats["data"]["connection"]["channels"]) == b'["all","user:alice"]'
