"""The section about the line board."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tidings.server.config.values import DAY, Count, Seconds

_CENTURY: Final = 100 * 366 * DAY


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """The line board: devices that report customers' messages, and dashboards; the app `lines` (`server.apps`)."""

    devices: Annotated[
        Literal["many", "single"],
        Meta(
            description="Whether one activation code serves many devices at once (up to "
            "limits.connections_per_user), or a single one, whose place a newer one takes (3508). many: a team "
            "shares its group's code."
        ),
    ] = "many"
    device_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds without a message after which a device is dropped and its accounts go offline. "
            "Only what its program says counts, as heartbeat, not pongs, which a program that hangs still sends. "
            "90 forgives two of the usual heartbeats every 30."
        ),
    ] = 90.0
    message_bytes: Annotated[
        Count,
        Meta(
            description="Longest message of a device that has come in, in bytes, in place of limits.message_bytes. "
            "4 MiB holds a sync of 10,000 accounts."
        ),
    ] = 4_194_304
    accounts: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Accounts that one group may have, and a sync may name. All are in memory, some 600 bytes "
            "each. 10,000: more is a device in a loop, or several groups' worth.",
        ),
    ] = 10_000
    wrong_codes: Annotated[
        Count,
        Meta(
            description="Wrong activation codes a minute from one address, past which it is refused (429). 10 are "
            "enough to type one, and too few to guess one of a trillion."
        ),
    ] = 10
    stats_interval: Annotated[
        float,
        Meta(
            ge=0.2,
            le=60,
            description="Seconds between two updates of the figures of the same group or account; what changes in "
            "between is told together. 0.2: five a second are all that people see.",
        ),
    ] = 0.2
    incoming_age: Annotated[
        float,
        Meta(
            # What is of today is counted from them, in any time zone.
            ge=2 * DAY,
            le=_CENTURY,
            description="Seconds that an incoming line is kept; the figures go on counting it. 90 days are a "
            "quarter.",
        ),
    ] = 7_776_000.0
    old_incoming: Annotated[
        Literal["delete", "archive"],
        Meta(
            description="What becomes of older ones: delete, or archive, which moves them to the table "
            "lines_incoming_archive, for its owner to empty. delete: they hold customers' data."
        ),
    ] = "delete"
