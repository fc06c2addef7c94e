"""The drill's publisher: batches over HTTP, each publication with a key, tried until it is acknowledged."""

import random
import ssl
import time
from collections.abc import Callable, Sequence

import trio

from tidings.bench.processes import ChildFailed
from tidings.bench.resume_ledger import Accepted, Sheet
from tidings.client import AsyncPublisher, Published, PublishFailed, PublishRefused, ToPublish

EVENT = "drill"

# Batches under way at once: while one waits for the disk, others go on.
WORKERS = 32

# Publications of a batch: one now and then, so that the short way is walked too.
BATCH = (1, 39)

# Batches that wait for a worker. While the server is away they fill up, and then the publisher waits.
WAITING = 100

# Before what could not be published is tried again, at most. Thirty workers that knock at a dead server's port more
# often would fill the core on which the clients come back.
RETRY_SECONDS = 1.0

# What may succeed when it is tried again.
PASSING = frozenset({"unavailable", "rate_limited", "internal"})


class DrillPublisher:
    """Publishes to channels drawn by a seed, and enters into the ledger what was acknowledged."""

    def __init__(
        self,
        url: str,
        api_key: str,
        sheet: Sheet,
        *,
        draw_channel: Callable[[random.Random], str],
        payload: int,
        seed: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take how to draw a channel, and the bytes of text in each publication."""
        self._url, self._api_key, self._tls = url, api_key, tls
        self._sheet = sheet
        self._draw_channel = draw_channel
        sheet.text = "x" * payload
        self._random = random.Random(f"publisher {seed}")
        self._numbers = 0
        self.retries = 0
        """Batches, or what was left of them, that had to be sent once more."""

    async def publish(self, rate: float, seconds: float) -> None:
        """Publish so many a second for so long, as far as the server lets; returns when all is acknowledged.

        Raises ChildFailed for what is refused for good.
        """
        send, receive = trio.open_memory_channel[list[ToPublish]](WAITING)
        async with (
            AsyncPublisher(self._url, api_key=self._api_key, retries=0, ssl_context=self._tls) as publisher,
            trio.open_nursery() as nursery,
            send,
            receive,
        ):
            for _ in range(WORKERS):
                nursery.start_soon(self._work, publisher, receive.clone())
            end = trio.current_time() + seconds
            due = trio.current_time()
            while due < end:
                batch = [self._item() for _ in range(self._random.randint(*BATCH))]
                await trio.sleep_until(due)
                await send.send(batch)
                # Not made good where it could not keep up: a server that returns is not met with a flood.
                due = max(due, trio.current_time() - 1.0) + len(batch) / rate
            await send.aclose()

    async def say(self, channels: Sequence[str]) -> None:
        """Publish once to each of some channels; returns when all is acknowledged."""
        async with AsyncPublisher(
            self._url, api_key=self._api_key, retries=0, ssl_context=self._tls
        ) as publisher:
            for first in range(0, len(channels), BATCH[1]):
                await self._deliver(
                    publisher, [self._item(channel) for channel in channels[first : first + BATCH[1]]]
                )

    def _item(self, channel: str | None = None) -> ToPublish:
        self._numbers += 1
        key = f"drill-{self._numbers}"
        return ToPublish(
            channel=channel or self._draw_channel(self._random),
            event=EVENT,
            payload={"id": key, "text": self._sheet.text},
            idempotency_key=key,
        )

    async def _work(
        self, publisher: AsyncPublisher, batches: trio.MemoryReceiveChannel[list[ToPublish]]
    ) -> None:
        async with batches:
            async for batch in batches:
                await self._deliver(publisher, batch)

    async def _deliver(self, publisher: AsyncPublisher, batch: list[ToPublish]) -> None:
        """Until every one of them is acknowledged: same keys each time."""
        begun = time.monotonic()
        self._sheet.tried.update(str(item.idempotency_key) for item in batch)
        while batch:
            results: Sequence[Published | PublishRefused]
            try:
                if len(batch) == 1:
                    (item,) = batch
                    results = [
                        await publisher.publish(
                            item.channel, item.event, item.payload, idempotency_key=item.idempotency_key
                        )
                    ]
                else:
                    results = await publisher.batch(batch)
            except PublishFailed:
                results = []
            except PublishRefused as refusal:
                self._check(refusal)
                results = []
            left = batch[len(results) :]
            for item, result in zip(batch, results, strict=False):
                if isinstance(result, Published):
                    self._accepted(item, result, begun)
                else:
                    self._check(result)
                    left.append(item)
            if left:
                self.retries += 1
                await trio.sleep(self._random.uniform(0, RETRY_SECONDS))
            batch = left

    def _accepted(self, item: ToPublish, published: Published, begun: float) -> None:
        key = str(item.idempotency_key)
        self._sheet.accepted.append(
            Accepted(published.channel, published.epoch, published.offset, published.durability, key, begun)
        )

    @staticmethod
    def _check(refusal: PublishRefused) -> None:
        if refusal.code not in PASSING:
            raise ChildFailed(f"the publisher was refused: {refusal}")
