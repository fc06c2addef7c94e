"""From a message to a command, in every dialect whose messages are `{"type": T, "<field>": payload}`.

One union of all commands is built once, at the start: a message is judged and decoded in one go. What is no
command is looked at again, to say what is wrong with it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from types import GenericAlias
from typing import Annotated, Any, Final, Union

import msgspec

from tidings.protocol.dialects.base import Batch, Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.fields import CommandId, explain
from tidings.protocol.messages.registry import MessageType, Registry

# Beside its own errors msgspec raises RecursionError on deep nesting, UnicodeDecodeError on bad UTF-8,
# UnicodeEncodeError on lone surrogates, OverflowError and ValueError on numbers, and TypeError on map keys
# that cannot be hashed.
DECODING_ERRORS: Final = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError, TypeError)

#: The owner of what every server says.
OURS: Final = "tidings"

#: How many messages an array of them may hold: a client that has more to say says it in several.
BATCH: Final = 1_000

#: As long as `CommandId`: what is longer was never handed out.
_Credential = Annotated[str, msgspec.Meta(max_length=64)]

_Made = Command | Refusal

#: What JSON takes for white space.
_BLANKS: Final = " \t\n\r"


class Shape(msgspec.Struct, frozen=True):
    """How a dialect writes a payload that it does not write as it is."""

    form: Any
    """The type that is decoded."""
    payload: Callable[[Any], msgspec.Struct]
    """The payload, from what was decoded."""
    optional: bool = False
    """Whether it may be left out: `payload` is then given None."""
    place: str | None = None
    """The field in which it stands, where that is not the one of all others."""


class _Peek(msgspec.Struct, frozen=True):
    """What can be told of a message that is not a valid command."""

    type: Any = None
    id: Any = None


class CommandReader:
    """Decodes the messages of one dialect. No input makes `read` raise."""

    def __init__(
        self,
        commands: Mapping[str, MessageType],
        *,
        speaks: str,
        field: str = "data",
        shapes: Mapping[type[msgspec.Struct], Shape] = {},
        ids: bool = False,
        credential: str | None = None,
        binary: bool = False,
    ) -> None:
        """Build the union of `commands`, whose payloads stand in `field`, those of some types in other `shapes`.

        `commands` are by the types that messages have. `speaks`: what to call the dialect. Without `ids` an `id`
        in a message is a field like any that nobody asks for. `credential`: the field, beside the payload's, in
        which any message may say who has sent it; null or an empty text says nothing.
        """
        self._binary = binary
        self._speaks = speaks
        self._field = field
        self._ids = ids
        self._credential = credential
        self._commands = commands
        #: What is yet to be done, by command, where decoding alone does not make it.
        self._makers: dict[str, Callable[[Any, str | None], _Made]] = {}
        envelopes = [
            self._envelope(kind, command, shapes.get(command.payload)) for kind, command in commands.items()
        ]
        if len(envelopes) == 1:
            # Of a union of one msgspec takes `{}`, without any tag, for its only member.
            envelopes.append(msgspec.defstruct("Nobody", [("data", Any, None)], tag_field="type", tag=""))
            self._makers[""] = lambda _envelope, _id: self._unknown("")
        union: Any = Union[tuple(envelopes)]  # noqa: UP007  made at run time
        codec: Any = msgspec.msgpack if binary else msgspec.json
        self.union = union
        """The type of what is decoded of a message; `made` of it is the command."""
        self._decode: Callable[[str | bytes], Any] = codec.Decoder(union).decode
        self._decode_loosely: Callable[[str | bytes], Any] = codec.Decoder().decode
        self._peek: Callable[[str | bytes], _Peek] = codec.Decoder(_Peek).decode

    def read(self, message: str | bytes) -> Command | Refusal:
        """A command, or a typed refusal. A text message is `str`, a binary one `bytes`."""
        if isinstance(message, bytes) is not self._binary:
            kind = "MessagePack in binary frames" if self._binary else "JSON in text frames"
            return Refusal(ErrorCode.BAD_REQUEST, f"this connection speaks {kind} ({self._speaks})")
        try:
            return self.made(self._decode(message))
        except msgspec.ValidationError as error:
            return self._refuse(message, error)
        except DECODING_ERRORS as error:
            return self._unreadable(error)

    def made(self, envelope: Any) -> Command | Refusal:
        """The command of an instance of the `union`."""
        kind = envelope.__struct_config__.tag
        command_id = envelope.id if self._ids else None
        make = self._makers.get(kind)
        if make is None:
            return Command(kind, envelope.data, command_id)
        return make(envelope, command_id)

    def _envelope(self, kind: str, command: MessageType, shape: Shape | None) -> type[msgspec.Struct]:
        """The envelope of one command, the payload absent where nothing is needed."""
        form: Any = command.payload
        empty: Any = form
        optional = not any(field.required for field in msgspec.structs.fields(command.payload))
        place = self._field
        if shape is not None:
            form, empty, optional = shape.form, lambda: None, shape.optional
            place = shape.place or place
            payload = shape.payload
            self._makers[kind] = lambda envelope, id_: Command(command.name, payload(envelope.data), id_)
        elif command.open_fields:
            form, empty = dict[str, Any], dict
            self._makers[kind] = partial(self._open, command)
        elif kind != command.name or self._credential is not None:
            self._makers[kind] = lambda envelope, id_: Command(command.name, envelope.data, id_)
        data = ("data", form, msgspec.field(default_factory=empty)) if optional else ("data", form)
        fields: list[Any] = [data, ("id", CommandId | None, None)] if self._ids else [data]
        names = {"data": place}
        if self._credential is not None:
            said = "data"
            if place != self._credential:
                said = "credential"
                fields.append((said, _Credential | None, None))
                names[said] = self._credential
            self._makers[kind] = partial(_with_credential, self._makers[kind], said)
        return msgspec.defstruct(
            f"Command_{command.name}",
            fields,
            tag_field="type",
            tag=kind,
            frozen=True,
            kw_only=True,
            rename=names,
        )

    def _open(self, command: MessageType, envelope: Any, command_id: str | None) -> Command | Refusal:
        payload, fields = command.payload, envelope.data
        try:
            data = msgspec.convert(fields, payload)
        except msgspec.ValidationError as error:
            return Refusal(ErrorCode.INVALID_DATA, explain(error, f".{self._field}"), command_id)
        # The dict was made for us: without the known fields it is the rest.
        for name in payload.__struct_encode_fields__:
            fields.pop(name, None)
        return Command(command.name, data, command_id, fields)

    def _refuse(self, message: str | bytes, error: msgspec.ValidationError) -> Command | Refusal:
        """Tell what is wrong with a message that is well-formed, but no command."""
        try:
            peek = self._peek(message)
        except DECODING_ERRORS as unreadable:
            return self._unreadable(unreadable)
        kind, command_id = peek.type, peek.id if self._ids else None
        if command_id is not None and (not isinstance(command_id, str) or len(command_id) > 64):
            return Refusal(ErrorCode.BAD_REQUEST, "id: expected a string of at most 64 characters")
        if not isinstance(kind, str):
            return Refusal(
                ErrorCode.BAD_REQUEST, "type: expected a string, the name of a command", command_id
            )
        if kind not in self._commands:
            return self._unknown(kind, command_id)
        # Of duplicate keys the last wins, but the union was chosen by the first `type`.
        try:
            loose = self._decode_loosely(message)
        except DECODING_ERRORS:
            told = explain(error)
            if told.endswith("`$.type`"):
                # It quotes the first `type`, at whatever length.
                told = "Invalid value, given twice - at `$.type`"
            return Refusal(ErrorCode.INVALID_DATA, told, command_id)
        try:
            return self.made(msgspec.convert(loose, self.union))
        except msgspec.ValidationError as last:
            return Refusal(ErrorCode.INVALID_DATA, explain(last), command_id)

    def _unknown(self, kind: str, command_id: str | None = None) -> Refusal:
        # A long name is not echoed whole, and comparing it with all names would cost time.
        shown = kind if len(kind) <= 64 else kind[:64] + "…"
        near = get_close_matches(shown, self._commands, n=1)
        told = f"type: no command {shown!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        return Refusal(ErrorCode.UNKNOWN_TYPE, told, command_id)

    def _unreadable(self, error: BaseException) -> Refusal:
        return unreadable(error, f"not a {'MessagePack map' if self._binary else 'JSON object'}")


class BatchReader:
    """Decodes messages of which a client may send several, as an array, in one. No input makes `read` raise."""

    def __init__(self, reader: CommandReader) -> None:
        """Take what reads each of them, from JSON."""
        self._reader = reader
        several: Any = GenericAlias(list, (reader.union,))
        self._decode: Callable[[str], list[Any]] = msgspec.json.Decoder(several).decode
        self._divide: Callable[[str], list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw]).decode

    def read(self, message: str | bytes) -> Command | Refusal | Batch:
        """A command or a typed refusal, or of an array as many."""
        if isinstance(message, bytes) or not message.lstrip(_BLANKS).startswith("["):
            return self._reader.read(message)
        entries: Sequence[Any]
        make: Callable[[Any], Command | Refusal]
        try:
            try:
                entries, make = self._decode(message), self._reader.made
            except msgspec.ValidationError:
                # Each for itself, so that one that is wrong spoils no other.
                entries, make = self._divide(message), self._alone
        except DECODING_ERRORS as error:
            return unreadable(error, "not a JSON array of messages")
        if not entries:
            return Refusal(ErrorCode.BAD_REQUEST, "expected messages, got an empty array")
        if len(entries) > BATCH:
            told = f"expected at most {BATCH:,} messages in one array, got {len(entries):,}: send several"
            return Refusal(ErrorCode.TOO_LARGE, told)
        return Batch([make(entry) for entry in entries])

    def _alone(self, entry: msgspec.Raw) -> Command | Refusal:
        return self._reader.read(bytes(entry).decode())


def _with_credential(
    make: Callable[[Any, str | None], _Made], said: str, envelope: Any, command_id: str | None
) -> _Made:
    made = make(envelope, command_id)
    credential = getattr(envelope, said)
    if not credential or isinstance(made, Refusal):
        return made
    return Command(made.type, made.data, made.id, made.extra, credential)


def unreadable(error: BaseException, what: str) -> Refusal:
    """The refusal of a message on which decoding failed with one of `DECODING_ERRORS`."""
    detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return Refusal(ErrorCode.BAD_REQUEST, f"{what}: {detail}")


def commands_of_apps(
    registry: Registry, *, beside: Collection[str], without: Collection[str]
) -> dict[str, MessageType]:
    """The commands of a foreign protocol: some of ours, and what apps have registered but for a few names."""
    return {
        name: command
        for name, command in registry.commands.items()
        if name in beside or (command.owner != OURS and name not in without)
    }


def message_union(payloads: Iterable[tuple[str, Any]], field: str, rest: Sequence[tuple[Any, ...]]) -> Any:
    """One tagged union of what a server sends: the payloads by type, in their field, and the envelope's `rest`."""
    envelopes = [
        msgspec.defstruct(
            f"Server_{name}", [(field, payload), *rest], tag_field="type", tag=name, frozen=True
        )
        for name, payload in payloads
    ]
    return Union[tuple(envelopes)]  # noqa: UP007  made at run time
