"""A request's head of the common shape, read by one regular expression.

h11 takes some 60 µs for what nearly every client sends: a whole head in one piece, without a field that is
in any way unusual. Only that is read here, and whatever is not exactly so is left to h11, which decides
what it is and what to say of it. So this can be narrow, but must never be wider: a head that is read here
must be read by h11 as the same request, ending at the same byte.
"""

import re

from tidings.server.http import Request

# h11 bounds the head's bytes but not its lines; browsers send some 20 headers, proxies add a few.
MAX_HEADERS = 128

# RFC 9110 section 5.6.2 and 5.5. A name ends at its colon, and a value holds no control character but the
# tab: a line break stands between lines only, and never alone. Possessive, since no line can be read in two
# ways: a head that does not match costs no more than one that does.
_FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+"
_match = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[\x21-\x7e]*+) HTTP/1\.1\r\n"
    rb"(" + _FIELD + rb"(?:\r\n" + _FIELD + rb")*)\r\n\r\n"
).match
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch


def read_plain(data: bytes, *, limit: int, peer: str, secure: bool) -> tuple[Request, int] | None:
    """The request whose head `data` begins with, and where that ends; None: it takes h11 to tell.

    `limit` is in bytes. The body, if there is one, has a length: a transfer coding is not common.
    """
    match = _match(data)
    if match is None or match.end() > limit:
        return None
    method, target, fields = match.groups()
    headers = []
    for line in fields.split(b"\r\n"):
        name, _, value = line.partition(b":")
        # Only blanks and tabs can be stripped: the other white space that `strip` knows did not match.
        headers.append((name.lower(), value.strip()))
    names = [name for name, _ in headers]
    if names.count(b"host") != 1 or b"transfer-encoding" in names or len(names) > MAX_HEADERS:
        return None
    if b"content-length" in names and (
        names.count(b"content-length") > 1 or not _is_length(headers[names.index(b"content-length")][1])
    ):
        return None
    return Request(method.decode(), target.decode(), headers, "1.1", peer, secure), match.end()
