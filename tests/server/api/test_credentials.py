"""Who may call: tokens, API keys, and what is neither."""

from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Any

import httpx
import pytest
import trio
from support.site import SECRET, Site, configured, memory_site
from support.tokens import BAD_TOKENS, forged
from trio.testing import MockClock

from tidings.server.access import SERVICE, Access, Unidentified
from tidings.server.auth import AuthConfigError, Authenticator, TokenRefusal, new_secret
from tidings.server.config import Auth, Limits, describe, load
from tidings.server.identity import Identity

KEY = "a-key-of-the-tests"

GUARDED = [
    ("GET", "/api/v1/stats"),
    ("GET", "/api/v1/channels"),
    ("GET", "/api/v1/users/online"),
    ("GET", "/api/v1/users/alice/presence"),
    ("GET", "/api/v1/presence/room:a"),
    ("GET", "/api/v1/users/alice/connections"),
    ("POST", "/api/v1/users/alice/disconnect"),
    ("POST", "/api/v1/users/alice/unsubscribe"),
    ("POST", "/api/v1/publish"),
    ("POST", "/api/v1/publish/batch"),
    ("POST", "/api/v1/broadcast"),
    ("GET", "/metrics"),
]


def _refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_admin_routes_are_for_admins(
    api_site: Site, stranger: httpx.AsyncClient, method: str, path: str
) -> None:
    """Without credentials 401 with a challenge, with a user's token 403, whatever the body; admins pass."""
    response = await stranger.request(method, path, content=b"not even JSON")
    assert _refusal(response) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    user = {"Authorization": f"Bearer {api_site.token('alice', roles=['editor'])}"}
    assert _refusal(await stranger.request(method, path, headers=user)) == (403, "forbidden")
    admin = {"Authorization": f"Bearer {api_site.token('root', roles=['admin'])}"}
    assert (await stranger.request(method, path, headers=admin)).status_code in {200, 400}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "é".encode()},
        {"X-API-Key": b"\xe9"},
        {"X-API-Key": b"\xff\xfe"},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": "clé à molette".encode()},
        {"X-API-Key": "clé à molette".encode("latin-1")},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": "Bearer é.é.é".encode()},
        {"Authorization": b"Bearer \xff"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": ""},
    ],
    ids=str,
)
async def test_wrong_credentials_are_refused(stranger: httpx.AsyncClient, headers: dict[str, Any]) -> None:
    """401 with a JSON body for any bytes, never an exception."""
    assert _refusal(await stranger.get("/api/v1/stats", headers=headers)) == (401, "unauthorized")


@pytest.fixture(scope="module")
def access() -> Access:
    """Reads credentials as a server with the tests' secret and key does."""
    return Access(Authenticator(Auth(secret=SECRET, api_keys=(KEY,))))


def _headers(**fields: bytes | str) -> list[tuple[bytes, bytes]]:
    return [
        (name.replace("_", "-").encode(), value.encode("latin-1") if isinstance(value, str) else value)
        for name, value in fields.items()
    ]


def test_a_key_is_a_service_with_the_admin_role(access: Access) -> None:
    """Whoever holds a key is no person, and may do what operators may."""
    assert access.identify(_headers(x_api_key=KEY)) is SERVICE
    assert (SERVICE.kind, SERVICE.is_admin) == ("service", True)


def test_the_token_decides_where_both_are_given(access: Access) -> None:
    """A key that a proxy adds neither raises who comes through it, nor mends a wrong token."""
    identity = access.identify(_headers(authorization=f"Bearer {forged()}", x_api_key=KEY))
    assert isinstance(identity, Identity)
    assert (identity.user_id, identity.is_admin) == ("alice", False)
    wrong = _headers(authorization=f"Bearer {BAD_TOKENS['sub missing']}", x_api_key=KEY)
    assert isinstance(access.identify(wrong), Unidentified)


def test_another_schemes_authorization_is_no_token(access: Access) -> None:
    """A proxy's own Basic login, which many pass on, does not spoil the key behind it."""
    assert access.identify(_headers(authorization="Basic YTpi", x_api_key=KEY)) is SERVICE


