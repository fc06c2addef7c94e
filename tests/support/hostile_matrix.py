"""Which hostile input is proven harmless by what: every threat by its own words.

A proof is a row of a table (`FRAMES: opcode 0x3`) or a test (`test_isolation: test_room_names_do_not_collide`);
test_hostile_matrix.py fails where one of them does not exist. The tables are those of hostile_rows.py,
hostile_rights.py and hostile_deflate.py.
"""

from support.hostile import BAD_UTF8
from support.hostile_deflate import DEFLATE
from support.hostile_http import BREAKS, DOTS
from support.hostile_rights import ISOLATION, NO_CHANNELS, OTHERS, SLOWLY, TABLES

RUNS: dict[str, tuple[str, ...]] = {
    "HEADS": ("test_hostile_handshakes: test_a_bad_head_is_refused_as_http",),
    "FATAL": ("test_hostile_frames: test_what_kills_a_stock_server",),
    "FRAMES": ("test_hostile_frames: test_bad_frames_close_with_their_code",),
    "MESSAGES": ("test_hostile_messages: test_a_bad_message_gets_a_typed_error",),
    "TOKENS": ("test_hostile_tokens: test_a_bad_token_is_refused_whichever_way_it_comes",),
    "HTTP": ("test_http_threats: test_an_attack_is_refused",),
    "ISOLATION": ("test_isolation: test_nothing_is_reached_that_is_not_ones_own",),
    "SLOW": ("test_http_threats: test_slowness_is_refused",),
    "DEFLATE": ("test_hostile_frames: test_bad_deflate_closes_with_its_code",),
}
"""Where the rows of a table are tried in this process; in a process of its own, by SEQUENCE."""

SEQUENCE = "test_hostile_sequence: test_a_process_lives_through_all_of_them"

ALL_TABLES = {**TABLES, "SLOW": SLOWLY, "DEFLATE": DEFLATE}

_FRAMES, _HAND, _TOKENS, _HTTP, _MINE = (
    "test_hostile_frames", "test_hostile_handshakes", "test_hostile_tokens", "test_http_threats",
    "test_isolation",
)  # fmt: skip

SEEN_TO_KILL: dict[str, tuple[str, ...]] = {
    "subprotocol ff": ("HEADS: subprotocol ff",),
    "extensions ff": ("HEADS: extensions ff",),
    "bad handshake, then RST": ("FATAL: reset behind a bad handshake",),
    "good handshake, then RST at once": (
        "FATAL: reset behind a good handshake",
        "FATAL: reset between the 101 and the first message",
    ),
    "a message over the limit and a ping in one burst": ("FRAMES: over the limit, and a ping",),
    "two of them": ("FRAMES: over the limit and a ping, twice",),
    "server closes while a client's ping is under way": (
        "FATAL: closed while pinging",
        f"{_FRAMES}: test_the_server_closes_while_a_ping_is_under_way",
    ),
    "200 plain GETs to the socket path": ("FATAL: 200 plain GETs",),
    "peer never reads: close it": (
        f"{_FRAMES}: test_a_peer_that_never_reads_is_gone_within_the_close_timeout",
        SEQUENCE,
    ),
    "100,000 empty fragments": ("FRAMES: 100,000 empty fragments",),
    "the echo server raises the cap on fragments": (
        f"{_FRAMES}: test_an_echo_server_takes_more_fragments",
    ),
    "a message's deadline": (f"{_FRAMES}: test_a_message_that_does_not_get_on_is_given_up",),
    "client gone in the middle of the handshake": (
        "FATAL: gone within the handshake",
        "FATAL: reset before the end of a head",
    ),
}

FRAMES: dict[str, tuple[str, ...]] = {
    "RSV bit": tuple(f"FRAMES: reserved bit {bit}" for bit in ("0x10", "0x20", "0x40")),
    "reserved opcode": tuple(f"FRAMES: opcode {code:#x}" for code in (*range(3, 8), *range(11, 16))),
    "unmasked frame": ("FRAMES: unmasked text", "FRAMES: unmasked ping", "FRAMES: unmasked close"),
    "fragmented control frame": tuple(f"FRAMES: fragmented {name}" for name in ("ping", "pong", "close")),
    "over-long control frame": tuple(f"FRAMES: {name} of 126 bytes" for name in ("ping", "pong", "close")),
    "lone continuation": (
        "FRAMES: lone continuation",
        "FRAMES: lone continuation without an end",
        "FRAMES: continuation behind a whole message",
    ),
    "new message inside a fragmented one": (
        "FRAMES: new message in a fragmented one",
        "FRAMES: binary message in a fragmented text",
        "FRAMES: new fragmented message in a fragmented one",
    ),
    "close with 1 byte": ("FRAMES: close of 1 byte",),
    "close with a reserved code": tuple(
        f"FRAMES: close {code}" for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    ),
    "close with bad UTF-8": ("FRAMES: close with bad UTF-8",),
    "bad UTF-8 in text, at every split": (
        "FRAMES: bad UTF-8",
        *(f"FRAMES: {name}" for name in BAD_UTF8),
        f"{_FRAMES}: test_good_text_may_be_split_anywhere",
    ),
    "declared length over the limit": ("FRAMES: declared one byte over", "FRAMES: over in two frames"),
    "declared length of 2^63-1": ("FRAMES: declared 2^63-1",),
    "declared length of 2^63": ("FRAMES: declared 2^63", "FRAMES: declared 2^64-1"),
    "nothing buffered": (SEQUENCE,),
    "deflate bomb": (
        "DEFLATE: bomb",
        "DEFLATE: bomb in fragments",
        f"{_FRAMES}: test_a_bomb_takes_little_memory",
    ),
    "ping flood": ("FRAMES: 2,000 pings",),
    "pong flood": ("FRAMES: 2,000 pongs",),
    "chopping the same bytes in any way": (
        f"{_FRAMES}: test_chopping_changes_nothing",
        f"{_HAND}: test_a_head_may_come_byte_by_byte",
    ),
}

