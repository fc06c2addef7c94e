"""Activation codes: what lets a group's devices in."""

import secrets
from typing import Final

# Without what looks alike when it is read out or typed: 0 O, 1 I. 32 to the 8th are a trillion.
_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_LENGTH: Final = 8


def new_code() -> str:
    """A random one, of 8 characters as the document's are."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
