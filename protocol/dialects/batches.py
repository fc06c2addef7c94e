"""Several messages in one: an array, each of whose entries is read as if it had come alone."""

import re
from collections.abc import Callable, Sequence
from types import GenericAlias
from typing import Any, Final, TypeVar

import msgspec

from tidings.protocol.dialects.base import Batch, Command
from tidings.protocol.dialects.reading import DECODING_ERRORS, MESSAGE_CHARS, CommandReader, unreadable
from tidings.protocol.errors import ErrorCode, Refusal

#: How many messages an array of them may hold: a client that has more to say says it in several.
BATCH: Final = 1_000

#: The longest array of messages; each of them is bounded as if it came alone.
BATCH_CHARS: Final = 8 * MESSAGE_CHARS

#: How many strings, brackets and commas are looked at to find the entries of a broken array, some 0.2 us each. A
#: thousand usual messages have half as many.
_MOST_TOKENS: Final = 65_536

#: What JSON takes for white space.
_BLANKS: Final = " \t\n\r"

# Possessive, and a string that does not end takes all that is left: linear on any text.
_tokens: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL).finditer
_CLOSING: Final = {"[": "]", "{": "}"}

_Entry = TypeVar("_Entry")


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
        if len(message) > BATCH_CHARS:
            told = f"expected an array of at most {BATCH_CHARS:,} characters, got {len(message):,}: send several"
            return Refusal(ErrorCode.TOO_LARGE, told)
        if len(message) <= MESSAGE_CHARS:
            try:
                return _batch(self._decode(message), self._reader.made)
            except DECODING_ERRORS:
                pass  # Each for itself, so that one that is wrong spoils no other.
        try:
            return _batch(self._divide(message), self._written)
        except DECODING_ERRORS as error:
            entries = divided(message)
            if entries is None:
                return unreadable(error, "not a JSON array of messages")
            return _batch(entries, self._alone)

    def _written(self, entry: msgspec.Raw) -> Command | Refusal:
        return self._alone(bytes(entry).decode())

    def _alone(self, entry: str) -> Command | Refusal:
        if len(entry) > MESSAGE_CHARS:
            told = f"expected a message of at most {MESSAGE_CHARS:,} characters in an array, got {len(entry):,}"
            return Refusal(ErrorCode.TOO_LARGE, told)
        # A thousand unknown types are a mistake made once, and looking for what was meant would take 25 ms.
        return self._reader.read(entry, suggest=False)


def _batch(entries: Sequence[_Entry], make: Callable[[_Entry], Command | Refusal]) -> Refusal | Batch:
    if not entries:
        return Refusal(ErrorCode.BAD_REQUEST, "expected messages, got an empty array")
    if len(entries) > BATCH:
        told = f"expected at most {BATCH:,} messages in one array: send several"
        return Refusal(ErrorCode.TOO_LARGE, told)
    return Batch([make(entry) for entry in entries])


def divided(text: str) -> list[str] | None:
    """The entries of an array some of which are no JSON, or nested too deeply; at most one more than `BATCH`.

    None where not even strings and brackets are in order, or there are too many of them to look.
    """
    entries: list[str] = []
    opened: list[str] = []
    begun = 0
    for count, token in enumerate(_tokens(text)):
        at = token.start()
        mark = text[at]
        if count > _MOST_TOKENS:
            return None
        if mark in _CLOSING:
            opened.append(_CLOSING[mark])
            if len(opened) == 1:
                if mark != "[" or text[:at].strip(_BLANKS):
                    return None
                begun = at + 1
        elif mark in "]}":
            if not opened or opened.pop() != mark:
                return None
            if not opened:
                entries.append(text[begun:at].strip(_BLANKS))
                # A comma with nothing behind it, or something behind the array: who knows what was meant.
                return entries if all(entries) and not text[at + 1 :].strip(_BLANKS) else None
        elif mark == "," and len(opened) == 1:
            entries.append(text[begun:at].strip(_BLANKS))
            begun = at + 1
            if len(entries) > BATCH:
                return entries
    return None
