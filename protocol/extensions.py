"""The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1)."""

import re
from typing import NamedTuple

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  RFC 9110 section 5.6.2
_BLANK = r"[ \t]*"

_name = re.compile(_BLANK + f"({_TOKEN})" + _BLANK).match
# Quoted, a value must still be a token, so it holds nothing that would need an escape; one may stand there.
_parameter = re.compile(
    f';{_BLANK}({_TOKEN}){_BLANK}(?:={_BLANK}(?:({_TOKEN})|"((?:\\\\?[!#$%&\'*+.^_`|~0-9A-Za-z-])+)"){_BLANK})?'
).match


class ExtensionOffer(NamedTuple):
    """One extension as a client offers it."""

    name: str
    parameters: tuple[tuple[str, str | None], ...]
    """In order; a value of None where there is no `=`."""


def parse_extensions(value: str) -> list[ExtensionOffer]:
    """What a header (or several, joined by commas) offers, in order of preference. Raises ValueError.

    Empty elements are passed over (RFC 9110 section 5.6.1.2). Linear in the length of the header.
    """
    offers = []
    at = 0
    while at < len(value):
        if value[at] in ", \t":
            at += 1
            continue
        name = _name(value, at)
        if name is None:
            raise ValueError("expected an extension's name")
        at = name.end()
        parameters: list[tuple[str, str | None]] = []
        while (parameter := _parameter(value, at)) is not None:
            key, token, quoted = parameter.groups()
            parameters.append((key, token if quoted is None else quoted.replace("\\", "")))
            at = parameter.end()
        offers.append(ExtensionOffer(name[1], tuple(parameters)))
        if at < len(value) and value[at] != ",":
            raise ValueError("expected a comma, or a parameter")
    return offers
