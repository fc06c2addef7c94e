"""The native dialect, in JSON (`tidings.v1.json`) and MessagePack (`tidings.v1.msgpack`).

Client to server: `{"type": T, "data": {...}, "id": "c1"}`. Server to client: `{"type": T, "data": {...},
"timestamp": "2026-11-21T20:10:00.123Z"}`, with `id` on answers, `channel` and `offset` on publications,
`user_id` on events about a user.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Union

import msgspec

from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import HistoryPage, Kept
from tidings.protocol.messages.fields import CommandId, explain
from tidings.protocol.messages.registry import MessageType, Registry
from tidings.protocol.publications import Publication, iso_milliseconds

# Beside its own errors msgspec raises RecursionError on deep nesting, UnicodeDecodeError on bad UTF-8,
# OverflowError and ValueError on numbers, and TypeError on map keys that cannot be hashed.
_DECODING_ERRORS = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError, TypeError)


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything the server sends."""

    type: str
    data: Any
    timestamp: str
    id: str | None = None
    channel: str | None = None
    offset: int | None = None
    user_id: str | None = None


class _Peek(msgspec.Struct, frozen=True):
    """What can be told of a message that is not a valid command."""

    type: Any = None
    id: Any = None


class NativeDialect:
    """The native dialect in one of its two encodings."""

    needs_token = False
    confirmations = frozenset({"published"})
    acknowledges = True
    has_inbox = True

    def __init__(self, registry: Registry, *, binary: bool = False) -> None:
        """Build the tagged union of the commands in `registry`, which must be complete."""
        self.binary = binary
        self.name = "native_msgpack" if binary else "native"
        self.subprotocol = "tidings.v1.msgpack" if binary else "tidings.v1.json"
        self._commands = registry.commands
        envelopes = [_command_envelope(command) for command in registry.commands.values()]
        union: Any = Union[tuple(envelopes)]  # noqa: UP007  made at run time
        codec: Any = msgspec.msgpack if binary else msgspec.json
        self._union = union
        self._decode: Callable[[str | bytes], Any] = codec.Decoder(union).decode
        self._decode_loosely: Callable[[str | bytes], Any] = codec.Decoder().decode
        self._peek: Callable[[str | bytes], _Peek] = codec.Decoder(_Peek).decode
        self._encode: Callable[[object], bytes] = codec.Encoder().encode

    def decode(self, message: str | bytes) -> Command | Refusal:
        """A command, or a typed refusal: no input raises."""
        if isinstance(message, bytes) is not self.binary:
            kind = "MessagePack in binary frames" if self.binary else "JSON in text frames"
            return Refusal(ErrorCode.BAD_REQUEST, f"this connection speaks {kind} ({self.subprotocol})")
        try:
            return self._command(self._decode(message))
        except msgspec.ValidationError as error:
            return self._refuse(message, error)
        except _DECODING_ERRORS as error:
            return self._unreadable(error)

    def _command(self, envelope: Any) -> Command | Refusal:
        kind = envelope.__struct_config__.tag
        command = self._commands[kind]
        if not command.open_fields:
            return Command(kind, envelope.data, envelope.id)
        try:
            data = msgspec.convert(envelope.data, command.payload)
        except msgspec.ValidationError as error:
            return Refusal(ErrorCode.INVALID_DATA, explain(error, ".data"), envelope.id)
        # The dict was made for us: without the known fields it is the rest.
        extra = envelope.data
        for name in command.payload.__struct_encode_fields__:
            extra.pop(name, None)
        return Command(kind, data, envelope.id, extra)

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

    def _refuse(self, message: str | bytes, error: msgspec.ValidationError) -> Command | Refusal:
        """Tell what is wrong with a message that is well-formed, but no command."""
        try:
            peek = self._peek(message)
        except _DECODING_ERRORS as unreadable:
            return self._unreadable(unreadable)
        kind = peek.type
        if peek.id is not None and (not isinstance(peek.id, str) or len(peek.id) > 64):
            return Refusal(ErrorCode.BAD_REQUEST, "id: expected a string of at most 64 characters")
        if not isinstance(kind, str):
            return Refusal(ErrorCode.BAD_REQUEST, "type: expected a string, the name of a command", peek.id)
        if kind not in self._commands:
            return Refusal(ErrorCode.UNKNOWN_TYPE, self._unknown(kind), peek.id)
        # Of duplicate keys the last wins, but the union was chosen by the first `type`.
        try:
            loose = self._decode_loosely(message)
        except _DECODING_ERRORS:
            told = explain(error)
            if told.endswith("`$.type`"):
                # It quotes the first `type`, at whatever length.
                told = "Invalid value, given twice - at `$.type`"
            return Refusal(ErrorCode.INVALID_DATA, told, peek.id)
        try:
            return self._command(msgspec.convert(loose, self._union))
        except msgspec.ValidationError as last:
            return Refusal(ErrorCode.INVALID_DATA, explain(last), peek.id)

    def _unknown(self, kind: str) -> str:
        # A long name is not echoed whole, and comparing it with all names would cost time.
        shown = kind if len(kind) <= 64 else kind[:64] + "…"
        near = get_close_matches(shown, self._commands, n=1)
        return f"type: no command {shown!r}" + (f"; did you mean {near[0]!r}?" if near else "")

    def _unreadable(self, error: BaseException) -> Refusal:
        encoding = "MessagePack map" if self.binary else "JSON object"
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Refusal(ErrorCode.BAD_REQUEST, f"not a {encoding}: {detail}")


def _decoded(kept: Kept) -> Kept:
    if isinstance(kept.data, msgspec.Raw):
        return msgspec.structs.replace(kept, data=msgspec.json.decode(kept.data))
    return kept


def _command_envelope(command: MessageType) -> type[msgspec.Struct]:
    """The envelope of one command: `{type, data, id}`, `data` absent where the payload needs nothing."""
    payload: Any = dict[str, Any] if command.open_fields else command.payload
    data: Any = ("data", payload)
    if not any(field.required for field in msgspec.structs.fields(command.payload)):
        data = ("data", payload, msgspec.field(default_factory=payload))
    fields = [data, ("id", CommandId | None, None)]
    return msgspec.defstruct(
        f"Command_{command.name}", fields, tag_field="type", tag=command.name, frozen=True, kw_only=True
    )


def server_message_union(registry: Registry) -> Any:
    """One tagged union of everything the server sends, for clients and for tests of the dialect.

    An event that nobody registered is not in it; decode such a message as a plain object.
    """
    envelopes = [
        msgspec.defstruct(
            f"Server_{message.name}",
            [
                ("data", message.payload),
                ("timestamp", str),
                ("id", str | None, None),
                ("channel", str | None, None),
                ("offset", int | None, None),
                ("user_id", str | None, None),
            ],
            tag_field="type",
            tag=message.name,
            frozen=True,
        )
        for message in (*registry.answers.values(), *registry.events.values())
    ]
    return Union[tuple(envelopes)]  # noqa: UP007  made at run time
