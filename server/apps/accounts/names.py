"""The names of users: how they are written, how they are told apart, and which would deceive people.

A name is kept twice, by RFC 8265: as it is shown (UsernameCasePreserved), and as the key by which it is unique.
The key is UsernameCaseMapped with case folding, as RFC 7613 had it: lower case, as RFC 8265 has it, takes `strauß`
and `STRAUSS`, or `νικοσ` and `ΝΙΚΟΣ`, for two people. Nobody is ever shown a key.

Against look-alikes (`аdmin` with a Cyrillic а) a name is of one script, or of a combination that UTS 39 calls
highly restrictive: Latin with what Japanese, Chinese or Korean is written in. What that does not see: a name
whose letters are all of another script (`аре` in Cyrillic alone), and look-alikes within one (`rn` and `m`).
"""

import unicodedata
from functools import cache
from typing import Final

import msgspec
from precis_i18n import get_profile

MOST_CHARS: Final = 64
MOST_BYTES: Final = 256
MOST_EMAIL_CHARS: Final = 254
"""RFC 5321 section 4.5.3.1.3: a path of 256 octets, and its angle brackets."""

# Before anything that takes its time: four code points for each character are more than any script needs.
_MOST_TYPED: Final = 4 * MOST_CHARS

# As much as is ever searched: a name, an address, and what folding adds to them. Nothing contains more.
_MOST_SEARCHED: Final = 1_024

_shown: Final = get_profile("UsernameCasePreserved")
_mapped: Final = get_profile("UsernameCaseMapped:CaseFold")

# RFC 8265 would have all of ASCII; these cannot be taken for a letter, and need no quoting in a path or an address.
_SIGNS: Final = frozenset("_.-@+")
_SIGNS_TEXT: Final = "_ . - @ +"

# UTS 39 section 5.4: what is drawn over itself is not seen, and a tower of marks covers the neighbours' lines.
_MOST_MARKS: Final = 4

# UTS 39 section 5.2, "highly restrictive".
_TOGETHER: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)

# The first words of names of characters that go with any script, and of those that belong to another than they say.
_ANY_SCRIPT: Final = frozenset({"COMBINING", "MODIFIER", "VEDIC", "MIDDLE"})
_SAME_SCRIPT: Final = {
    "EXTENDED": "ARABIC",
    "HENTAIGANA": "HIRAGANA",
    "IDEOGRAPHIC": "CJK",
    "ROMAN": "LATIN",
    "TURNED": "LATIN",
    "VIETNAMESE": "CJK",
}
# Families of scripts, which only the second word tells apart: Old Italic, Tai Le.
_FAMILIES: Final = frozenset({"INSCRIPTIONAL", "LINEAR", "MEROITIC", "OLD", "TAI"})


class UserName(msgspec.Struct, frozen=True):
    """A name that a user may have."""

    display: str
    """As it is shown: 1 to 64 characters, in NFC."""
    key: str
    """What it is told apart by: equal for names that differ in case, width or composition only."""


class NameRefusal(msgspec.Struct, frozen=True):
    """Why a name or an address is not accepted. No part of it is in the message but the number of a character."""

    message: str
    """A sentence for people, with the cure."""


def normalized(name: str) -> UserName | NameRefusal:
    """The name in both its forms, or why nobody may have it. Never raises; the display form comes to itself."""
    if len(name) > _MOST_TYPED:
        return _too_long()
    try:
        display = _shown.enforce(name)
        key = _mapped.enforce(display)
    except UnicodeEncodeError as error:
        return _disallowed(error)
    if len(display) > MOST_CHARS or max(len(display.encode()), len(key.encode())) > MOST_BYTES:
        return _too_long()
    return _unwanted(display) or _mixed(display + key) or UserName(display, key)


def search_key(text: str) -> str:
    """The text as keys are written, to be looked for in them. Never refuses: what no key can hold finds nothing.

    Of a name that may be had it is the key. What databases do not take, and line breaks, becomes U+FFFD.
    """
    # Around the profile's rules, since half of a name may end as no name may.
    text = _mapped.case_mapping_rule(_mapped.width_mapping_rule(text[:_MOST_SEARCHED]))
    text = _mapped.normalization_rule(text)
    return "".join("\ufffd" if unicodedata.category(char) in {"Cc", "Cs"} else char for char in text)


