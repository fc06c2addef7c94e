"""Types of fields that several messages share: each is checked while it is decoded."""

import re
from typing import Annotated

from msgspec import Meta

from tidings.protocol import channels

#: Said to the client in place of a regular expression.
EXPECTED: dict[str, str] = {}


def spelled_out(regex: str, expected: str) -> str:
    r"""Anchor a pattern (msgspec searches; `$` would let a final newline pass) and note what it means to people."""
    anchored = rf"\A(?:{regex})\Z"
    if EXPECTED.get(anchored, expected) != expected:
        raise ValueError(f"{regex} means {EXPECTED[anchored]!r} already: write it in another way")
    EXPECTED[anchored] = expected
    return anchored


ChannelName = Annotated[
    str,
    Meta(
        pattern=spelled_out(
            channels.CHANNEL,
            "a channel name: all, user:<id>, group:<id>, role:<name> or room:<name>, "
            "names of 1 to 128 characters A-Z a-z 0-9 _ . : -",
        )
    ),
]

RoomName = Annotated[
    str, Meta(pattern=spelled_out(channels.NAME, "a room name: 1 to 128 characters A-Z a-z 0-9 _ . : -"))
]

UserId = Annotated[
    str,
    Meta(
        pattern=spelled_out(channels.USER_ID, "a user id: 1 to 128 characters A-Z a-z 0-9 _ . : @ + -"),
    ),
]

#: Event names travel in every publication and become metric labels, so they are short and plain.
EVENT = r"[A-Za-z0-9_.:-]{1,64}"

EventName = Annotated[
    str,
    Meta(pattern=spelled_out(EVENT, "an event name: 1 to 64 characters A-Z a-z 0-9 _ . : -")),
]

#: Chosen by the client, echoed in the answer.
CommandId = Annotated[str, Meta(max_length=64)]

IDEMPOTENCY_KEY_CHARS = 128
IDEMPOTENCY_KEY_EXPECTED = (
    f"an idempotency key: 1 to {IDEMPOTENCY_KEY_CHARS} characters, no control characters, such as a UUID"
)
#: Chosen by the publisher, once for each publication. A control character was never meant, and every broker
#: shall tell the same keys apart: some databases end a text at its NUL.
IDEMPOTENCY_KEY = rf"[^\x00-\x1f\x7f-\x9f]{{1,{IDEMPOTENCY_KEY_CHARS}}}"
IdempotencyKey = Annotated[str, Meta(pattern=spelled_out(IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_EXPECTED))]

_is_idempotency_key = re.compile(IDEMPOTENCY_KEY).fullmatch
_surrogate = re.compile(r"[\ud800-\udfff]").search


def is_idempotency_key(text: str) -> bool:
    """Whether a text that was not decoded from a message may be one: in a program it may have lone surrogates."""
    # Not in the pattern: the description of the API shows it, and not every language has such a class.
    return _is_idempotency_key(text) is not None and _surrogate(text) is None


DEVICE_CHARS = 64
DEVICE = rf"[^\x00-\x1f\x7f-\x9f]{{1,{DEVICE_CHARS}}}"
#: Chosen by the client, and shown to people: no line breaks or other control characters.
DeviceName = Annotated[
    str,
    Meta(
        pattern=spelled_out(
            DEVICE, f"a device's name: 1 to {DEVICE_CHARS} characters, no control characters"
        )
    ),
]

#: A token longer than this is not one: the front door takes no larger head either.
Token = Annotated[str, Meta(min_length=1, max_length=8192)]

Text = Annotated[str, Meta(min_length=1)]


def explain(error: Exception, under: str = "") -> str:
    """What msgspec says of a wrong field: words in place of a regular expression, and the field's path.

    `under` is the path of the part that was decoded, as `.data`, where that was not the whole message.
    """
    text = str(error)
    what, _, path = text.partition(" - at ")
    path = path.replace("`$", f"`${under}") or f"`${under}`"
    if " matching regex '" in what:
        what = next((f"Expected {words}" for regex, words in EXPECTED.items() if repr(regex) in what), what)
    return f"{what} - at {path}"
