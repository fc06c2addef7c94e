"""The native dialect, in JSON (`tidings.v1.json`) and MessagePack (`tidings.v1.msgpack`).

Client to server: `{"type": T, "data": {...}, "id": "c1"}`. Server to client: `{"type": T, "data": {...},
"timestamp": "2026-11-21T20:10:00.123Z"}`, with `id` on answers, `channel` and `offset` on publications,
`user_id` on events about a user.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from tidings.protocol.dialects.readers import command_reader
from tidings.protocol.dialects.reading import message_union
from tidings.protocol.messages.answers import HistoryPage, Kept
from tidings.protocol.messages.registry import Registry
from tidings.protocol.publications import Publication, iso_milliseconds


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything the server sends."""

    type: str
    data: Any
    timestamp: str
    id: str | None = None
    channel: str | None = None
    offset: int | None = None
    user_id: str | None = None


class NativeDialect:
    """The native dialect in one of its two encodings."""

    needs_token = False
    confirmations = frozenset({"published"})
    acknowledges = True
    has_inbox = True
    by_door = False

    def __init__(self, registry: Registry, *, binary: bool = False) -> None:
        """Build the tagged union of the commands in `registry`, which must be complete."""
        self.binary = binary
        self.name = "native_msgpack" if binary else "native"
        self.subprotocol = "tidings.v1.msgpack" if binary else "tidings.v1.json"
        # Not in a method that calls it: that would be a tenth of what decoding a ping takes.
        self.decode = command_reader(
            registry.commands, speaks=self.subprotocol, ids=True, binary=binary
        ).read
        codec: Any = msgspec.msgpack if binary else msgspec.json
        self._encode: Callable[[object], bytes] = codec.Encoder().encode

    def encode_answer(
        self, kind: str, data: msgspec.Struct, time_ms: int, command_id: str | None = None
    ) -> bytes | None:
        """The answer as a whole message."""
        if self.binary and isinstance(data, HistoryPage):
            # Payloads are JSON text, which can be copied into JSON only.
            data = msgspec.structs.replace(
                data, publications=[_decoded(kept) for kept in data.publications]
            )
        return self._encode(_Envelope(kind, data, iso_milliseconds(time_ms), command_id))

    def encode_publication(self, publication: Publication) -> bytes | None:
        """The publication as a whole message."""
        payload = publication.payload
        return self._encode(
            _Envelope(
                publication.event,
                # The payload is JSON text already: it is copied, not encoded again.
                msgspec.json.decode(payload) if self.binary else msgspec.Raw(payload),
                iso_milliseconds(publication.time_ms),
                None,
                publication.channel,
                # An announcement has none.
                publication.offset or None,
                publication.user_id,
            )
        )

    def encode_unauthorized(self, *, given: bool) -> bytes | None:  # noqa: ARG002
        """The server's own."""
        return None


def _decoded(kept: Kept) -> Kept:
    if isinstance(kept.data, msgspec.Raw):
        return msgspec.structs.replace(kept, data=msgspec.json.decode(kept.data))
    return kept


def server_message_union(registry: Registry) -> Any:
    """One tagged union of everything the server sends, for clients and for tests of the dialect.

    An event that nobody registered is not in it; decode such a message as a plain object.
    """
    return message_union(
        (
            (message.name, message.payload)
            for message in (*registry.answers.values(), *registry.events.values())
        ),
        "data",
        [
            ("timestamp", str),
            ("id", str | None, None),
            ("channel", str | None, None),
            ("offset", int | None, None),
            ("user_id", str | None, None),
        ],
    )
