"""What a credential looks like, checked before it is sent anywhere."""

import re
from typing import Final

# RFC 9110 section 5.5 less blanks: tokens have none, and those at either end would be cut off on the way.
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


def check_credential(value: object, what: str) -> str:
    """The credential as it was given. Raises ValueError, which names `what`, never the value itself.

    It has to be a str of visible ASCII characters, without blanks and line breaks. Anything else could not be
    put into a header, or would be refused by every server, and what refuses it might print it.
    """
    if not isinstance(value, str):
        raise ValueError(f"{what}: expected str, got {type(value).__name__}")  # noqa: TRY004  one kind of error for any value
    if not value:
        raise ValueError(f"{what}: empty")
    if _VISIBLE.fullmatch(value):
        return value
    if _VISIBLE.fullmatch(value.strip()):
        where = "ends" if value[-1].isspace() else "begins"
        raise ValueError(f"{what}: {where} with a blank or a line break; leave it out")
    raise ValueError(f"{what}: has blanks, line breaks or characters that are not ASCII")
