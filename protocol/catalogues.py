"""What the server says in words, in each language: for dialects whose clients show the text as it comes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

#: The `reason` of a `force_logout` that follows a login elsewhere.
OTHER_DEVICE_LOGIN: Final = "other_device_login"


class Catalogue(msgspec.Struct, frozen=True):
    """The texts of one language."""

    language: str
    """As in BCP 47, such as `ja`."""
    connected: str
    pong: str
    forced_out: Mapping[str, str]
    """The message of a `force_logout`, by its `reason`."""


_ALL: Final = (
    # The document's own words, to the letter: its clients' users know them.
    Catalogue(
        "ja",
        connected="WebSocket接続が確立されました",
        pong="接続中",
        forced_out=MappingProxyType(
            {
                OTHER_DEVICE_LOGIN: (
                    "このアカウントは他のデバイスでログインされています。再度ログインしてください。"
                )
            }
        ),
    ),
    Catalogue(
        "en",
        connected="WebSocket connection established",
        pong="Connected",
        forced_out=MappingProxyType(
            {OTHER_DEVICE_LOGIN: "This account is logged in on another device. Please log in again."}
        ),
    ),
    Catalogue(
        "zh",
        connected="WebSocket 连接已建立",
        # Not 连接中, which looks like the Japanese and says that the connection is still being made.
        pong="已连接",
        forced_out=MappingProxyType({OTHER_DEVICE_LOGIN: "此账号已在其他设备上登录，请重新登录。"}),
    ),
)

CATALOGUES: Final[Mapping[str, Catalogue]] = MappingProxyType(
    {catalogue.language: catalogue for catalogue in _ALL}
)
"""By language."""
