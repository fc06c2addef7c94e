"""The configuration: `Config()` is the defaults, `load` puts file, `.env`, environment and `--set` over them.

`load` is the only place that checks: a `Config` built in place is taken as it is.
"""

from tidings.server.config.accounts import Accounts, Store
from tidings.server.config.channels import ChannelPolicy, ChannelRule, History, Inbox, Presence
from tidings.server.config.lines import Lines
from tidings.server.config.loading import load, load_with_sources
from tidings.server.config.notifications import Notifications
from tidings.server.config.rooms import Rooms
from tidings.server.config.sections import Auth, Config, Engine, Server, Tls
from tidings.server.config.sources import ConfigError
from tidings.server.config.text import describe
from tidings.server.config.traffic import Compression, Heartbeat, Http, Limits

__all__ = [
    "Accounts",
    "Auth",
    "ChannelPolicy",
    "ChannelRule",
    "Compression",
    "Config",
    "ConfigError",
    "Engine",
    "Heartbeat",
    "History",
    "Http",
    "Inbox",
    "Limits",
    "Lines",
    "Notifications",
    "Presence",
    "Rooms",
    "Server",
    "Store",
    "Tls",
    "describe",
    "load",
    "load_with_sources",
]
