"""The Python client of a Tidings server.

`connect` opens a WebSocket that is kept up, for programs on Trio. `Publisher` (threads) and `AsyncPublisher`
(Trio or asyncio) publish over HTTP, for programs that only ever send.
"""

from tidings.client.acknowledging import Acknowledge
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
    QueueFull,
)
from tidings.client.events import (
    Connected,
    Event,
    NotAcknowledged,
    Notice,
    Reconnecting,
    Resubscribed,
    SendFailed,
    TokenExpiring,
)
from tidings.client.publications import Gap, Publication, Recovered
from tidings.client.publisher import Publisher
from tidings.client.publishing import ToPublish
from tidings.client.queued import Queued
from tidings.client.results import Published, ServerStats, UserConnection, UserConnections
from tidings.client.stream import Dial
from tidings.client.subscriptions import Events, Publications, Subscription
from tidings.client.tokens import Token
from tidings.client.urls import Address
from tidings.protocol.positions import Position

__all__ = [
    "Acknowledge",
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
    "NotAcknowledged",
    "Notice",
    "Overflow",
    "Position",
    "Publication",
    "Publications",
    "PublishFailed",
    "PublishRefused",
    "Published",
    "Publisher",
    "QueueFull",
    "Queued",
    "Reconnect",
    "Reconnecting",
    "Recovered",
    "Resubscribed",
    "SendFailed",
    "ServerStats",
    "Subscription",
    "ToPublish",
    "Token",
    "TokenExpiring",
    "UserConnection",
    "UserConnections",
    "connect",
]
