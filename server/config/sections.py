"""Every key of the configuration: its type, bounds, default, meaning, and the reason for the default."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, field

from tidings.server.config.accounts import Accounts, Store
from tidings.server.config.channels import ChannelRule, History, Inbox, Presence
from tidings.server.config.lines import Lines
from tidings.server.config.notifications import Notifications
from tidings.server.config.origins import parse_origin
from tidings.server.config.rooms import Rooms
from tidings.server.config.sources import Sections, masked
from tidings.server.config.traffic import Compression, Heartbeat, Http, Limits
from tidings.server.config.values import DAY, MOST, Name

# The same as the key types in auth_keys.py.
Algorithm = Literal[
    "HS256", "HS384", "HS512",
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES256K", "ES384", "ES512", "EdDSA",
]  # fmt: skip
"""What may sign a token; a closed list, so that "none" cannot be asked for."""

Engine = Literal["native", "reference"]


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
        Engine,
        Meta(
            description="The WebSocket implementation under a connection: native, our own, or reference, on "
            "trio-websocket, to compare with. Both pass the same conformance suite; native takes a fraction "
            "of the processor and memory, and alone can compress."
        ),
    ] = "native"
    apps: Annotated[
        tuple[Name, ...],
        Meta(
            description="Apps that run, by name; * is all that are installed, since who installs one wants "
            "it, and rooms, which comes with the server. accounts, users with passwords, notifications, kept for "
            "each user, and lines, a board of messaging accounts, come with it too and run where they are named, "
            'since they open a database: ["*", "accounts", "notifications"]. An empty list leaves only channels '
            "and publishing."
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
            le=DAY,
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
            le=MOST,
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
    service_keys: Annotated[
        tuple[Name, ...],
        Meta(
            description="Keys of services that are to be seen online under a name, each as name=key: as api_keys, "
            "and a WebSocket may be opened with one. A name may have two keys, while one replaces the other. "
            "None by default, as api_keys."
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
    compression: Compression = field(default_factory=Compression)
    tls: Tls = field(default_factory=Tls)
    history: History = field(default_factory=History)
    inbox: Inbox = field(default_factory=Inbox)
    presence: Presence = field(default_factory=Presence)
    store: Store = field(default_factory=Store)
    accounts: Accounts = field(default_factory=Accounts)
    notifications: Notifications = field(default_factory=Notifications)
    rooms: Rooms = field(default_factory=Rooms)
    lines: Lines = field(default_factory=Lines)
    channels: Annotated[
        dict[str, ChannelRule],
        Meta(
            description="Policies of channels by name, as room:lobby, or by the beginning of a name and a "
            "star, as room:team-* or *. The longest that fits decides each field; what it leaves out, "
            "the next one does. --set channels.room:*.history_size=50 sets one field; TIDINGS_CHANNELS is a "
            "JSON object of patterns."
        ),
    ] = field(default_factory=dict)
    endpoints: Annotated[
        dict[str, str],
        Meta(
            description="WebSocket paths and the dialect spoken on each. /ws is native, what our own "
            "clients speak; name it here to keep another front end's protocol on its path. A segment "
            "{user_id} stands for the id of the user whom the token must name, as in that of knowledge. "
            "Those of line_board are there where the app lines runs. A source adds to what is there."
        ),
    ] = field(
        default_factory=lambda: {
            "/ws": "native",
            "/api/v1/ws/{user_id}": "knowledge",
            "/ws/device": "line_board_device",
            "/ws/dashboard": "line_board",
        }
    )


STRUCTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "server": Server,
    "auth": Auth,
    "limits": Limits,
    "heartbeat": Heartbeat,
    "http": Http,
    "compression": Compression,
    "tls": Tls,
    "history": History,
    "inbox": Inbox,
    "presence": Presence,
    "store": Store,
    "accounts": Accounts,
    "notifications": Notifications,
    "rooms": Rooms,
    "lines": Lines,
}
FIELDS: Final = {
    section: {item.name: item.type for item in msgspec.structs.fields(struct)}
    for section, struct in STRUCTS.items()
}
SECTIONS: Final[Sections] = {
    **{section: tuple(keys) for section, keys in FIELDS.items()},
    "endpoints": None,
    "channels": None,
}