MESSAGES: dict[str, tuple[str, ...]] = {
    "not JSON": ("MESSAGES: not JSON", "MESSAGES: empty", "MESSAGES: half an object"),
    "JSON of another shape": (
        "MESSAGES: an array",
        "MESSAGES: a number",
        "MESSAGES: null",
        "MESSAGES: data of another shape",
    ),
    "unknown type": ("MESSAGES: unknown type", "MESSAGES: MessagePack: unknown type"),
    "missing field": ("MESSAGES: no type", "MESSAGES: data missing", "MESSAGES: field missing"),
    "wrong type": (
        "MESSAGES: type not a string",
        "MESSAGES: field of another type",
        "MESSAGES: MessagePack: type as bytes",
    ),
    "NaN": ("MESSAGES: NaN", "MESSAGES: NaN in a payload"),
    "1e999": ("MESSAGES: 1e999", "MESSAGES: published: 1e999"),
    "lone surrogate": (
        "MESSAGES: lone surrogate",
        "MESSAGES: lone surrogate in a payload",
        "MESSAGES: lone surrogate in a field that is skipped",
        "MESSAGES: MessagePack: surrogate in a payload",
    ),
    "BOM": ("MESSAGES: byte order mark",),
    "trailing bytes": (
        "MESSAGES: trailing bytes",
        "MESSAGES: trailing NUL",
        "MESSAGES: two objects",
        "MESSAGES: MessagePack: trailing byte",
    ),
    "5,000-digit integer": (
        "MESSAGES: 5,000 digits",
        "MESSAGES: 5,000 digits as the id",
        "MESSAGES: 5,000 digits in a field that is skipped",
    ),
    "100,000-deep nesting": (
        "MESSAGES: 100,000 deep",
        "MESSAGES: 100,000 deep in a payload",
        "MESSAGES: 100,000 deep in a field that is skipped",
        "MESSAGES: MessagePack: 100,000 deep in a payload",
        "MESSAGES: published: 100,000 deep",
    ),
    "NUL in a room name": ("MESSAGES: room NUL",),
    "line break in a room name": ("MESSAGES: room line break",),
    "e-acute in a room name": ("MESSAGES: room e-acute",),
    "bad UTF-8 in a field that is skipped": (
        "FRAMES: bad UTF-8",
        "MESSAGES: MessagePack: bad UTF-8 in a field that is skipped",
    ),
    "one HTTP publication that would make every subscriber close": (
        "MESSAGES: published: bad UTF-8",
        "MESSAGES: published: bad UTF-8 that is skipped",
        "MESSAGES: published: bad UTF-8 in MessagePack",
    ),
}

TOKENS: dict[str, tuple[str, ...]] = {
    "none": ("TOKENS: no signature", "TOKENS: alg none with a signature"),
    "another algorithm": ("TOKENS: another algorithm", "TOKENS: an asymmetric algorithm"),
    "no exp": ("TOKENS: no exp", "TOKENS: exp null"),
    "nbf ahead": ("TOKENS: nbf ahead",),
    "iat ahead": ("TOKENS: iat ahead",),
    "wrong iss, wrong aud": (f"{_TOKENS}: test_issuer_and_audience_are_required_where_configured",),
    "integer sub": ("TOKENS: sub an integer",),
    "unknown crit": ("TOKENS: crit unknown", "TOKENS: crit a word of its own"),
    "odd kid": (
        "TOKENS: kid not a string",
        "TOKENS: kid null",
        "TOKENS: kid a list",
        f"{_TOKENS}: test_a_public_key_is_no_secret_and_a_key_id_only_a_name",
    ),
    "a PEM as HMAC key": (
        f"{_TOKENS}: test_a_public_key_is_no_secret_and_a_key_id_only_a_name",
        f"{_TOKENS}: test_a_public_key_as_secret_refuses_to_start",
    ),
    "empty or short key at start-up": ("test_cli: test_without_a_secret_it_says_how_to_make_one",),
    "exp of 10^400": ("TOKENS: exp 10^400", "TOKENS: exp of 5,000 digits"),
    "exp a string": ("TOKENS: exp a string",),
    "lone surrogate in the token": (
        "HEADS: token with a lone surrogate",
        "HEADS: Authorization surrogate",
        "TOKENS: no token: a lone surrogate",
        "TOKENS: no token: a lone surrogate within",
        "TOKENS: sub a lone surrogate",
    ),
    "e-acute in an API key": (
        "TOKENS: API key: e-acute",
        "TOKENS: API key: e-acute in UTF-8",
        "TOKENS: API key: no UTF-8",
    ),
    "expiry while connected": (
        "TOKENS: ends while connected",
        f"{_TOKENS}: test_a_token_that_needs_no_refusal_still_ends",
    ),
    "revocation while connected": ("TOKENS: revoked while connected",),
    "clock moved an hour": (f"{_TOKENS}: test_the_clock_moves_an_hour",),
}

