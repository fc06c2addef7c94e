"""From a message to a command, in every dialect whose messages are `{"type": T, "<field>": payload}`.

One union of all commands is built once, at the start: a message is judged and decoded in one go. What is no
command is looked at again, to say what is wrong with it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, Final, Union

import msgspec

from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.fields import CommandId, explain
from tidings.protocol.messages.registry import MessageType, Registry

# Beside its own errors msgspec raises RecursionError on deep nesting, UnicodeDecodeError on bad UTF-8,
# UnicodeEncodeError on lone surrogates, OverflowError and ValueError on numbers, and TypeError on map keys
# that cannot be hashed.
DECODING_ERRORS: Final = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError, TypeError)

#: The owner of what every server says.
OURS: Final = "tidings"

#: The longest message, where a dialect sets a bound, but for types that may be longer. Decoded into values, 64 KiB
#: of brackets take some milliseconds; 4 MiB, up to a second.
MESSAGE_CHARS: Final = 65_536
#: As long as `CommandId`: what is longer was never handed out.
_Credential = Annotated[str, msgspec.Meta(max_length=64)]

_Made = Command | Refusal

# All up to the next lone half of a pair, or such a half. Possessive: linear on any text.
_to_lone_surrogates: Final = re.compile(
    r"((?:[^\\]++|\\(?!u[dD][89a-fA-F]).|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})++)"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}",
    re.DOTALL,
)
#: How many of these are looked at, a third of a microsecond each.
_MOST_PARTS: Final = 20_000
#: And how many backslashes: two million take 100 ms; ten thousand names written in escapes have a tenth of that.
_MOST_ESCAPES: Final = 400_000


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
    long: bool = False
    """Whether a message with it may be longer than others. It then has a `mend`."""
    mend: Callable[[msgspec.Raw], msgspec.Struct | Refusal | None] | None = None
    """What reads a payload that is wrong somewhere, for what is good in it; None: it is to be refused as it is.

    Lone surrogates, which make a message unreadable, are NUL here.
    """


class _Peek(msgspec.Struct, frozen=True):
    """What can be told of a message that is not a valid command."""

    type: Any = None
    id: Any = None


class _PeekWithoutId(msgspec.Struct, frozen=True):
    """The same where an `id` is a field that nobody asks for: it is skipped, whatever its length."""

    type: Any = None


class _Named(msgspec.Struct, frozen=True):
    """What must be known of a long message before it is decoded."""

    type: str


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
        bounded: bool = False,
    ) -> None:
        """Build the union of `commands`, whose payloads stand in `field`, those of some types in other `shapes`.

        `commands` are by the types that messages have. `speaks`: what to call the dialect. Without `ids` an `id`
        in a message is a field like any that nobody asks for. `credential`: the field, beside the payload's, in
        which any message may say who has sent it; null or an empty text says nothing. `bounded`: messages are
        at most `MESSAGE_CHARS` long, but for those whose shape says otherwise; in JSON only.
        """
        self._binary = binary
        self._speaks = speaks
        self._field = field
        self._ids = ids
        self._credential = credential
        self._commands = commands
        #: What is yet to be done, by command, where decoding alone does not make it.
        self._makers: dict[str, Callable[[Any, str | None], _Made]] = {}
        #: By command, how the payload is to be had as it was written, and what is made of that.
        self._mends: dict[str, tuple[Callable[[str | bytes], Any], Shape]] = {}
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
        self._peek: Callable[[str | bytes], Any] = codec.Decoder(_Peek if ids else _PeekWithoutId).decode
        self._bounded = bounded
        self._name: Callable[[str | bytes], _Named] = codec.Decoder(_Named).decode
        #: By command that may be long. Not by the union, which goes by the first of two types.
        self._decode_long: dict[str, Callable[[str | bytes], Any]] = {
            kind: codec.Decoder(envelope).decode
            for (kind, command), envelope in zip(commands.items(), envelopes, strict=False)
            if command.payload in shapes and shapes[command.payload].long
        }

    def read(self, message: str | bytes, *, suggest: bool = True) -> Command | Refusal:
        """A command, or a typed refusal. A text message is `str`, a binary one `bytes`.

        `suggest`: whether to tell the nearest type to one that is unknown, which takes some 25 us.
        """
        if isinstance(message, bytes) is not self._binary:
            kind = "MessagePack in binary frames" if self._binary else "JSON in text frames"
            return Refusal(ErrorCode.BAD_REQUEST, f"this connection speaks {kind} ({self._speaks})")
        try:
            if self._bounded and len(message) > MESSAGE_CHARS:
                return self._read_long(message)
            return self.made(self._decode(message))
        except msgspec.ValidationError as error:
            return self._refuse(message, error, suggest=suggest)
        except DECODING_ERRORS as error:
            mendable = self._without_lone_surrogates(message)
            return (
                self._unreadable(error)
                if mendable is None
                else self._refuse(mendable, error, suggest=suggest)
            )

    def _read_long(self, message: str | bytes) -> Command | Refusal:
        """Decode one of a type that may be long; of others nothing, since decoding is what takes long."""
        try:
            kind = self._name(message).type
        except msgspec.ValidationError:
            kind = ""
        decode = self._decode_long.get(kind)
        if decode is None:
            told = f"expected a message of at most {MESSAGE_CHARS:,} characters, got {len(message):,}"
            if self._decode_long:
                told += f": only {' and '.join(self._decode_long)}, alone, may be longer"
            return Refusal(ErrorCode.TOO_LARGE, told)
        try:
            return self.made(decode(message))
        except msgspec.ValidationError as error:
            # What its type is has been looked up: each look takes 10 ms here.
            return self._mended(kind, message, None, error)

    def _without_lone_surrogates(self, message: str | bytes) -> str | None:
        """What can be mended once they are gone; None for all else that is unreadable."""
        if isinstance(message, bytes) or not self._mends or message.count("\\") > _MOST_ESCAPES:
            return None
        text = _to_lone_surrogates.sub(lambda part: part[1] or "\\u0000", message, _MOST_PARTS)
        if text == message:
            return None
        try:
            kind = self._peek(text).type
        except DECODING_ERRORS:
            return None
        return text if isinstance(kind, str) and kind in self._mends else None

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
            assert shape.mend is not None or not shape.long
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
        if shape is not None and shape.mend is not None:
            raw: list[Any] = [("data", msgspec.Raw), *fields[1:]]
            written = msgspec.defstruct(
                f"Written_{command.name}", raw, frozen=True, kw_only=True, rename=names
            )
            self._mends[kind] = msgspec.json.Decoder(written).decode, shape
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

    def _refuse(self, message: str | bytes, error: Exception, *, suggest: bool) -> Command | Refusal:
        """Tell what is wrong with a message that is well-formed, but no command; or mend it."""
        try:
            peek = self._peek(message)
        except DECODING_ERRORS as unreadable:
            mendable = self._without_lone_surrogates(message)
            if mendable is None:
                return self._unreadable(unreadable)
            return self._refuse(mendable, error, suggest=suggest)
        kind, command_id = peek.type, getattr(peek, "id", None)
        if command_id is not None and (not isinstance(command_id, str) or len(command_id) > 64):
            return Refusal(ErrorCode.BAD_REQUEST, "id: expected a string of at most 64 characters")
        if not isinstance(kind, str):
            return Refusal(
                ErrorCode.BAD_REQUEST, "type: expected a string, the name of a command", command_id
            )
        if kind not in self._commands:
            return self._unknown(kind, command_id, suggest=suggest)
        if kind in self._mends:
            return self._mended(kind, message, command_id, error)
        # Of duplicate keys the last wins, but the union was chosen by the first `type`.
        try:
            loose = self._decode_loosely(message)
        except DECODING_ERRORS:
            return Refusal(ErrorCode.INVALID_DATA, _explained(error), command_id)
        try:
            return self.made(msgspec.convert(loose, self.union))
        except msgspec.ValidationError as last:
            return Refusal(ErrorCode.INVALID_DATA, explain(last), command_id)

    def _mended(
        self, kind: str, message: str | bytes, command_id: str | None, error: Exception
    ) -> Command | Refusal:
        """What is good in a message whose payload is not. Of duplicate keys the last counts here, too."""
        written, shape = self._mends[kind]
        assert shape.mend is not None
        try:
            envelope = written(message)
        except msgspec.ValidationError as last:
            return Refusal(ErrorCode.INVALID_DATA, explain(last), command_id)
        data = shape.mend(envelope.data)
        if data is None:
            return Refusal(ErrorCode.INVALID_DATA, _explained(error), command_id)
        if isinstance(data, Refusal):
            return data
        credential = getattr(envelope, "credential", None) or None
        return Command(self._commands[kind].name, data, command_id, credential=credential)

    def _unknown(self, kind: str, command_id: str | None = None, *, suggest: bool = True) -> Refusal:
        # A long name is not echoed whole, and comparing it with all names would cost time.
        shown = kind if len(kind) <= 64 else kind[:64] + "…"
        near = get_close_matches(shown, self._commands, n=1) if suggest else []
        told = f"type: no command {shown!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        return Refusal(ErrorCode.UNKNOWN_TYPE, told, command_id)

    def _unreadable(self, error: BaseException) -> Refusal:
        return unreadable(error, f"not a {'MessagePack map' if self._binary else 'JSON object'}")


def _explained(error: Exception) -> str:
    told = explain(error)
    # It quotes the first `type`, at whatever length.
    return "Invalid value, given twice - at `$.type`" if told.endswith("`$.type`") else told


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
