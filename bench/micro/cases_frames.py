"""Frames: building them for everybody, and taking the mask off what one client sent."""

import os

import pytest

from tidings.bench.micro.plugin import Measure
from tidings.bench.wire import TEXT, Frame, split_frames
from tidings.protocol.frames import build_frame
from tidings.protocol.masking import Unmask, unmask_in_python

GROUP = "frames"

_LENGTHS = pytest.mark.parametrize("length", [128, 4096, 65536])

_MASK = b"\x37\xfa\x21\x3d"


def _in_c() -> Unmask:
    speedups = pytest.importorskip(
        "websockets.speedups", reason="unmasking in C needs the package `websockets`, with its extension"
    )
    unmask: Unmask = speedups.apply_mask
    return unmask


@_LENGTHS
def case_build(measure: Measure, length: int) -> None:
    """A frame around a message."""
    payload = os.urandom(length)
    measure(
        f"build, {length:,} B",
        build_frame,
        TEXT,
        payload,
        verify=lambda frame: split_frames(frame) == ([Frame(TEXT, payload)], b""),
        per=length,
        each="byte",
    )


@_LENGTHS
@pytest.mark.parametrize("how", ["C", "Python"])
def case_unmask(measure: Measure, how: str, length: int) -> None:
    """A payload without its mask: by the C function of `websockets`, and by ours where that is missing."""
    unmask = _in_c() if how == "C" else unmask_in_python
    payload = os.urandom(length)
    masked = bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(payload))
    measure(
        f"unmask in {how}, {length:,} B",
        unmask,
        masked,
        _MASK,
        verify=lambda found: found == payload,
        per=length,
        each="byte",
    )