def checked_email(text: str) -> str | NameRefusal:
    """The address as it was typed, or why it can be none.

    No mail is ever sent to it, so whether it would arrive is not judged. Never raises.
    """
    if len(text) > MOST_EMAIL_CHARS:
        return NameRefusal(f"An e-mail address has at most {MOST_EMAIL_CHARS} characters.")
    # Spaces and line ends; controls, also those that turn the direction of writing; halves of surrogate pairs.
    if any(unicodedata.category(char) in {"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"} for char in text):
        return NameRefusal("An e-mail address has no spaces and no invisible characters.")
    local, _, domain = text.partition("@")
    if not local or not domain or "@" in domain:
        return NameRefusal("An e-mail address has one @, with something on either side of it.")
    return text


def _too_long() -> NameRefusal:
    return NameRefusal(f"A user name has at most {MOST_CHARS} characters.")


def _disallowed(error: UnicodeEncodeError) -> NameRefusal:
    """In words, what the profile says of a name or of one of its characters."""
    match error.reason.rpartition("/")[2]:
        case "empty":
            return NameRefusal("A user name has at least one character.")
        case "bidi_rule":
            return NameRefusal(
                "A user name with letters that are written from right to left begins with one, ends with one or "
                "with a digit, and has none that are written the other way (RFC 5893)."
            )
        case "not_idempotent":
            return NameRefusal(
                "This user name has no settled form in Unicode: leave out its rarer accents."
            )
        case _:
            return _not_in_names(error.object[error.start])


def _not_in_names(char: str) -> NameRefusal:
    return NameRefusal(
        f"A user name has letters, digits and {_SIGNS_TEXT} only: the character U+{ord(char):04X} is none of them."
    )


def _unwanted(display: str) -> NameRefusal | None:
    """What RFC 8265 leaves to the application: signs, joiners that are not seen, and marks."""
    marks, last, seen = 0, "", False
    for char in display:
        category = unicodedata.category(char)
        if (char.isascii() and not char.isalnum() and char not in _SIGNS) or category == "Cf":
            return _not_in_names(char)
        seen |= category[0] in "LN"
        marks = marks + 1 if category == "Mn" else 0
        if category[0] == "M" and not last:
            return NameRefusal(
                "A user name does not begin with an accent: it would stand on what is before it."
            )
        if marks > _MOST_MARKS or (marks > 1 and char == last):
            return NameRefusal("A letter of a user name has at most four accents, and none of them twice.")
        last = char
    return None if seen else NameRefusal("A user name has at least one letter or digit.")


def _mixed(text: str) -> NameRefusal | None:
    scripts = {script for char in text if (script := _script(char)) is not None}
    if len(scripts) <= 1 or any(scripts <= allowed for allowed in _TOGETHER):
        return None
    names = sorted("Chinese" if script == "CJK" else script.title() for script in scripts)
    return NameRefusal(
        f"A user name is written in one script: this one has letters of {_listed(names)}, which could be taken "
        "for another name. Type all of it on one keyboard."
    )


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


# As many as there are characters that names are made of: 130,000, 12 MB, if somebody tries them all.
@cache
def _script(char: str) -> str | None:
    """The script of a character that names may have; None for what goes with any.

    Python does not know the property Script, but the name of a character begins with it: `CYRILLIC SMALL LETTER A`.
    Held against the property for all 130,654 characters of Unicode 14 that RFC 8265 allows, this differs in two
    ways, beside the exceptions above: combining letters of Cyrillic, Glagolitic and the like go with any script, as
    accents do, and a few marks and signs that go with any are kept to the one in their name.
    """
    if char.isascii() and not char.isalpha():
        return None
    first, *rest = unicodedata.name(char, "?").replace("-", " ").split(maxsplit=2)
    if first in _ANY_SCRIPT:
        return None
    return f"{first} {rest[0]}" if first in _FAMILIES else _SAME_SCRIPT.get(first, first)
