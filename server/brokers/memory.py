"""The broker of a single process: everything in memory, delivery by a function call."""

import itertools
import secrets
import time
from collections.abc import Callable, Sequence

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import (
    Attachment,
    Deliver,
    Device,
    Durability,
    History,
    Member,
    Moved,
    NodeMessage,
    Receipt,
)
from tidings.server.brokers.devices import Devices
from tidings.server.brokers.memory_history import Channel, Histories
from tidings.server.brokers.memory_idle import IdleChannels
from tidings.server.brokers.recent import RecentKeys
from tidings.server.config.channels import History as HistoryConfig
from tidings.server.config.channels import Inbox as InboxConfig
from tidings.server.policies import Policies

# A channel that nobody listens to keeps its state for a while: its offset, so that a publisher sees it
# rise, its history, and its devices. Past this many the longest unused is forgotten, those that keep
# something last, and first those that nobody ever published to; its next publication begins a new epoch,
# which is what an epoch is for. Inboxes that keep something are counted apart, up to as many. About 400 bytes
# each, beside what `memory_bytes` bounds.
IDLE_CHANNELS = 10_000


# Two lives of one channel must not share an epoch: 48 random bits tell processes apart, a number the lives
# in one, without asking the system for randomness at every new channel.
_RUN = secrets.token_urlsafe(6)
_lives = itertools.count(1)