HTTP: dict[str, tuple[str, ...]] = {
    "slow head": (
        "SLOW: slow head",
        "SLOW: slow head, later",
        "SLOW: a head that dribbles",
        "SLOW: silence",
    ),
    "4,000 headers": ("HTTP: 4,000 headers", "HEADS: 4,000 headers"),
    "no end": ("HTTP: no end", "HEADS: no end"),
    "TLS bytes to the plain port": ("HTTP: TLS to the plain port", "HEADS: TLS to the plain port"),
    "NUL": ("HTTP: NUL in the target", "HTTP: NUL in a value", "HEADS: NUL in a value", "HEADS: NULs"),
    "space before the colon": ("HTTP: space before the colon", "HEADS: space before the colon"),
    "two lengths": ("HTTP: two lengths", "HTTP: the same length twice", "HEADS: two lengths"),
    "length with chunked": ("HTTP: length with chunked", "HEADS: length with chunked"),
    "bad chunk tail": ("HTTP: bad chunk tail", "HTTP: LF in a chunk's tail"),
    "LF only": ("HTTP: LF only", "HEADS: LF only"),
    "absolute-form": ("HTTP: absolute-form", "HEADS: absolute-form"),
    "HTTP/2.0": ("HTTP: HTTP/2.0", "HTTP: HTTP/2 preface", "HEADS: HTTP/2.0 upgrade"),
    "body on an upgrade": (
        "HTTP: body on an upgrade",
        "HEADS: body with a length",
        "HEADS: body in chunks",
    ),
    "oversized body": ("HTTP: oversized body, declared", "HTTP: oversized body, in chunks"),
    ".. in a static path": tuple(f"HTTP: dots: {target}" for target in DOTS),
    "CR/LF in anything echoed": (
        *(f"HTTP: breaks: {target}" for target in BREAKS),
        f"{_HTTP}: test_nothing_that_is_echoed_breaks_the_head",
    ),
    "control characters in what is logged": (f"{_HTTP}: test_a_path_cannot_write_into_the_log", SEQUENCE),
    "wrong Origin: null": ("HEADS: origin null",),
    "wrong Origin: suffix": (
        "HEADS: origin with our name as suffix",
        "HEADS: origin with our name as prefix",
    ),
    "wrong Origin: mixed case": ("HEADS: origin of mixed case",),
    "wrong Origin: homoglyph": ("HEADS: origin homoglyph", "HEADS: origin homoglyph in punycode"),
    "CORS never * with credentials": (f"{_HTTP}: test_a_star_never_comes_with_credentials",),
}

ISOLATED: dict[str, tuple[str, ...]] = {
    "a user's event at another user": (f"{_MINE}: test_publications_reach_their_audience_only",),
    "a group's at another group": (
        f"{_MINE}: test_publications_reach_their_audience_only",
        *(f"ISOLATION: channel {channel}" for channel in OTHERS),
    ),
    "a room's after leaving": (f"{_MINE}: test_a_room_is_heard_by_its_members_while_they_are_members",),
    "an admin route with a user's token": tuple(
        f"ISOLATION: {name}" for name in ISOLATION if name.startswith(("GET ", "POST "))
    ),
    "{user_id} in the path unlike the token's": (
        "ISOLATION: GET /api/v1/users/bob/connections",
        "ISOLATION: POST /api/v1/users/bob/disconnect",
        "ISOLATION: POST /api/v1/users/bob/unsubscribe",
        "HEADS: path that names a user",
    ),
    "room names that collide": (f"{_MINE}: test_room_names_do_not_collide",),
    "wildcards and homoglyphs": tuple(f"ISOLATION: no channel {name!a}" for name in NO_CHANNELS),
}

MATRIX = {
    "Seen to kill": SEEN_TO_KILL,
    "Frames": FRAMES,
    "Messages": MESSAGES,
    "Tokens": TOKENS,
    "HTTP": HTTP,
    "Isolation": ISOLATED,
}

ON_EVERY_ENGINE = ("Seen to kill", "Frames", "Messages")
"""Sections whose inputs reach the engine: their proofs are tried on each."""
