"""The dialect of clients that wait for one thing: to be told that their user has logged in elsewhere.

Server to client: `{"type": T, "message": "…"}`, with `reason` on `force_logout`; the message is a text that the
client shows as it comes, so that each language is a dialect of its own. Client to server: `ping`, bare or as
`{"type": "ping"}`. A client that says anything else hears nothing.
"""

from typing import Final

import msgspec

from tidings.protocol.catalogues import Catalogue
from tidings.protocol.dialects.base import Command
from tidings.protocol.dialects.reading import DECODING_ERRORS, unreadable
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import events
from tidings.protocol.messages.commands import Ping
from tidings.protocol.publications import Publication

#: The document's own language, whose dialect is called by the plain name.
LANGUAGE: Final = "ja"

_PING: Final = Command("ping", Ping())


class Connected(msgspec.Struct, frozen=True, tag_field="type", tag="connected"):
    """The connection stands."""

    message: str


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """Answers `ping`."""

    message: str


class ForceLogout(msgspec.Struct, frozen=True, tag_field="type", tag="force_logout"):
    """This login has ended."""

    message: str
    reason: str


ServerMessage = Connected | Pong | ForceLogout


class ClientMessage(msgspec.Struct, frozen=True):
    """What a client says. No tagged union of one: msgspec takes `{}`, without any tag, for its only member."""

    type: str


_decode: Final = msgspec.json.Decoder(ClientMessage).decode
_decode_forced: Final = msgspec.json.Decoder(events.ForceLogout).decode
_encode: Final = msgspec.json.Encoder().encode


class SingleLoginDialect:
    """The dialect in one language."""

    subprotocol = None
    binary = False
    needs_token = True
    confirmations = frozenset[str]()
    acknowledges = False
    # What an inbox brings has no words here. A seat there would take from the user's other clients without a
    # device's name what they share a position in.
    has_inbox = False
    by_door = False

    def __init__(self, catalogue: Catalogue) -> None:
        """Take the texts."""
        language = catalogue.language
        self.name = "single_login" if language == LANGUAGE else f"single_login_{language}"
        self._forced_out = catalogue.forced_out
        self._answers = {
            "connected": _encode(Connected(catalogue.connected)),
            "pong": _encode(Pong(catalogue.pong)),
        }

    def decode(self, message: str | bytes) -> Command | Refusal:
        """A ping, or a typed refusal: no input raises."""
        if message == "ping":
            return _PING
        if isinstance(message, bytes):
            return Refusal(
                ErrorCode.BAD_REQUEST, f"this connection speaks JSON in text frames ({self.name})"
            )
        try:
            kind = _decode(message).type
        except msgspec.ValidationError as error:
            return Refusal(ErrorCode.BAD_REQUEST, f"not a command: {error}")
        except DECODING_ERRORS as error:
            return unreadable(error, "neither ping nor a JSON object")
        if kind == "ping":
            return _PING
        return Refusal(ErrorCode.UNKNOWN_TYPE, f"type: expected 'ping', got {kind[:64]!r}")

    def encode_answer(
        self,
        kind: str,
        data: msgspec.Struct,  # noqa: ARG002  the texts hold none of it
        time_ms: int,  # noqa: ARG002
        command_id: str | None = None,  # noqa: ARG002
    ) -> bytes | None:
        """`connected` and `pong`; of all else, errors too, these clients hear nothing."""
        return self._answers.get(kind)

    def encode_publication(self, publication: Publication) -> bytes | None:
        """A `force_logout`, in the catalogue's words where it has the reason, else in the publisher's."""
        if publication.event != "force_logout":
            return None
        told = _decode_forced(publication.payload)
        return _encode(ForceLogout(self._forced_out.get(told.reason, told.message), told.reason))

    def encode_unauthorized(self, *, given: bool) -> bytes | None:  # noqa: ARG002
        """The document has no words for it: the server's own."""
        return None
