"""The devices of inboxes, as the writer changes them: how far each has come, and who may be forgotten."""

from tidings.server.store.changes import Changes
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.pending import Pending
from tidings.server.store.requests import Attached, DevicesFull
from tidings.server.store.states import ChannelState, States


class Enrolment:
    """Enrols devices, and raises their positions. Each change goes into the changes of the group that asked."""

    def __init__(self, states: States, pending: Pending, *, most: int) -> None:
        """Take how many devices with a name an inbox may have."""
        self._states = states
        self._pending = pending
        self._most = most

    def attach(
        self, changes: Changes, state: ChannelState, device: str, *, first: int, now_ms: int, since_ms: int
    ) -> Attached | DevicesFull | StoreUnavailable:
        """See a device. `first` is the oldest offset kept; unseen since before `since_ms` counts as away."""
        known = state.devices.get(device)
        if known is not None:
            self._see(changes, state, device, known[0], now_ms)
            return Attached(state.position, first, known[0])
        foremost = state.foremost
        start = first - 1 if foremost is None else foremost
        if not device:
            # Of whoever gives no name, also who only looks: it takes an acknowledgement to be missed.
            return Attached(state.position, first, start)
        if not self._has_room(changes, state, since_ms):
            return DevicesFull(state.name, state.named)
        if self._pending.is_full:
            return StoreUnavailable("cannot store: too many new devices wait for the disk")
        # It should be on disk, so that a later one, which has more, is not taken for the first after a restart.
        changes.is_due = True
        self._note(changes, state, device, start, now_ms)
        return Attached(state.position, first, start)

    def acknowledge(
        self, changes: Changes, state: ChannelState, device: str, offset: int, *, now_ms: int, since_ms: int
    ) -> int | DevicesFull:
        """Raise a device's position, at most to the end, and return it."""
        known = state.devices.get(device)
        if known is None and device and not self._has_room(changes, state, since_ms):
            return DevicesFull(state.name, state.named)
        reached = max(0 if known is None else known[0], min(offset, state.offset))
        changes.is_due = True
        self._note(changes, state, device, reached, now_ms)
        return reached

    def detach(self, changes: Changes, state: ChannelState | None, device: str, now_ms: int) -> None:
        """Note when a device was there."""
        known = state.devices.get(device) if state is not None else None
        if state is not None and known is not None:
            self._see(changes, state, device, known[0], now_ms)

    def _see(
        self, changes: Changes, state: ChannelState, device: str, acknowledged: int, now_ms: int
    ) -> None:
        """Note when a device was there, unless the disk has been full for so long that this must be left out."""
        if not self._pending.is_full:
            self._note(changes, state, device, acknowledged, now_ms)

    def _note(
        self, changes: Changes, state: ChannelState, device: str, acknowledged: int, now_ms: int
    ) -> None:
        if not state.id:
            self._states.number(state)
            changes.channels[state.name] = state
        changes.note_device(state, device, acknowledged, now_ms)

    def _has_room(self, changes: Changes, state: ChannelState, since_ms: int) -> bool:
        """Make room for a new device, by forgetting those that were away for too long; whether there is some."""
        for name in [name for name, (_, seen_ms) in state.devices.items() if seen_ms < since_ms]:
            changes.forget_device(state, name)
        return state.named < self._most
