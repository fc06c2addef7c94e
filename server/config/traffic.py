"""The sections about traffic: limits, heartbeats, plain HTTP, compression."""

from typing import Annotated

import msgspec
from msgspec import Meta

from tidings.server.config.values import MOST, Count, Seconds


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one peer, one user and one address may take of the server."""

    message_bytes: Annotated[
        Count,
        Meta(
            description="Longest message accepted, in bytes. 64 KiB holds any event or chat text; files "
            "belong in HTTP."
        ),
    ] = 65536
    outbox_bytes: Annotated[
        Count,
        Meta(
            description="Bytes that may wait for one connection before it counts as too slow (3008); at "
            "least 6 x message_bytes + 1024, so that any frame fits, in any encoding. A publication may have "
            "a quarter of it, so that a healthy client is never over it at once. 1 MiB rides out "
            "seconds of bad radio, and 1,000 stalled peers cost 1 GiB at worst."
        ),
    ] = 1048576
    channels_per_connection: Annotated[
        Count,
        Meta(
            description="Channels one connection may be subscribed to. 128 is more than a screen shows; "
            "each costs memory and time at connect and close."
        ),
    ] = 128
    connections_per_user: Annotated[
        Count,
        Meta(
            description="Connections of one user. 32 is a few devices with many tabs; more is a client "
            "that reconnects without closing."
        ),
    ] = 32
    connections_per_address: Annotated[
        Count,
        Meta(
            description="Connections from one address. 1,024 leaves room for an office behind one NAT, "
            "and one host alone, silent sockets included, cannot fill the server."
        ),
    ] = 1024
    connections_total: Annotated[
        int,
        Meta(
            ge=0,
            le=MOST,
            description="Connections in all; 0: as many as the descriptor limit allows, since that is "
            "the bound that would otherwise be met in the middle of an accept.",
        ),
    ] = 0
    command_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=MOST,
            description="Commands a second that one connection may send in the long run. 100 is far "
            "beyond a person and a hundredth of what a core can handle.",
        ),
    ] = 100.0
    command_burst: Annotated[
        Count,
        Meta(
            description="Commands that may come at once before command_rate counts. 200 lets a client "
            "that reconnects join all its 128 channels."
        ),
    ] = 200
    head_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=2**20,
            description="Longest request head, in bytes. 16 KiB holds a long token with cookies.",
        ),
    ] = 16384
    fragments_per_message: Annotated[
        Count,
        Meta(
            description="Frames one message may be split into. 1,024 of 64 bytes make a full message; "
            "without a bound endless empty fragments cost time and never reach message_bytes."
        ),
    ] = 1024


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """How long the server waits, in seconds: for a sign of life, and for each step of a connection."""

    ping_interval: Annotated[
        Seconds,
        Meta(
            description="Seconds of silence after which a ping is sent; any byte from the peer counts "
            "as life. 20 stays below the 30 to 60 after which NATs and proxies drop idle connections."
        ),
    ] = 20.0
    pong_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds from that ping to the verdict that the peer is dead. 10 forgives a "
            "phone that changes cells."
        ),
    ] = 10.0
    handshake_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds from accepting a connection to its complete request head, TLS "
            "included. 5 is many round trips on a bad line; whoever dribbles bytes holds a descriptor "
            "no longer."
        ),
    ] = 5.0
    authenticate_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds to the first message of a connection that opened without a token. 10 "
            "lets a page fetch its token first."
        ),
    ] = 10.0
    close_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds for the closing handshake before the connection is reset. 2: one that "
            "is over should not hold memory while its peer does not read."
        ),
    ] = 2.0
    handler_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds a command's handler may take before the client is told `unavailable`. "
            "10 outlasts a database's bad moment; the connection's next commands wait behind it."
        ),
    ] = 10.0


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """Plain HTTP requests: how large, how slow and how many at once."""

    body_bytes: Annotated[
        Count,
        Meta(
            description="Longest request body, in bytes. 1 MiB holds a full batch of publications; each "
            "request being handled may keep one in memory."
        ),
    ] = 1048576
    body_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds for a whole request body, from when it is asked for. 15 is 1 MiB over a "
            "bad mobile line; whoever dribbles bytes holds a socket no longer."
        ),
    ] = 15.0
    idle_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds that a connection may wait for its next request before it is closed. 75 "
            "outlasts the 60 for which proxies commonly keep theirs, so that they seldom send into a close."
        ),
    ] = 75.0
    answer_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds that a client may leave 64 KiB of an answer unread before it is cut off. "
            "30 forgives a phone in a tunnel; the answer stays in memory meanwhile."
        ),
    ] = 30.0
    requests_per_connection: Annotated[
        Count,
        Meta(
            description="Requests after which a connection is closed. 10,000 makes a new one cheap beside "
            "them, and lets a load balancer spread clients that never leave."
        ),
    ] = 10000
    batch_publications: Annotated[
        Count,
        Meta(
            description="Publications in one batch. 1,000 keep the server busy for some 20 ms, which "
            "everybody else waits."
        ),
    ] = 1000
    channels_page: Annotated[
        Count,
        Meta(
            description="Channels in one page of the list. 1,000 are some 100 KB of JSON; a longer list "
            "is asked for page by page."
        ),
    ] = 1000


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """Compressed WebSocket messages (`permessage-deflate`), for clients that offer it; engine native only."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether to compress. Off: it costs some 30 microseconds a KiB, once for each "
            "publication and answer, and 10 for each KiB that comes in; sending costs 4. Worth it "
            "where large messages go over slow or metered lines."
        ),
    ] = False
    threshold: Annotated[
        int,
        Meta(
            ge=0,
            le=MOST,
            description="Messages of fewer bytes are sent as they are. 1,024: a smaller one fits into a "
            "packet as it is.",
        ),
    ] = 1024
    level: Annotated[
        int,
        Meta(
            ge=1,
            le=9,
            description="zlib's level, 1 (fast) to 9 (small). 1: chat in JSON shrinks to 58 % at 1 KiB and "
            "39 % at 16 KiB; level 6 takes two to three times as long for 1 or 2 % less.",
        ),
    ] = 1
    window_bits: Annotated[
        int,
        Meta(
            ge=9,
            le=15,
            description="Window of what the server sends, as an exponent of 2, and the greatest of what "
            "comes in from clients that let the server choose. 15, the format's own: a smaller one makes "
            "large messages larger. A client that asks for less gets 9, or 8, so that each publication is "
            "compressed three times at most.",
        ),
    ] = 15
    client_context: Annotated[
        bool,
        Meta(
            description="Whether a client's messages may refer to its earlier ones: they become smaller, "
            "and each such connection holds up to 96 KiB for as long as it lives. Off: commands are short, "
            "and connections many."
        ),
    ] = False
