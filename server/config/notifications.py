"""The section about notifications."""

from typing import Annotated

import msgspec
from msgspec import Meta

from tidings.server.config.values import Count


class Notifications(msgspec.Struct, frozen=True, kw_only=True):
    """Notifications that this server keeps for its users, for the app `notifications` (`server.apps`)."""

    keep: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Notifications kept for one user; a new one drops the oldest beyond it, read or not. "
            "1,000: months of them for most, and more than anybody scrolls through.",
        ),
    ] = 1000
    max_age: Annotated[
        Count,
        Meta(
            description="Seconds after which a notification is deleted, read or not. 90 days: who was away "
            "for a season starts anew."
        ),
    ] = 7_776_000
