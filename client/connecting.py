"""`connect`: the client, and the nursery that keeps it alive."""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
import trio

from tidings.client.acknowledging import Acknowledge
from tidings.client.backoff import Reconnect
from tidings.client.client import Client
from tidings.client.events import Event
from tidings.client.inflow import Inflow
from tidings.client.outbox import OUTBOX
from tidings.client.positions import check_positions
from tidings.client.publications import PayloadTypes
from tidings.client.stream import Dial, dialing
from tidings.client.tokens import Token
from tidings.client.upkeep import Upkeep
from tidings.client.urls import websocket_address
from tidings.protocol.positions import Position

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
    acknowledge: Acknowledge = "auto",
    positions: Mapping[str, Position] | None = None,
    reconnect: Reconnect | None = None,
    types: Mapping[str, type[msgspec.Struct]] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    dial: Dial | None = None,
    on_event: Callable[[Event], None] | None = None,
    queue: int = QUEUE,
    outbox: int = OUTBOX,
    message_bytes: int = MESSAGE_BYTES,
) -> AsyncIterator[Client]:
    """Connect to a server and stay connected until the block is left.

    `url` is ws, wss, http or https; without a path, `/ws`. `token` is sent in the Authorization header: a
    string, or a function (sync or async) that is asked for a new one at each connection and whenever the
    token is about to end. `types` are Structs by event name. `dial` opens the stream, in place of TCP and
    TLS. `on_event` is called, and must not block, with every `Event`, also those before the block is entered.
    `queue` bounds what waits for each subscriber, `outbox` the messages that wait to be sent. A command of
    more than `message_bytes`, as the server has it in `limits.message_bytes`, is refused here.

    `device` names this device among the user's: the server keeps what comes on the user's own channel, the
    inbox, until each device has acknowledged it. A user's connections without a name are one device together.
    With `acknowledge="auto"` a publication is acknowledged once everybody here who listens to the inbox (by
    subscribing to the user's channel, or by `publications`) has taken the next one, or has closed the iteration
    without an error; what a program fails over comes again. An overflow is taken like a publication: whoever
    iterates on after it lets go of what was dropped, whoever does not gets it on the next start. "manual"
    leaves it to `Client.ack`. Where nobody listens nothing is acknowledged: up to `queue` publications wait
    here for the first who does, and the server sends all of it anew on each connection.

    `positions` are where an earlier client stood (`Client.positions`, `Publication.position`): whoever
    subscribes to such a channel gets everything after that, or a Gap. For the user's own channel, what
    comes again up to there is left out.

    Entering waits for the first connection, for as long as `reconnect` allows (for ever, by default):
    bound that with a cancel scope. Raises Disconnected when the server refuses for good, ValueError for a
    URL, a token or positions that are none.

    Leaving, also by cancellation, acknowledges what is left to acknowledge, closes with 1000, ends every
    iteration and request, and is over within 2 seconds. What the block raises is raised as it is, not in a group.
    """
    if queue < 1:
        raise ValueError(f"queue is {queue}: at least 1 publication must be able to wait")
    if acknowledge not in ("auto", "manual"):
        raise ValueError(f'acknowledge is {acknowledge!r}: expected "auto" or "manual"')
    upkeep = Upkeep(
        websocket_address(url, device=device),
        token=token,
        reconnect=reconnect or Reconnect(),
        inflow=Inflow(PayloadTypes(types), positions=check_positions(positions), unread=queue),
        dial=dial or dialing(ssl_context),
        on_event=on_event,
        message_bytes=message_bytes,
        outbox=outbox,
        acknowledges=acknowledge == "auto",
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