def test_the_scheme_may_be_written_in_any_case(access: Access) -> None:
    """RFC 9110 section 11.1."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert isinstance(access.identify(_headers(authorization=f"{scheme} {forged()}")), Identity)


def test_a_credential_given_twice_is_nobodys(access: Access) -> None:
    """Two programs might each read another one of them."""
    for name, value in ((b"x-api-key", KEY.encode()), (b"authorization", f"Bearer {forged()}".encode())):
        assert isinstance(access.identify([(name, value), (name, value)]), Unidentified)


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_not_believed(access: Access, name: str) -> None:
    """None of them raises, and none gets in."""
    token = BAD_TOKENS[name].encode("utf-8", "surrogatepass")
    assert isinstance(access.identify([(b"authorization", b"Bearer " + token)]), Unidentified)


# Services


BILLING = "key=of=billing"
SERVICES = Auth(
    secret=SECRET, api_keys=(KEY,), service_keys=(f"billing={BILLING}", "billing=the-next-one", "r.2_-=x")
)


def test_a_service_is_known_by_its_key() -> None:
    """It has its name, the rights of any key, and no end; while a key is replaced, both are its own."""
    called: list[Identity] = []
    access = Access(Authenticator(SERVICES), called=called.append)
    identity = access.identify(_headers(x_api_key=BILLING))
    assert isinstance(identity, Identity)
    assert (identity.user_id, identity.username, identity.kind) == ("service:billing", "billing", "service")
    assert (identity.is_admin, identity.expires_at) == (True, SERVICE.expires_at)
    assert access.identify(_headers(x_api_key="the-next-one")) is identity
    assert isinstance(access.identify(_headers(x_api_key="x")), Identity)
    assert [each.username for each in called] == ["billing", "billing", "r.2_-"]
    access.identify(_headers(x_api_key=KEY))
    access.identify(_headers(authorization=f"Bearer {forged()}", x_api_key=BILLING))
    for wrong in (f"billing={BILLING}", "key", "of=billing", "", "é", "billing"):
        assert isinstance(access.identify(_headers(x_api_key=wrong.encode())), Unidentified)
    assert len(called) == 3


@pytest.mark.parametrize(
    ("named_keys", "said"),
    [
        (("canary-only-a-key",), "item 1 is not name=key"),
        (("billing=a", "=canary"), "item 2 is not name=key"),
        (("bill ing=canary",), "item 1 is not name=key"),
        (("bill:ing=canary",), "item 1 is not name=key"),
        (("é=canary",), "item 1 is not name=key"),
        (("x" * 65 + "=canary",), "item 1 is not name=key"),
        (("billing=",), "an empty key"),
        (("billing=canary two",), "a key with blanks"),
        (("billing=canaryé",), "a key with blanks"),
        (("billing=canary", "reports=canary"), "the key of reports is there twice"),
        (("billing=canary", "billing=canary"), "the key of billing is there twice"),
        ((f"billing={KEY}",), "or in auth.api_keys too"),
    ],
    ids=str,
)
def test_a_service_key_that_cannot_be_used_refuses_to_start(named_keys: tuple[str, ...], said: str) -> None:
    """The message names the key of the configuration and the cure, and shows no key."""
    with pytest.raises(AuthConfigError, match=r"auth\.service_keys") as caught:
        Authenticator(Auth(secret=SECRET, api_keys=(KEY,), service_keys=named_keys))
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["billing=canary, reports=canary2", '["billing=canary", "reports=canary2"]']
)
def test_service_keys_come_from_the_environment_and_are_never_shown(text: str) -> None:
    """As api_keys: a list in a variable, masked wherever the configuration is printed."""
    environ = {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_AUTH_SERVICE_KEYS": text}
    config = load(environ=environ, dotenv=None)
    assert config.auth.service_keys == ("billing=canary", "reports=canary2")
    assert load(environ={}, dotenv=None, overrides=["auth.service_keys=a=b=c"]).auth.service_keys == (
        "a=b=c",
    )
    for shown in (repr(config), describe(config)):
        assert "canary" not in shown
        assert "service_keys" in shown


@pytest.mark.parametrize("kind", [..., "user", "device"])
def test_nobody_but_a_service_has_a_services_id(kind: Any) -> None:
    """A token of another kind with such a user id is refused: it would read the service's inbox under its name."""
    authenticator = Authenticator(SERVICES)
    for user_id in ("service:billing", "service:"):
        refused = authenticator.verify(forged(sub=user_id, kind=kind))
        assert isinstance(refused, TokenRefusal)
        assert (refused.reason, "kind service" in refused.message) == ("bad_claim", True)
    for user_id in ("service", "services:x", "Service:billing", "my:service:x"):
        assert isinstance(authenticator.verify(forged(sub=user_id, kind=kind)), Identity)
    assert isinstance(authenticator.verify(forged(sub="service:billing", kind="service")), Identity)
    with pytest.raises(ValueError, match="kind service"):
        authenticator.issue("service:billing", ttl=60)


