"""What becomes of a channel's publications: policies by name, and where history and presence are kept."""

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tidings.protocol.channels import is_channel
from tidings.server.config.values import MOST, Count, Seconds

WEEK: Final = 7 * 86400.0
# A durable history is kept for years by some; a value beyond it was meant in milliseconds.
_CENTURY: Final = 100 * 366 * 86400

Size = Annotated[int, Meta(ge=0, le=MOST)]
Age = Annotated[float, Meta(gt=0, le=_CENTURY)]
Publishers = Literal["granted", "subscribers", "anyone", "nobody"]
"""Who may use the `publish` command; see `RULE_MEANINGS`."""

KINDS: Final = ("user", "group", "role", "room")
# The beginning of a name; a whole name has the grammar of channels.
_BEGINNING: Final = re.compile(
    r"(?:user:[A-Za-z0-9_.:@+-]{0,128}|(?:group|role|room):[A-Za-z0-9_.:-]{0,128})?\*"
)


def is_pattern(text: str) -> bool:
    """Whether a text may name channels in the configuration: `room:lobby`, `room:team-*`, `user:*`, `*`."""
    return is_channel(text) or _BEGINNING.fullmatch(text) is not None


class ChannelRule(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What one pattern says. What it leaves out, the next less specific pattern says."""

    history_size: Size | UnsetType = UNSET
    history_age: Age | UnsetType = UNSET
    durable: bool | UnsetType = UNSET
    presence: bool | UnsetType = UNSET
    join_leave: bool | UnsetType = UNSET
    publish: Publishers | UnsetType = UNSET


RULE_MEANINGS: Final = {
    "history_size": "publications kept; 0 keeps none, and who was away for a moment is told that something "
    "was missed.",
    "history_age": "seconds that a publication is kept.",
    "durable": "whether publications are on disk before anybody gets them, and survive the process. Needs a "
    "history_age: that of * is for those who come back in a moment.",
    "presence": "whether those who may subscribe may ask who is there.",
    "join_leave": "whether subscribers are told of each user who comes and goes: in a large room, much "
    "traffic. Needs presence.",
    "publish": "who may publish by command, beside admins: those with a grant (granted), who is subscribed "
    "too (subscribers), everybody (anyone), or nobody.",
}
"""What each field of a rule means."""


class ChannelPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one channel: every field of `ChannelRule`, decided."""

    history_size: int = 100
    history_age: float = 300.0
    durable: bool = False
    presence: bool = False
    join_leave: bool = False
    publish: Publishers = "granted"


EVERYTHING: Final = "*"
"""The pattern of all channels."""

# `*` decides every field, so that whatever an owner adds has something to fall back on.
DEFAULT_RULES: Final = {
    EVERYTHING: ChannelRule(
        history_size=100,
        history_age=300.0,
        durable=False,
        presence=False,
        join_leave=False,
        publish="granted",
    ),
    "room:*": ChannelRule(presence=True),
    "user:*": ChannelRule(history_size=1000, history_age=WEEK, durable=True),
}


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Where publications are kept for those who come back, and how far that may go."""

    log: Annotated[
        Literal["sqlite", "none"],
        Meta(
            description="Where durable channels are kept: sqlite, in server.data_dir, or none: in memory, "
            "like the others, and lost with the process. sqlite: what waits for an absent user should "
            "outlive a restart."
        ),
    ] = "sqlite"
    memory_bytes: Annotated[
        Count,
        Meta(
            description="Bytes that all histories in memory may hold together, 256 for each publication "
            "beside its payload; past it the channel that holds the most loses its oldest, inboxes only when "
            "no other channel holds anything. 64 MiB is 100 publications of 256 bytes in each of 1,300 rooms."
        ),
    ] = 67108864
    cache_bytes: Annotated[
        Count,
        Meta(
            description="Bytes of payload that one channel's history may take in memory while clients "
            "come back to it, so that thousands of them share each reading. 8 MiB is 1,000 publications "
            "of 8 KiB."
        ),
    ] = 8388608
    page_limit: Annotated[
        int,
        Meta(
            ge=1,
            le=10000,
            description="Publications in one answer to `history`, also over HTTP. 1,000 are some 300 KB "
            "of chat; more are asked for page by page.",
        ),
    ] = 1000


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """The devices of a user, each with its own position in what the user has not received yet."""

    devices: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Named devices that one user may have. 16 are a household's; each keeps "
            "publications from being forgotten until it has them.",
        ),
    ] = 16
    device_age: Annotated[
        Age,
        Meta(
            description="Seconds after which a device that was away may be forgotten. 30 days: it was "
            "sold, or its browser's storage was cleared."
        ),
    ] = 2592000.0


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """Who is there."""

    grace: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds that a user who is gone still counts as present, so that a reconnection "
            "is not told as `left` and `joined`. 5 covers a page that is loaded again.",
        ),
    ] = 5.0
    service_seconds: Annotated[
        Seconds,
        Meta(
            description="Seconds that a service counts as online after a request with its API key. 60: "
            "a service that publishes now and then stays online between."
        ),
    ] = 60.0
