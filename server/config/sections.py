"""Every key of the configuration: its type, bounds, default, meaning, and the reason for the default."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, field

from tidings.server.config.origins import parse_origin
from tidings.server.config.sources import Sections, masked

_MOST: Final = 2**31 - 1  # 2 GiB or two thousand million: beyond it a number is a slip of the hand
_DAY: Final = 86400  # nothing here waits longer; a value beyond it was meant in milliseconds

# The same as the key types in auth_keys.py.
Algorithm = Literal[
    "HS256", "HS384", "HS512",
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES256K", "ES384", "ES512", "EdDSA",
]  # fmt: skip
"""What may sign a token; a closed list, so that "none" cannot be asked for."""

Count = Annotated[int, Meta(ge=1, le=_MOST)]
Seconds = Annotated[float, Meta(gt=0, le=_DAY)]
Name = Annotated[str, Meta(min_length=1)]


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; expected such as 10.0.0.0/8 or ::1") from None


def _check_origin(text: str) -> None:
    if text != "*" and parse_origin(text) is None:
        raise ValueError(f"{text!r} is not an origin; expected scheme://host[:port] without a path, or *")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The process: where it listens, keeps its files and writes its log."""

    host: Annotated[
        str,
        Meta(
            min_length=1,
            description="Address to listen on. Only this machine by default: opening a server to the "
            "network is its owner's decision; 0.0.0.0 or :: opens it to all.",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="TCP port to listen on; 0 takes any free one, which the log tells. 8000 is what "
            "Python's web servers use and needs no privilege.",
        ),
    ] = 8000
    engine: Annotated[
        Literal["reference"],
        Meta(
            description="The WebSocket implementation under a connection. reference, on trio-websocket, "
            "is the only one for now."
        ),
    ] = "reference"
    apps: Annotated[
        tuple[Name, ...],
        Meta(
            description="Apps that run, by name; * is all that are installed, since who installs one wants "
            "it. rooms comes with the server. An empty list leaves only channels and publishing."
        ),
    ] = ("*",)
    data_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="Directory for what stays on disk, relative to the working directory. A place "
            "of its own beside the config, so that one directory is one server.",
        ),
    ] = "data"
    drain_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=_DAY,
            description="Seconds that a shutdown may take to tell clients, flush and close; 0 cuts at "
            "once. 30 is what process managers grant between SIGTERM and SIGKILL: give them a little "
            "more than this.",
        ),
    ] = 30.0
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            extra={"check": _check_network},
            description="Networks (10.0.0.0/8, ::1) whose X-Forwarded-For is believed. None by default: "
            "anyone could name any address and slip past the limits per address.",
        ),
    ] = ()
    log_format: Annotated[
        Literal["auto", "human", "json"],
        Meta(
            description="human, json, or auto: human on a terminal, JSON otherwise, since a person "
            "reads the one and a collector the other."
        ),
    ] = "auto"


