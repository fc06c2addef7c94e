"""The broker of channels that outlive the process: on disk before anybody gets it, then to the hub."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from tidings.protocol.positions import Position
from tidings.server.brokers.base import (
    IDEMPOTENCY_SECONDS,
    Attachment,
    BrokerUnavailable,
    Deliver,
    Device,
    Durability,
    History,
    IdempotencyConflict,
    Moved,
    Receipt,
    TooManyDevices,
)
from tidings.server.brokers.recent import body_digest
from tidings.server.policies import Policies
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.reading import read_history
from tidings.server.store.requests import (
    Acknowledge,
    Append,
    Appended,
    Attach,
    Attached,
    Clear,
    Detach,
    DevicesFull,
    KeyTaken,
    ListDevices,
    Open,
)
from tidings.server.store.store import Store


def _nowhere(_channel: str, _position: Position) -> None:
    """Nobody listens."""


class DurableBroker:
    """Publications go through the store's writer, in groups, and from there to the hub in the order of commits.

    What the store answers comes back in that order, too: so where a channel stands when `open` returns is where
    the last publication delivered to the hub stands.
    """

    def __init__(
        self,
        store: Store,
        policies: Policies,
        deliver: Deliver,
        moved: Moved = _nowhere,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take a store, which somebody else opens and runs, and the hub's callbacks.

        `clock`, in Unix seconds, says what is too old to be read.
        """
        self._store = store
        self._policies = policies
        self._deliver = deliver
        self._moved = moved
        self._clock = clock
        self._listened: dict[str, Position] = {}
        """Where each channel stands for this node's hub: everything up to there was delivered. 300 bytes each."""
        self._opening: dict[str, _Opening] = {}
        """Channels that calls are about to listen to. Apart, so that a call that is cancelled leaves nothing."""
        self._dropped = 0
        store.in_use = self._listened

    # --- publishing ----------------------------------------------------------------------------------

    async def publish(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> Receipt:
        """Commit a publication, with those that others publish meanwhile; the hub has it when this returns."""
        digest = body_digest(event, payload) if idempotency_key is not None else None
        append = Append(channel, event, payload, user_id, excluded_session, idempotency_key, digest)
        try:  # without `_unavailable`, which would be a tenth of all that the loop does for a publication
            result: Appended | KeyTaken = await self._store.submit(
                append, self._appended, size=len(payload)
            ).wait()
        except StoreUnavailable as error:
            raise BrokerUnavailable(str(error)) from error
        if isinstance(result, KeyTaken):
            raise IdempotencyConflict(f"{channel}: the idempotency key was used for another publication")
        return Receipt(result.position.epoch, result.position.offset, "disk", result.dropped)

    def _appended(self, result: Appended | KeyTaken) -> None:
        if isinstance(result, KeyTaken) or result.publication is None:
            return
        self._dropped += result.dropped + result.expired
        publication, position = result.publication, result.position
        channel = publication.channel
        heard = self._listened.get(channel)
        if heard is not None:
            if heard.epoch != position.epoch:
                self._moved(channel, Position(position.epoch, position.offset - 1))
            self._listened[channel] = position
        opening = self._opening.get(channel)
        if opening is not None and opening.position is not None:
            opening.position = position
        self._deliver(publication)

    def durability(self, channel: str) -> Durability:  # noqa: ARG002  everything is
        """Disk, whatever the channel."""
        return "disk"

    # --- listening -----------------------------------------------------------------------------------

    async def open(self, channel: str) -> Position:
        """Begin to listen; returns where the last publication delivered stands. Idempotent."""
        heard = self._listened.get(channel)
        if heard is not None:
            return heard
        with self._begin(channel) as opening, _unavailable():
            await self._store.do(Open(channel), opening.opened)
            return self._listen(channel, opening)

    def release(self, channel: str) -> None:
        """Stop listening."""
        self._listened.pop(channel, None)

    @contextmanager
    def _begin(self, channel: str) -> Iterator["_Opening"]:
        """Follow a channel, until the call either listens or has been given up."""
        opening = self._opening.setdefault(channel, _Opening())
        opening.callers += 1
        try:
            yield opening
        finally:
            opening.callers -= 1
            if not opening.callers:
                del self._opening[channel]

    def _listen(self, channel: str, opening: "_Opening") -> Position:
        # Of now, and not of when it was committed: what came since has been delivered. No await follows before
        # the caller has it.
        assert opening.position is not None
        position = self._listened[channel] = opening.position
        return position

    # --- history -------------------------------------------------------------------------------------

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """Read in a thread, beside the writer."""
        policy, now_ms = self._policies.of(channel), int(self._clock() * 1000)
        reading = partial(
            read_history,
            channel=channel,
            after=after,
            limit=limit,
            most_bytes=most_bytes,
            policy=policy,
            now_ms=now_ms,
        )
        with _unavailable():
            kept = await self._store.read(reading)
            if kept is None:
                position: Position = await self._store.do(Open(channel))
                if not position.offset:
                    return History(position, 1, [])
                # Its first publication came meanwhile. Forgotten channels are long silent, so that it is there.
                kept = await self._store.read(reading)
                if kept is None:
                    raise BrokerUnavailable(f"{channel}: it was forgotten just now")
        return History(*kept)

    async def clear(self, channel: str) -> Position:
        """Delete what is kept, as far as one transaction may; the rest is hidden, and deleted soon."""
        with _unavailable():
            position: Position = await self._store.do(Clear(channel))
        return position

    # --- inboxes -------------------------------------------------------------------------------------

    async def attach(self, channel: str, device: str) -> Attachment:
        """Begin to listen, and commit a new device with a name, if the disk takes it."""
        with self._begin(channel) as opening, _unavailable():
            result: Attached | DevicesFull = await self._store.do(Attach(channel, device), opening.attached)
            if isinstance(result, DevicesFull):
                raise _too_many(result)
            position = self._listen(channel, opening)
            # What came since may have pushed out the oldest.
            first = max(result.first, position.offset - self._policies.of(channel).history_size + 1)
            return Attachment(position, first, result.acknowledged)

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        """Commit a device's position."""
        with _unavailable():
            result: int | DevicesFull = await self._store.do(Acknowledge(channel, device, offset))
        if isinstance(result, DevicesFull):
            raise _too_many(result)
        return result

    def detach(self, channel: str, device: str) -> None:
        """Have it noted with the next group."""
        with suppress(StoreUnavailable):
            self._store.submit(Detach(channel, device))

    async def devices(self, channel: str) -> Sequence[Device]:
        """Ask the writer, who knows what is not on disk yet."""
        with _unavailable():
            found: list[tuple[str, int, int]] = await self._store.do(ListDevices(channel))
        return [Device(*device) for device in found]

    # --- figures -------------------------------------------------------------------------------------

    @property
    def forgotten_keys(self) -> int:
        """None: keys are rows, and the disk has room for them."""
        return 0

    @property
    def dropped_unacknowledged(self) -> int:
        """As the contract says, since this broker was made."""
        return self._dropped + self._store.expired


class _Opening:
    """Where a channel stands that callers are about to listen to, once the store has said so."""

    __slots__ = ("callers", "position")

    def __init__(self) -> None:
        self.callers = 0
        self.position: Position | None = None

    def opened(self, position: Position) -> None:
        """The store's answer, in the order of commits."""
        self.position = position

    def attached(self, result: Attached | DevicesFull) -> None:
        """As `opened`, for a device."""
        if isinstance(result, Attached):
            self.position = result.position


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise BrokerUnavailable(str(error)) from error


def _too_many(full: DevicesFull) -> TooManyDevices:
    return TooManyDevices(
        f"{full.channel}: {full.devices} devices are enrolled, as many as inbox.devices allows, and each was seen"
        " within inbox.device_age"
    )


@asynccontextmanager
async def open_durable(
    directory: Path,
    policies: Policies,
    deliver: Deliver,
    moved: Moved = _nowhere,
    *,
    store: Store | None = None,
) -> AsyncIterator[DurableBroker]:
    """Have a broker on a store of its own for the length of the block.

    Raises StoreRefused before it. `store`, where given, is run in place of one with the default limits.
    """
    if store is None:
        store = Store(directory, policies, key_seconds=IDEMPOTENCY_SECONDS)
    await store.prepare()
    broker = DurableBroker(store, policies, deliver, moved)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        try:
            yield broker
        finally:
            nursery.cancel_scope.cancel()