class MemoryBroker:
    """Publications reach the hub within `publish`, in the publisher's own step.

    Nothing yields: a task that handles a burst of commands publishes them all in one tick, and the hub
    sends them together. Nothing raises BrokerUnavailable, and no channel that somebody listens to ever
    begins a new epoch.
    """

    def __init__(
        self,
        deliver: Deliver,
        *,
        policies: Policies | None = None,
        moved: Moved | None = None,  # noqa: ARG002 - part of how a broker is made; see above
        told: NodeMessage | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        idle_channels: int = IDLE_CHANNELS,
        memory_bytes: int = HistoryConfig().memory_bytes,
        devices: int = InboxConfig().devices,
        device_age: float = InboxConfig().device_age,
    ) -> None:
        """Take the hub's callbacks and the wall clock that stamps publications (Unix seconds).

        `policies` say what each channel keeps, `memory_bytes` what all together may. An inbox has at most
        so many `devices` with a name; those not seen for `device_age` seconds make room. `told` takes the
        messages of nodes, which are this one's own. `monotonic`, in seconds, measures how long an idempotency
        key is kept.
        """
        self._deliver = deliver
        self._told = told
        self._policies = policies or Policies()
        self._clock = clock
        self._most_devices = devices
        self._device_age_ms = int(device_age * 1000)
        self._listened: dict[str, Channel] = {}
        self._idle = IdleChannels(idle_channels)
        self._histories = Histories(memory_bytes, emptied=self._idle.emptied)
        self._keys = RecentKeys(monotonic)
        # Who is there, by channel and user id. About 250 bytes each.
        self._present: dict[str, dict[str, Member]] = {}

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
        """Number the publication, keep it and deliver it; a known key's publication is there already."""
        if idempotency_key is not None:
            known = self._keys.find(channel, idempotency_key, event, payload)
            if known is not None:
                return known
        state = self._listened.get(channel)
        is_idle = state is None
        if state is None:
            state = self._rested(channel)
        state.offset = offset = state.offset + 1
        publication = Publication(
            channel,
            event,
            payload,
            offset,
            state.epoch,
            int(self._clock() * 1000),
            user_id,
            excluded_session,
        )
        # Kept before it is delivered: what the hub has had is in the history.
        dropped = self._histories.keep(state, publication) if state.size else 0
        if is_idle:
            self._rest(state)
        self._deliver(publication)
        receipt = Receipt(state.epoch, offset, "memory", dropped)
        if idempotency_key is not None:
            self._keys.add(channel, idempotency_key, event, payload, receipt)
        return receipt

    async def announce(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        excluded_session: str | None = None,
    ) -> None:
        """Deliver it and forget it."""
        now_ms = int(self._clock() * 1000)
        self._deliver(Publication(channel, event, payload, 0, "", now_ms, user_id, excluded_session))

    def durability(self, channel: str) -> Durability:  # noqa: ARG002 - the same for each
        """Nothing here outlives the process."""
        return "memory"

    # --- listening -----------------------------------------------------------------------------------

    async def open(self, channel: str) -> Position:
        """Begin to listen; the channel keeps its state for as long."""
        state = self._opened(channel)
        return Position(state.epoch, state.offset)

    def release(self, channel: str) -> None:
        """Stop listening; the channel's state may now be forgotten."""
        state = self._listened.pop(channel, None)
        if state is not None:
            self._rest(state)

    # --- history -------------------------------------------------------------------------------------

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """Read what is kept and not too old."""
        state = self._known(channel)
        self._histories.trim(state, int(self._clock() * 1000))
        position = Position(state.epoch, state.offset)
        return History(position, state.first, state.page(after, limit, most_bytes))

    async def clear(self, channel: str) -> Position:
        """Forget the history; position and devices stay."""
        state = self._known(channel)
        self._histories.clear(state)
        return Position(state.epoch, state.offset)

    # --- inboxes -------------------------------------------------------------------------------------

    async def attach(self, channel: str, device: str) -> Attachment:
        """Do as `open`, for a device. Raises TooManyDevices; then nobody listens who did not before."""
        now_ms = int(self._clock() * 1000)
        state = self._known(channel)
        self._histories.trim(state, now_ms)
        devices = self._devices(state)
        acknowledged = devices.attach(device, first=state.first, now_ms=now_ms)
        state.acknowledged = devices.acknowledged_by_all
        self._idle.take(channel)
        self._listened[channel] = state
        return Attachment(Position(state.epoch, state.offset), state.first, acknowledged)

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        """Raise the device's position. What all have acknowledged is kept on, within the limits."""
        state = self._known(channel)
        devices = self._devices(state)
        now_ms = int(self._clock() * 1000)
        reached = devices.acknowledge(device, offset, head=state.offset, now_ms=now_ms)
        state.acknowledged = devices.acknowledged_by_all
        if channel not in self._listened:
            self._idle.take(channel)
            self._rest(state)  # among those that keep something
        return reached

    def detach(self, channel: str, device: str) -> None:
        """Note when the device was last seen."""
        state = self._listened.get(channel) or self._idle.find(channel)
        if state is not None and state.devices is not None:
            state.devices.seen(device, int(self._clock() * 1000))

    async def devices(self, channel: str) -> Sequence[Device]:
        """The devices of an inbox, by name."""
        state = self._listened.get(channel) or self._idle.find(channel)
        return [] if state is None or state.devices is None else state.devices.listed()

    # --- presence and nodes: there is one node -------------------------------------------------------

    async def enter(self, channel: str, member: Member) -> bool:
        """Note somebody; the newest name counts."""
        present = self._present.setdefault(channel, {})
        is_first = member.user_id not in present
        present[member.user_id] = member
        return is_first

    async def leave(self, channel: str, user_id: str) -> bool:
        """Forget somebody. There is no other node that could have them."""
        present = self._present.get(channel, {})
        present.pop(user_id, None)
        if not present:
            self._present.pop(channel, None)
        return True

    async def presence(self, channel: str) -> Sequence[Member]:
        """Who is present, by user id."""
        return [member for _, member in sorted(self._present.get(channel, {}).items())]

    async def tell_nodes(self, message: bytes) -> None:
        """Hand the message back, in the sender's own step."""
        if self._told is not None:
            self._told(_RUN, message)

    # --- figures -------------------------------------------------------------------------------------

    @property
    def forgotten_keys(self) -> int:
        """How many idempotency keys were forgotten before their time, for want of room."""
        return self._keys.forgotten

    @property
    def dropped_unacknowledged(self) -> int:
        """How many publications left an inbox before all its devices had acknowledged them."""
        return self._histories.dropped

    @property
    def history_bytes(self) -> int:
        """What all histories hold."""
        return self._histories.bytes

    # --- states --------------------------------------------------------------------------------------

    def _opened(self, channel: str) -> Channel:
        state = self._listened.get(channel)
        if state is None:
            state = self._listened[channel] = self._rested(channel)
        return state

    def _known(self, channel: str) -> Channel:
        """The state of a channel, listened to or not; asking counts as use."""
        state = self._listened.get(channel)
        if state is None:
            state = self._rested(channel)
            self._rest(state)
        return state

    def _rested(self, channel: str) -> Channel:
        """Take the state of a channel that nobody listens to, or make it."""
        state = self._idle.take(channel)
        if state is None:
            epoch = f"{_RUN}.{next(_lives):x}"
            policies = self._policies
            state = Channel(channel, epoch, policies.of(channel), is_inbox=policies.is_inbox(channel))
        return state

    def _rest(self, state: Channel) -> None:
        forgotten = self._idle.put(state)
        if forgotten is not None:
            self._histories.forget(forgotten)

    def _devices(self, state: Channel) -> Devices:
        if state.devices is None:
            state.devices = Devices(state.name, most=self._most_devices, age_ms=self._device_age_ms)
        return state.devices
