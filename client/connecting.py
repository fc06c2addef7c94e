"""`connect`: the client, and the nursery that keeps it alive."""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
import trio

from tidings.client.backoff import Reconnect
from tidings.client.client import Client
from tidings.client.events import Event
from tidings.client.publications import PayloadTypes
from tidings.client.stream import Dial, dialing
from tidings.client.tokens import Token
from tidings.client.upkeep import Upkeep
from tidings.client.urls import websocket_address

# The server's limits.message_bytes: it closes the connection of whoever sends more.
MESSAGE_BYTES = 65536

# Publications that may wait for one subscriber: a second of a very busy channel.
QUEUE = 1000


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: Token = None,
    device: str | None = None,
    reconnect: Reconnect | None = None,
    types: Mapping[str, type[msgspec.Struct]] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    dial: Dial | None = None,
    on_event: Callable[[Event], None] | None = None,
    queue: int = QUEUE,
    message_bytes: int = MESSAGE_BYTES,
) -> AsyncIterator[Client]:
    """Connect to a server and stay connected until the block is left.

    `url` is ws, wss, http or https; without a path, `/ws`. `token` is sent in the Authorization header: a
    string, or a function (sync or async) that is asked for a new one at each connection and whenever the
    token is about to end. `device` names this device among the user's. `types` are Structs by event name.
    `dial` opens the stream, in place of TCP and TLS. `on_event` is called, and must not block, with every
    `Event`, also those before the block is entered. `queue` bounds what waits for each subscriber. A command
    of more than `message_bytes`, as the server has it in `limits.message_bytes`, is refused here.

    Entering waits for the first connection, for as long as `reconnect` allows (for ever, by default):
    bound that with a cancel scope. Raises Disconnected when the server refuses for good, ValueError for a
    URL or a token that is none.

    Leaving, also by cancellation, closes with 1000, ends every iteration and request, and is over within
    2 seconds. What the block raises is raised as it is, not in a group.
    """
    if queue < 1:
        raise ValueError(f"queue is {queue}: at least 1 publication must be able to wait")
    upkeep = Upkeep(
        websocket_address(url, device=device),
        token=token,
        reconnect=reconnect or Reconnect(),
        types=PayloadTypes(types),
        dial=dial or dialing(ssl_context),
        on_event=on_event,
        message_bytes=message_bytes,
    )
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upkeep.run)
        try:
            await upkeep.ready()
            yield Client(upkeep, queue=queue)
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseException as error:
            raised = error
        finally:
            # Bounded by the link's CLOSE_SECONDS.
            with trio.CancelScope(shield=True):
                await upkeep.aclose()
    if raised is not None:
        raise raised
