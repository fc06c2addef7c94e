"""What the log can be asked to do, and what comes of it. Each is done in the writer's thread, in order."""

from collections.abc import Container
from typing import NamedTuple, TypeAlias

import msgspec

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication


class Append(NamedTuple):
    """Number a publication and keep it. Gives `Appended`, or `KeyTaken`."""

    channel: str
    event: str
    payload: bytes
    user_id: str | None
    excluded_session: str | None
    key: str | None
    digest: bytes | None
    """Of event and payload, where there is a key."""


class Appended(NamedTuple):
    """The publication is kept."""

    position: Position
    publication: Publication | None
    """What is to be delivered; None where it was accepted before, under the same key."""
    dropped: int = 0
    """How many publications left an inbox for it that somebody had not acknowledged."""
    expired: int = 0
    """How many of these had been there for longer than the inbox keeps anything."""


class KeyTaken(NamedTuple):
    """The key was used for another event or payload."""

    channel: str


class Open(NamedTuple):
    """Say where a channel stands; one that never was has an epoch from now on. Gives a `Position`; no disk."""

    channel: str


class Clear(NamedTuple):
    """Forget what a channel keeps, but not how far it is. Gives a `Position`."""

    channel: str


class Attach(NamedTuple):
    """See a device, and enrol it where it is new and has a name. Gives `Attached`, or `DevicesFull`.

    It is written with the others if it can be, and kept in mind else: a full disk shuts nobody out.
    """

    channel: str
    device: str


class Attached(NamedTuple):
    """Where an inbox and a device of it stand."""

    position: Position
    first: int
    acknowledged: int


class Acknowledge(NamedTuple):
    """Raise a device's position. Gives the position as `int`, or `DevicesFull`."""

    channel: str
    device: str
    offset: int


class DevicesFull(NamedTuple):
    """There are as many devices with a name as there may be, and none of them may be forgotten."""

    channel: str
    devices: int


class Detach(NamedTuple):
    """Note that a device was there until now; written with something else. Gives None."""

    channel: str
    device: str


class ListDevices(NamedTuple):
    """List an inbox's devices. Gives a list of `(name, acknowledged, seen_ms)`, by name."""

    channel: str


class Sweep(NamedTuple):
    """Delete a piece of what nobody can ask for any more. Gives `Swept`."""

    in_use: Container[str] = frozenset()
    """Channels that are not to be forgotten however long they were silent."""


class Swept(NamedTuple):
    """What a sweep has found."""

    expired: int
    """Publications that left an inbox by their age, before all its devices had acknowledged them."""
    more: bool
    """Whether much is left, so that the next sweep should follow soon."""


class Revocation(msgspec.Struct, frozen=True):
    """Tokens that are accepted no longer: a row of the table of revocations."""

    kind: str
    value: str
    before_ms: int
    until_ms: int
    """Unix milliseconds; kept until then."""


class Revoke(NamedTuple):
    """Keep a revocation. Gives None. Of two with the same kind and value what reaches further counts."""

    revocation: Revocation


class ListRevocations(NamedTuple):
    """List the revocations whose time is not over. Gives a sequence of `Revocation`."""


Operation: TypeAlias = (
    Append | Open | Clear | Attach | Acknowledge | Detach | ListDevices | Sweep | Revoke | ListRevocations
)