class Auth(msgspec.Struct, frozen=True, kw_only=True):
    """Who may come in: keys, tokens and origins."""

    secret: Annotated[
        str,
        Meta(
            description="Key that signs and checks HS tokens (JWT_SECRET sets it too); at least 32 "
            "bytes for HS256. No default: a secret that everybody knows is none."
        ),
    ] = ""
    previous_secret: Annotated[
        str,
        Meta(
            description="The key before this one, still accepted while it is set, so that a rotation "
            "logs nobody out. Empty: none."
        ),
    ] = ""
    algorithms: Annotated[
        tuple[Algorithm, ...],
        Meta(
            min_length=1,
            description="Accepted signatures. Only the secret's own by default: whatever else is "
            "accepted is one more way to forge a token. All but HS need jwks_file.",
        ),
    ] = ("HS256",)
    jwks_file: Annotated[
        str,
        Meta(
            description="File with the public keys (JWKS) for tokens not signed by the secret. Empty: "
            "none, the secret signs."
        ),
    ] = ""
    issuer: Annotated[
        str, Meta(description="Required `iss` of a token. Empty: not checked, as many issuers set none.")
    ] = ""
    audience: Annotated[
        str,
        Meta(
            description="Required `aud` of a token. Empty: not required; set it when the issuer serves "
            "other services too, or their tokens open this one."
        ),
    ] = ""
    leeway: Annotated[
        int,
        Meta(
            ge=0,
            le=5,
            description="Seconds by which clocks may differ when `exp` and `nbf` are checked. 5 covers "
            "machines that keep time by NTP; more would let expired tokens live on.",
        ),
    ] = 5
    max_ttl: Annotated[
        int,
        Meta(
            ge=1,
            le=_MOST,
            description="Longest life of a token, in seconds from now; a later `exp` is refused. 30 "
            "days: a stolen token dies some day, and a user away for a month logs in anew.",
        ),
    ] = 2592000
    open_rooms: Annotated[
        bool,
        Meta(
            description="Whether everybody may join any room. Chat wants that; without it a room needs a "
            "grant in the token's channels claim, as room:lobby or room:*."
        ),
    ] = True
    api_keys: Annotated[
        tuple[Name, ...],
        Meta(
            description="Keys with which other services use the admin routes. None by default: only "
            "tokens with the admin role do."
        ),
    ] = ()
    origins: Annotated[
        tuple[str, ...],
        Meta(
            extra={"check": _check_origin},
            description="Origins besides the server's own whose pages may connect: "
            "scheme://host[:port], or * for any. None by default: a foreign page must not act with a "
            "visitor's login.",
        ),
    ] = ()
    user_claims: Annotated[
        tuple[Name, ...],
        Meta(
            min_length=1,
            description="Claims that may hold the user's id; the first one present counts. `sub` is the "
            "standard's, `user_id` what many back ends sign.",
        ),
    ] = ("sub", "user_id")
    username_claims: Annotated[
        tuple[Name, ...],
        Meta(
            description="Claims that may hold the user's name; the first one present counts. The last "
            "is OpenID Connect's."
        ),
    ] = ("username", "name", "preferred_username")
    group_claims: Annotated[
        tuple[Name, ...],
        Meta(
            description="Claims that may hold the user's group; the first one present counts. Both "
            "names are in use."
        ),
    ] = ("group_id", "group")
    role_claims: Annotated[
        tuple[Name, ...],
        Meta(
            description="Claims that may hold the roles, a list or one name; the first one present "
            "counts. Both forms are in use."
        ),
    ] = ("roles", "role")

    def __repr__(self) -> str:
        return f"Auth({', '.join(f'{key}={value!r}' for key, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return the fields with secrets masked: a config ends up in logs and tracebacks."""
        return [(key, masked(f"auth.{key}", getattr(self, key))) for key in self.__struct_fields__]


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
            le=_MOST,
            description="Connections in all; 0: as many as the descriptor limit allows, since that is "
            "the bound that would otherwise be met in the middle of an accept.",
        ),
    ] = 0
    command_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=_MOST,
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


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS on the server's own port; without it, plain HTTP, as behind a proxy that ends TLS."""

    cert: Annotated[
        str,
        Meta(
            description="PEM file with the certificate and its chain, relative to the working "
            "directory. Empty: plain HTTP, since there is no certificate to assume."
        ),
    ] = ""
    key: Annotated[
        str,
        Meta(
            description="PEM file with the certificate's private key. Empty exactly when cert is: one "
            "needs both."
        ),
    ] = ""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration; without arguments, the defaults."""

    server: Server = field(default_factory=Server)
    auth: Auth = field(default_factory=Auth)
    limits: Limits = field(default_factory=Limits)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    http: Http = field(default_factory=Http)
    tls: Tls = field(default_factory=Tls)
    endpoints: Annotated[
        dict[str, str],
        Meta(
            description="WebSocket paths and the dialect spoken on each. /ws is native, what our own "
            "clients speak; name it here to keep another front end's protocol on its path. A source "
            "adds to what is there."
        ),
    ] = field(default_factory=lambda: {"/ws": "native"})


STRUCTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "server": Server,
    "auth": Auth,
    "limits": Limits,
    "heartbeat": Heartbeat,
    "http": Http,
    "tls": Tls,
}
FIELDS: Final = {
    section: {item.name: item.type for item in msgspec.structs.fields(struct)}
    for section, struct in STRUCTS.items()
}
SECTIONS: Final[Sections] = {
    **{section: tuple(keys) for section, keys in FIELDS.items()},
    "endpoints": None,
}
