"""Masking, in C and in Python: the same XOR, and its own inverse."""

import importlib
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.client_frames import masks
from websockets.speedups import apply_mask

from tidings.protocol import masking
from tidings.protocol.masking import unmask, unmask_in_python


def to_the_letter(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455 section 5.3, byte by byte."""
    return bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))


@settings(max_examples=60)
@given(st.binary(max_size=70), masks)
@example(b"", b"\xff\x00\xff\x00")
@example(b"\0", bytes(4))
@example(bytes(range(256)) * 300, b"\x80\x00\x00\x01")
def test_unmasking_is_the_xor_of_the_rfc(data: bytes, mask: bytes) -> None:
    """Byte i of the payload is XORed with byte i mod 4 of the mask (section 5.3), by either function."""
    assert unmask_in_python(data, mask) == apply_mask(data, mask) == to_the_letter(data, mask)


@settings(max_examples=60)
@given(st.binary(max_size=70), masks)
def test_masking_twice_changes_nothing(data: bytes, mask: bytes) -> None:
    """What was masked and unmasked is what it was."""
    for function in (unmask, unmask_in_python):
        assert function(function(data, mask), mask) == data


def test_the_fastest_there_is_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C function where it can be imported, and ours where it cannot."""
    assert unmask is apply_mask
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "websockets.speedups", None)
        without = importlib.util.module_from_spec(masking.__spec__)
        assert masking.__spec__.loader is not None
        masking.__spec__.loader.exec_module(without)
    assert without.unmask is without.unmask_in_python
    assert without.unmask(b"\x01\x02", b"\x03\x02\x01\x00") == b"\x02\x00"
