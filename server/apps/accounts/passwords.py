"""Passwords: the form in which they are hashed, whether one is good enough, and temporary ones.

Nothing here keeps a password, and nothing that it returns has a part of one in it, but for a temporary one.
"""

import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from precis_i18n import get_profile

MOST_BYTES: Final = 1_024
"""More is no better, and is to be read, mapped and hashed at each login."""

# Before anything that takes its time: what is composed was typed in at most so many times its bytes.
_MOST_TYPED: Final = 2 * MOST_BYTES

# zxcvbn tries each piece of a password in each spelling, which takes the square of the length: a password of
# 0 for o, 3 for e and the like took 0.8 s at 40 characters, and 4.6 s at 72. What is behind the first 40 can only
# add to what they are worth, and there the scale has long ended for anything but repetitions.
_MOST_JUDGED: Final = 40

# Where signs may stand for letters (4 and @ for a, 1 for i and for l), zxcvbn reads a password in every way in
# which they may, in 2.5 ms each at 40 characters: in 736 ways where it has all of these signs, which took 2 s. All
# ten digits make 12, and few people's passwords more than 64.
_MOST_READINGS: Final = 64

# What is known of a user is few and short; each word of it is looked up as often as the dictionaries are.
_MOST_INPUTS: Final = 16
_MOST_INPUT_CHARS: Final = 254

# Without what looks or sounds alike (0 o, 1 l i), and without vowels, so that no group is a word. 28 to the 16th
# are 76 bits.
_LETTERS: Final = "bcdfghjkmnpqrstvwxyz23456789"
_GROUP: Final = 4
_GROUPS: Final = 4

_opaque: Final = get_profile("OpaqueString")

# zxcvbn keeps what is known of the user in a dictionary of the whole process.
_judging: Final = threading.Lock()


def prepared(password: str) -> bytes | None:
    """The form of a password that is hashed and compared: OpaqueString (RFC 8265), as UTF-8.

    So it is the same however a keyboard composes its letters. None for what can be nobody's password: nothing at
    all, more than 1,024 bytes, control characters, halves of surrogate pairs, what Unicode has not assigned. Never
    raises.
    """
    opaque = _opaque_form(password)
    return None if opaque is None or not _is_short(opaque) else opaque.encode()


def judge_password(password: str, *, least: int, score: int, inputs: Sequence[str]) -> str | None:
    """None where a password is good enough, else a sentence for people with the cure.

    It needs `least` characters, and on zxcvbn's scale from 0 to 4 at least `score`; `inputs` are what is known of
    the user, as the name and the address, and is guessed first. Blocks for some 10 ms, 0.1 s the first time, and
    at worst 0.8 s: for a thread. Never raises.
    """
    if not password:
        return f"A password is needed, of at least {least} characters."
    opaque = _opaque_form(password)
    if len(password) > _MOST_TYPED or (opaque is not None and not _is_short(opaque)):
        return f"This password is too long: it may have {MOST_BYTES:,} bytes, which are as many letters of English."
    if opaque is None:
        return (
            "This password has a character that cannot be typed everywhere, such as a tab, a line break or an "
            "emoji that is made of several. Leave it out."
        )
    if len(opaque) < least:
        return f"This password is too short: it needs at least {least} characters, and has {len(opaque)}."
    if score <= 0:
        return None
    reached, hints = _estimate(opaque[:_MOST_JUDGED], inputs)
    if reached >= score:
        return None
    return " ".join(["This password is too easy to guess.", *hints])


def temporary_password(least: int = 0) -> str:
    """A random password for somebody to read out: groups of letters and digits that cannot be mistaken.

    76 bits in 19 characters; with more groups where policy wants `least`.
    """
    groups = max(_GROUPS, -(-(least + 1) // (_GROUP + 1)))
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(groups))


def _opaque_form(password: str) -> str | None:
    """The password as text; None for what is none, whatever its length in bytes."""
    if len(password) > _MOST_TYPED:
        return None
    try:
        return _opaque.enforce(password)
    except UnicodeEncodeError:
        return None


def _is_short(opaque: str) -> bool:
    # The composed form counts, so that a long password is not one for one keyboard and none for another.
    return len(opaque.encode()) <= MOST_BYTES


def _estimate(text: str, inputs: Sequence[str]) -> tuple[int, list[str]]:
    """The score, and in sentences what is wrong and what would be better."""
    # Takes 0.1 s and 20 MB, which a server whose users are elsewhere need not spend.
    from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # noqa: PLC0415
    from zxcvbn.matching import L33T_TABLE  # type: ignore[import-untyped]  # noqa: PLC0415

    text, words = _readable(text, L33T_TABLE), _words(inputs)
    with _judging:
        found = zxcvbn(text, words)
    feedback = found["feedback"]
    hints = [hint for hint in (feedback["warning"], *feedback["suggestions"]) if hint]
    return found["score"], [hint if hint.endswith(".") else f"{hint}." for hint in hints]


def _readable(text: str, table: Mapping[str, Sequence[str]]) -> str:
    """The text, without those of the signs in a table that would give it too many readings.

    They are left out, not replaced: so what they are worth by themselves is not counted.
    """
    signs = {sign for each in table.values() for sign in each}
    kept: set[str] = set()
    for sign in dict.fromkeys(text):
        if sign in signs and _readings(kept | {sign}, table) <= _MOST_READINGS:
            kept.add(sign)
    return "".join(sign for sign in text if sign not in signs or sign in kept)


def _readings(signs: set[str], table: Mapping[str, Sequence[str]]) -> int:
    """At most so many ways to read signs, each letter standing behind one of its own, as zxcvbn combines them."""
    readings = 1
    taken: set[str] = set()
    for of_letter in table.values():
        found = [sign for sign in of_letter if sign in signs]
        # One that has stood for a letter before may stand for either.
        readings *= sum(2 if sign in taken else 1 for sign in found) or 1
        taken.update(found)
    return readings


def _words(inputs: Sequence[str]) -> list[str]:
    """What is known of the user, whole and in its parts: of an address also the name and the host."""
    known: dict[str, None] = {}
    for text in inputs[:_MOST_INPUTS]:
        text = text[:_MOST_INPUT_CHARS]
        known |= dict.fromkeys([text, *re.split(r"[\W_]+", text)])
    return [word for word in known if word]
