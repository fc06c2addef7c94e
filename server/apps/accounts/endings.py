"""What connections are told, and closed with, by what has ended their logins."""

from collections.abc import Mapping
from typing import Final

from tidings.protocol.catalogues import CATALOGUES, OTHER_DEVICE_LOGIN
from tidings.protocol.close_codes import CloseCode
from tidings.server.apps.accounts.users import Why
from tidings.server.logins import Farewell

#: The document's, in the language of those who have no catalogue of their own.
FAREWELL: Final = Farewell(
    "force_logout",
    {"reason": OTHER_DEVICE_LOGIN, "message": CATALOGUES["en"].forced_out[OTHER_DEVICE_LOGIN]},
)

#: The code and the reason, once they have heard why.
CLOSES: Final[Mapping[Why, tuple[CloseCode, str | None]]] = {
    "login": (CloseCode.LOGGED_IN_ELSEWHERE, None),
    "logout": (CloseCode.INVALID_TOKEN, "logged out"),
    "password": (CloseCode.INVALID_TOKEN, "password changed"),
    "roles": (CloseCode.INVALID_TOKEN, "roles changed"),
    "group": (CloseCode.INVALID_TOKEN, "group changed"),
    "deleted": (CloseCode.ACCOUNT_DELETED, None),
}
