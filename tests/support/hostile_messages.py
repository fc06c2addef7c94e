"""Messages that have broken servers, and the code of the error that each gets."""

import msgspec

from support.hostile import MESSAGE_BYTES

DEEP = b"[" * 100_000 + b"]" * 100_000
DIGITS = b"9" * 5_000

ROOMS = {
    "empty": b"",
    "NUL": rb"a\u0000",
    "line break": rb"a\n",
    "e-acute": "é".encode(),
    "homoglyph": "аdmin".encode(),
    "wildcard": b"*",
    "slash": b"../x",
    "blank": b"a b",
    "129 characters": b"a" * 129,
}


def _publishing(value: bytes) -> bytes:
    return b'{"type":"publish","data":{"channel":"all","event":"e","payload":{"x":%b}},"id":"x"}' % value


BAD_MESSAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "bad_request"),
    "not JSON": (b"hello", "bad_request"),
    "half an object": (b'{"type":"ping"', "bad_request"),
    "an array": (b"[]", "bad_request"),
    "a number": (b"7", "bad_request"),
    "null": (b"null", "bad_request"),
    "no type": (b"{}", "bad_request"),
    "type not a string": (b'{"type":["ping"]}', "bad_request"),
    "unknown type": (b'{"type":"pingg","id":"x"}', "unknown_type"),
    "type of an answer": (b'{"type":"connected","data":{},"id":"x"}', "unknown_type"),
    "type with NUL": (rb'{"type":"ping\u0000","id":"x"}', "unknown_type"),
    "id too long": (b'{"type":"ping","id":"%s"}' % (b"i" * 65), "bad_request"),
    "id a number": (b'{"type":"ping","id":7}', "bad_request"),
    "data missing": (b'{"type":"subscribe","id":"x"}', "invalid_data"),
    "data of another shape": (b'{"type":"subscribe","data":[],"id":"x"}', "invalid_data"),
    "field missing": (b'{"type":"subscribe","data":{},"id":"x"}', "invalid_data"),
    "field of another type": (b'{"type":"subscribe","data":{"channel":7},"id":"x"}', "invalid_data"),
    "NaN": (b'{"type":"ping","data":NaN}', "bad_request"),
    "NaN in a payload": (_publishing(b"NaN"), "bad_request"),
    "1e999": (_publishing(b"1e999"), "invalid_data"),
    "lone surrogate": (rb'{"type":"join_room","data":{"room":"\ud800"}}', "bad_request"),
    "lone surrogate in a payload": (_publishing(rb'"\udfff"'), "bad_request"),
    "lone surrogate in a field that is skipped": (
        rb'{"type":"\ud800","id":"x","y":"\udfff"}',
        "bad_request",
    ),
    "byte order mark": (b'\xef\xbb\xbf{"type":"ping"}', "bad_request"),
    "trailing bytes": (b'{"type":"ping"}x', "bad_request"),
    "trailing NUL": (b'{"type":"ping"}\x00', "bad_request"),
    "two objects": (b'{"type":"ping"}{"type":"ping"}', "bad_request"),
    "5,000 digits": (_publishing(DIGITS), "invalid_data"),
    "5,000 digits as the id": (b'{"type":"ping","id":' + DIGITS + b"}", "bad_request"),
    "5,000 digits in a field that is skipped": (
        b'{"type":"nope","x":' + DIGITS + b',"id":"x"}',
        "unknown_type",
    ),
    "100,000 deep": (DEEP, "bad_request"),
    "100,000 deep in a payload": (_publishing(DEEP), "bad_request"),
    "100,000 deep in a field that is skipped": (b'{"type":"nope","x":' + DEEP + b"}", "bad_request"),
    **{
        f"room {name}": (b'{"type":"join_room","data":{"room":"%s"},"id":"x"}' % room, "invalid_data")
        for name, room in ROOMS.items()
    },
    "channel of no kind": (b'{"type":"subscribe","data":{"channel":"lobby"},"id":"x"}', "invalid_data"),
    "channel with a wildcard": (
        b'{"type":"subscribe","data":{"channel":"user:*"},"id":"x"}',
        "invalid_data",
    ),
    "text empty": (b'{"type":"room_message","data":{"room":"r","text":""},"id":"x"}', "invalid_data"),
}
"""A text message, and the code of the error that it gets."""


def _packed(value: bytes) -> bytes:
    """A publication whose payload ends in a value that msgspec would not write."""
    data = {"channel": "all", "event": "e", "payload": {"x": 0}}
    return msgspec.msgpack.encode({"type": "publish", "id": "x", "data": data})[:-1] + value


BAD_PACKED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "bad_request"),
    "never used byte": (b"\xc1", "bad_request"),
    "JSON": (b'{"type":"ping"}', "bad_request"),
    "half a map": (b"\x82\xa4type\xa4ping", "bad_request"),
    "unknown type": (msgspec.msgpack.encode({"type": "pingg", "id": "x"}), "unknown_type"),
    "field missing": (
        msgspec.msgpack.encode({"type": "subscribe", "id": "x", "data": {}}),
        "invalid_data",
    ),
    "type as bytes": (msgspec.msgpack.encode({"type": b"ping"}), "bad_request"),
    "trailing byte": (msgspec.msgpack.encode({"type": "ping"}) + b"\x00", "bad_request"),
    "bad UTF-8 in a payload": (_packed(b"\xa2\xff\xff"), "bad_request"),
    "surrogate in a payload": (_packed(b"\xa3\xed\xa0\x80"), "bad_request"),
    "100,000 deep in a payload": (_packed(b"\x91" * 100_000 + b"\xc0"), "bad_request"),
    "100,000 deep in a field that is skipped": (
        msgspec.msgpack.encode({"type": "ping", "x": 0})[:-1] + b"\x91" * 100_000 + b"\xc0",
        "bad_request",
    ),
    "4 billion items declared": (_packed(b"\xdd\xff\xff\xff\xff"), "bad_request"),
    "4 GiB declared": (_packed(b"\xc6\xff\xff\xff\xff"), "bad_request"),
    "timestamp out of range": (_packed(b"\xd7\xff" + b"\xff" * 8), "invalid_data"),
}
"""A binary message to a connection that speaks MessagePack, and the code of the error that it gets."""

assert all(len(sent) <= MESSAGE_BYTES for table in (BAD_MESSAGES, BAD_PACKED) for sent, _ in table.values())
