"""What every dialect offers. A dialect is pure: bytes or text in, values out, and back."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidings.protocol.errors import Refusal
from tidings.protocol.publications import Publication


class Command(msgspec.Struct, frozen=True):
    """One decoded command."""

    type: str
    data: msgspec.Struct
    id: str | None = None
    """Chosen by the client; the one answer to the command bears it."""
    extra: dict[str, object] = {}
    """Fields beyond the Struct's, of commands registered with `open_fields`."""
    credential: str | None = None
    """What the message says of who has sent it, in protocols in which each may."""


class Batch(msgspec.Struct, frozen=True):
    """Several commands of one message: each is handled and answered, in order."""

    commands: Sequence[Command | Refusal]


class Dialect(Protocol):
    """How a family of clients speaks. One instance serves every connection: it keeps no state.

    `encode_…` return a whole message, without its frame, or None where the dialect has no such
    message: its clients then get nothing, as their document says.
    """

    @property
    def name(self) -> str:
        """As written in `[endpoints]` and `?dialect=`."""

    @property
    def subprotocol(self) -> str | None:
        """The `Sec-WebSocket-Protocol` by which a client may ask for it."""

    @property
    def binary(self) -> bool:
        """Whether its messages travel in binary frames (else text)."""

    @property
    def needs_token(self) -> bool:
        """Whether a handshake without a token is refused (else the first message may bear it)."""

    @property
    def confirmations(self) -> frozenset[str]:
        """Answers that only confirm, and are sent only to a command with an id: without one none was asked for."""

    @property
    def acknowledges(self) -> bool:
        """Whether its clients say what they have received; else what the kernel took counts as that."""

    @property
    def has_inbox(self) -> bool:
        """Whether what waits for an absent user is for its clients; else they hear what comes while they are there.

        Of a dialect that has no words for most of it: it would only mark as received what it cannot say.
        """

    @property
    def by_door(self) -> bool:
        """Whether its connections come in by the door that an app keeps for this dialect, and by no other way."""

    def decode(self, message: str | bytes) -> Command | Refusal | Batch:
        """A command, or a typed refusal: no input raises. A text message is `str`, a binary one `bytes`."""

    def encode_answer(
        self, kind: str, data: msgspec.Struct, time_ms: int, command_id: str | None = None
    ) -> bytes | None:
        """The answer `kind`, or what the server says unasked about the connection."""

    def encode_publication(self, publication: Publication) -> bytes | None:
        """The publication, the same bytes for every subscriber."""

    def encode_unauthorized(self, *, given: bool) -> bytes | None:
        """The JSON body of the 401 that refuses a handshake; None where the server's usual one will do.

        `given`: whether a token came, and was not good enough.
        """
