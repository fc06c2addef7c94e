"""What schemathesis is told in its own process: who calls, and when right data may be refused.

Who calls is not told by a header on its command line, since what it makes up for one takes its place: nearly every
request would be refused for that alone.
"""

import os
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
import schemathesis

from support.tokens import forged

# The description's own examples, so that some names and some old passwords are right.
NAME: Final = "alice"
PASSWORD: Final = "brass otter 41 lighthouse"

# What callers ask about themselves.
_OWN: Final = r"^/api/(auth|users)/"

# Of what a user chooses, the service is a better judge than a schema; it says which field it was.
_CHOSEN: Final = tuple(
    f"at `$.{field}`" for field in ("username", "email", "password", "new_password", "time_zone")
)

# What the data of an event must be, no schema can tell from its type.
_EVENTS: Final = frozenset({"POST /api/v1/ws/broadcast", "POST /api/v1/ws/sync-update/{user_id}"})

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
    """Make the example a name that nobody has, where it becomes somebody's; ask for what is there."""
    asked = case.path_parameters or {}
    if _is_right(case) and "notification_id" in asked:
        asked["notification_id"] = _notification()
    if _is_right(case) and "room" in asked:
        asked["room"] = _room(asked.get("user_id"))
    if _is_right(case) and "group_id" in asked:
        group = _group()
        asked["group_id"] = group["id"]
        if "code_id" in asked:
            asked["code_id"] = group["activation_code_id"]
    body, chooses = case.body, case.operation.label != "POST /api/auth/login"
    if chooses and isinstance(body, dict) and body.get("username") == NAME:
        case.body = body | {"username": f"{NAME}{secrets.token_hex(8)}"}


def _is_right(case: _Case) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def _notification() -> str:
    """The id of a new notification of the administrator's."""
    asked = {"title": "generated", "message": "for one request"}
    made = _http.post(
        f"{os.environ['GENERATOR_URL']}/api/v1/ws/notify/root", json=asked, headers=administrator()
    )
    made.raise_for_status()
    return str(made.json()["id"])


def _room(member: str | None) -> str:
    """The name of a new room of a new user's, perhaps with another member."""
    name = f"r{secrets.token_hex(8)}"
    headers = {"Authorization": f"Bearer {forged(sub=f'owner-{name}')}"}
    rooms = f"{os.environ['GENERATOR_URL']}/api/v1/rooms"
    _http.post(rooms, json={"name": name}, headers=headers).raise_for_status()
    if member is not None:
        invited = f"{rooms}/{name}/members/{quote(member, safe='')}"
        _http.put(invited, json={"role": "member"}, headers=headers).raise_for_status()
    return name


def _group() -> dict[str, Any]:
    """A new group of the line board."""
    groups = f"{os.environ['GENERATOR_URL']}/api/v1/lines/groups"
    made = _http.post(groups, json={"name": "generated"}, headers=administrator())
    made.raise_for_status()
    group: dict[str, Any] = made.json()
    return group


@schemathesis.check
def what_was_chosen_is_judged(_context: Any, response: Any, case: _Case) -> None:
    """Right data may be refused for what somebody chose, which no schema can tell, and never for its shape."""
    if not _is_right(case) or response.status_code != 400:
        return
    told = response.json()["error"]
    assert told["code"] == "invalid_data", told
    if not told["message"].startswith(_WHOLE) and case.operation.label not in _EVENTS:
        assert told["message"].endswith(_CHOSEN), told
        assert not told["message"].startswith(("Expected", "Object")), told
