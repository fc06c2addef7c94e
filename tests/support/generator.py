"""What schemathesis is told in its own process: who calls, and when right data may be refused.

Who calls is not told by a header on its command line, since what it makes up for one takes its place: nearly every
request would be refused for that alone.
"""

import os
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx
import schemathesis

from support.tokens import forged

# The description's own examples, so that some names and some old passwords are right.
NAME: Final = "alice"
PASSWORD: Final = "brass otter 41 lighthouse"

# What callers ask about themselves.
_OWN: Final = r"^/api/(auth|users)/"

# Of what a user chooses, the service is a better judge than a schema; it says which field it was.
_CHOSEN: Final = tuple(f"at `$.{field}`" for field in ("username", "email", "password", "new_password"))

# To JSON Schema 300.0 is an integer.
_WHOLE: Final = "Expected `int`, got `float`"


_Case = schemathesis.Case[Any]

_http: Final = httpx.Client(verify=False, timeout=30)


def administrator() -> dict[str, str]:
    """The credentials of an administrator of another issuer's, without an account: nothing generated ends them."""
    return {"Authorization": f"Bearer {forged(sub='root', roles=['admin'])}"}


class _Caller:
    def set(self, case: _Case, data: Mapping[str, str], _context: Any) -> None:
        case.headers.update(data)


@schemathesis.auth(refresh_interval=None).apply_to(path_regex=_OWN)
class OneUserEach(_Caller):
    """Each request about its caller comes from a user of its own: one logs out, another changes the password."""

    def get(self, case: _Case, _context: Any) -> Mapping[str, str]:
        asked = {"username": f"u{secrets.token_hex(8)}"}
        if case.path.endswith("/password"):
            asked["password"] = PASSWORD
        made = _http.post(
            f"{os.environ['GENERATOR_URL']}/api/admin/users", json=asked, headers=administrator()
        )
        made.raise_for_status()
        token = forged(sub=made.json()["user"]["id"], sid=secrets.token_hex(8), auth_time=time.time())
        return {"Authorization": f"Bearer {token}"}


@schemathesis.auth(refresh_interval=None).skip_for(path_regex=_OWN)
class Administrator(_Caller):
    """Everything else is asked by an administrator, or by whoever holds the key in the environment."""

    def get(self, _case: _Case, _context: Any) -> Mapping[str, str]:
        key = os.environ.get("GENERATOR_KEY")
        return administrator() if key is None else {"X-API-Key": key}


@schemathesis.hook
def before_call(_context: Any, case: _Case, _arguments: Any) -> None:
    """Where the example is to become somebody's name, make it one that nobody has."""
    body, chooses = case.body, case.operation.label != "POST /api/auth/login"
    if chooses and isinstance(body, dict) and body.get("username") == NAME:
        case.body = body | {"username": f"{NAME}{secrets.token_hex(8)}"}


@schemathesis.check
def what_was_chosen_is_judged(_context: Any, response: Any, case: _Case) -> None:
    """Right data may be refused for what somebody chose, which no schema can tell, and never for its shape."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 400:
        return
    told = response.json()["error"]
    assert told["code"] == "invalid_data", told
    if not told["message"].startswith(_WHOLE):
        assert told["message"].endswith(_CHOSEN), told
        assert not told["message"].startswith(("Expected", "Object")), told