def _service_site() -> AbstractAsyncContextManager[Site]:
    limits = Limits(connections_per_user=2)
    return memory_site(configured(auth=SERVICES, limits=limits))


@pytest.mark.parametrize(
    ("headers", "user_id"),
    [
        ({"X-API-Key": BILLING}, "service:billing"),
        ({"X-API-Key": "the-next-one"}, "service:billing"),
        ({"X-API-Key": BILLING, "Authorization": "Basic YTpi"}, "service:billing"),
        ({"X-API-Key": BILLING, "Authorization": f"Bearer {forged()}"}, "alice"),
        ({"X-API-Key": "wrong", "Authorization": f"Bearer {forged()}"}, "alice"),
    ],
    ids=[
        "a key",
        "another key",
        "a proxy's Basic beside it",
        "a token beside it",
        "a token beside a wrong key",
    ],
)
async def test_a_handshake_may_bear_a_services_key(
    autojump_clock: MockClock, headers: dict[str, str], user_id: str
) -> None:
    """Whom the key names is connected; a token beside it decides, as over HTTP."""
    async with _service_site() as site, aclosing(await site.open()) as client:
        status, _, _ = await client.handshake(headers=headers)
        assert status == 101
        assert (await client.receive_json())["data"]["user_id"] == user_id


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": f"billing={BILLING}"},
        {"X-API-Key": "\xe9"},
        {"X-API-Key": BILLING, "Authorization": "Bearer"},
        {"X-API-Key": BILLING, "Authorization": f"Bearer {BAD_TOKENS['exp past']}"},
        {"Authorization": "Basic YTpi"},
    ],
    ids=str,
)
async def test_a_wrong_key_is_no_handshake(autojump_clock: MockClock, headers: dict[str, str]) -> None:
    """401 before the upgrade; a good key mends no wrong token."""
    async with _service_site() as site, aclosing(await site.open()) as client:
        status, _, body = await client.handshake(headers=headers)
        assert (status, body["error"]["code"]) == (401, "unauthorized")


async def test_a_key_without_a_name_connects_nobody(autojump_clock: MockClock) -> None:
    """It is passed over: who comes through a proxy that adds it says in the first message who it is."""
    async with _service_site() as site, aclosing(await site.open()) as client:
        status, _, _ = await client.handshake(headers={"X-API-Key": KEY})
        assert status == 101
        refused = await client.command("stats")
        assert (refused["type"], refused["data"]["code"]) == ("error", "unauthorized")
        assert (await client.command("authenticate", {"token": forged()}))["data"]["user_id"] == "alice"


async def test_a_services_connections_are_limited_as_a_users(autojump_clock: MockClock) -> None:
    """One too many is refused before the upgrade."""
    async with _service_site() as site, AsyncExitStack() as stack:
        for _ in range(2):
            client = await stack.enter_async_context(aclosing(await site.open()))
            assert (await client.handshake(headers={"X-API-Key": BILLING}))[0] == 101
            await client.receive_json()
        client = await stack.enter_async_context(aclosing(await site.open()))
        status, _, body = await client.handshake(headers={"X-API-Key": BILLING})
        assert (status, body["error"]["code"]) == (429, "limit_reached")


async def test_a_services_connection_has_no_end(autojump_clock: MockClock) -> None:
    """Hours of pings later nothing was announced, and it is still there; another's token does not take it over."""
    async with _service_site() as site, aclosing(await site.open()) as client:
        client.answers_pings = True
        assert (await client.handshake(headers={"X-API-Key": BILLING}))[0] == 101
        connected = await client.receive_json()
        assert connected["data"]["expires_at"] == SERVICE.expires_at
        with trio.move_on_after(4 * 3600) as hours:
            said = await client.receive_json()
            raise AssertionError(said)
        assert hours.cancelled_caught
        refused = await client.command("refresh", {"token": forged()})
        assert refused["data"]["code"] == "forbidden"
        assert site.server.context.presence.is_online("service:billing")


def test_a_secret_made_by_us_is_a_services_key() -> None:
    """What the message tells to make can be used as it is."""
    key = new_secret()
    authenticator = Authenticator(Auth(secret=SECRET, service_keys=(f"billing={key}",)))
    service = authenticator.service_by_key(key)
    assert service is not None
    assert service.username == "billing"
    assert authenticator.service_by_key("\ud800") is None
