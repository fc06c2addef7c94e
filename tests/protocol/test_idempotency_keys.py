"""What may be an idempotency key: the same in both encodings, and for programs."""

import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocol.messages.commands import Publish
from tidings.protocol.messages.fields import IDEMPOTENCY_KEY_CHARS, explain, is_idempotency_key

REST = {"channel": "all", "event": "news", "payload": {}}
DECODERS = {
    msgspec.json: msgspec.json.Decoder(Publish).decode,
    msgspec.msgpack: msgspec.msgpack.Decoder(Publish).decode,
}

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.builds(
    lambda one, count: one * count, st.characters(exclude_categories=()), st.integers(120, 140)
)


def is_fit(text: str) -> bool:
    """By the Unicode database: what has a length, and neither control characters (Cc) nor surrogates (Cs)."""
    return 1 <= len(text) <= 128 and not {unicodedata.category(each) for each in text} & {"Cc", "Cs"}


@given(ANY_TEXT)
def test_a_program_is_held_to_the_grammar(text: str) -> None:
    """Whatever text it is."""
    assert is_idempotency_key(text) == is_fit(text)


def test_every_character_is_judged_alone() -> None:
    """Of all that there are, 65 control characters and 2,048 surrogates are no keys."""
    wrong = [code for code in range(0x110000) if not is_idempotency_key(chr(code))]
    assert wrong == [*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000)]
    assert IDEMPOTENCY_KEY_CHARS == 128


@given(ANY_TEXT.filter(lambda text: not any("\ud800" <= each <= "\udfff" for each in text)))
def test_a_command_is_held_to_the_same(text: str) -> None:
    """In JSON and in MessagePack: what is refused names the field, and what a key is."""
    for encoding, decode in DECODERS.items():
        frame = encoding.encode(REST | {"idempotency_key": text})
        if is_fit(text):
            assert decode(frame).idempotency_key == text
            continue
        with pytest.raises(msgspec.ValidationError) as caught:
            decode(frame)
        assert explain(caught.value, ".data") == (
            "Expected an idempotency key: 1 to 128 characters, no control characters, such as a UUID"
            " - at `$.data.idempotency_key`"
        )


@pytest.mark.parametrize("encoding", DECODERS, ids=["json", "msgpack"])
def test_a_lone_surrogate_is_in_no_message(encoding: Any) -> None:
    """Neither escaped nor as the bytes that would be it: so the pattern need not speak of it."""
    frame = encoding.encode(REST | {"idempotency_key": "@@@@@@"})
    # Both are as long as what they replace, once with others beside them.
    for surrogate in (b"\\ud800", b"\\udfff", b"\xed\xa0\x80\xed\xbf\xbf", b"a\xed\xa0\x80bc"):
        if surrogate.startswith(b"\\") and encoding is msgspec.msgpack:
            continue  # there are no escapes
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            DECODERS[encoding](frame.replace(b"@@@@@@", surrogate))
