"""The Python client of a Tidings server.

`connect` opens a WebSocket that is kept up, for programs on Trio. `Publisher` (threads) and `AsyncPublisher`
(Trio or asyncio) publish over HTTP, for programs that only ever send.
"""

from tidings.client.async_publisher import AsyncPublisher
from tidings.client.backoff import Reconnect
from tidings.client.client import Client
from tidings.client.connecting import connect
from tidings.client.errors import (
    ClientError,
    CommandRefused,
    ConnectionLost,
    Disconnected,
    Overflow,
    PublishFailed,
    PublishRefused,
)
from tidings.client.events import Connected, Event, Notice, Reconnecting, Resubscribed, TokenExpiring
from tidings.client.publications import Gap, Publication
from tidings.client.publisher import Publisher
from tidings.client.publishing import ToPublish
from tidings.client.results import Published, ServerStats, UserConnection, UserConnections
from tidings.client.stream import Dial
from tidings.client.subscriptions import Events, Publications, Subscription
from tidings.client.tokens import Token
from tidings.client.urls import Address

__all__ = [
    "Address",
    "AsyncPublisher",
    "Client",
    "ClientError",
    "CommandRefused",
    "Connected",
    "ConnectionLost",
    "Dial",
    "Disconnected",
    "Event",
    "Events",
    "Gap",
    "Notice",
    "Overflow",
    "Publication",
    "Publications",
    "PublishFailed",
    "PublishRefused",
    "Published",
    "Publisher",
    "Reconnect",
    "Reconnecting",
    "Resubscribed",
    "ServerStats",
    "Subscription",
    "ToPublish",
    "Token",
    "TokenExpiring",
    "UserConnection",
    "UserConnections",
    "connect",
]
