"""Who may call: tokens, API keys, and what is neither."""

from typing import Any

import httpx
import pytest
from support.site import SECRET, Site
from support.tokens import BAD_TOKENS, forged

from tidings.server.access import SERVICE, Access, Unidentified
from tidings.server.auth import Authenticator
from tidings.server.config import Auth
from tidings.server.identity import Identity

KEY = "a-key-of-the-tests"

GUARDED = [
    ("GET", "/api/v1/stats"),
    ("GET", "/api/v1/channels"),
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
