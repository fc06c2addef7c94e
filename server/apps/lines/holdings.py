"""Which devices are here, and which accounts each holds: so who is online is decided.

An account is as the device says that has spoken of it last, of those that are here and hold it. What a device has
said is done when its commit comes back; by then it may have gone, or a newer connection have taken its place.
"""

from collections.abc import Collection, Iterable, Sequence

from tidings.protocol.messages.lines import OFFLINE
from tidings.server.apps.lines.board import AccountState, Board, GroupState
from tidings.server.extension import CloseCode, Guest, Identity


class Device:
    """A device, as one connection of it."""

    __slots__ = ("group", "guest", "held", "is_gone", "successor")

    def __init__(self, guest: Guest, group: GroupState) -> None:
        self.guest = guest
        self.group = group
        self.held: dict[AccountState, None] = {}
        """In the order in which it has reported them."""
        self.is_gone = False
        self.successor: Device | None = None
        """The newer connection that has taken its place."""

    @property
    def is_current(self) -> bool:
        """Whether it is here, and no newer connection has taken its place."""
        return not self.is_gone and self.successor is None

    def current(self) -> "Device":
        """The newest connection of it."""
        device = self
        while device.successor is not None:
            device = device.successor
        return device


class Holdings:
    """The devices of one server. Methods return the accounts whose status they have changed."""

    def __init__(self, board: Board, *, single: bool) -> None:
        """Take the board, and whether a code serves a single device."""
        self._board = board
        self._single = single
        self.devices: dict[str, Device] = {}
        """By connection."""
        self._codes: dict[str, set[Device]] = {}
        """By the user id that stands for a code."""

    def replaced(self, identity: Identity, device: str) -> list[Device]:
        """The connections whose place a new one takes that calls its device so, or (empty) nothing."""
        others = self._codes.get(identity.user_id, ())
        return [each for each in others if self._single or (device and each.guest.device == device)]

    def enter(self, guest: Guest, group: GroupState) -> tuple[Device, list[AccountState]]:
        """A device is here, in the place of older connections of it: what they held is its own now.

        With a single device a code, another one is sent away for it, which leaves what it held to nobody.
        """
        device = Device(guest, group)
        replaced = self.replaced(guest.identity, guest.device)
        changed: list[AccountState] = []
        for other in replaced:
            self._forget(other)
            if other.guest.device == guest.device:
                other.successor = device
                for account in other.held:
                    # In the same place: whose word is the last stays so, since nobody has said anything.
                    account.holders = {
                        device if each is other else each: said for each, said in account.holders.items()
                    }
                device.held |= other.held
                other.held = {}
            else:
                other.is_gone = True
                changed += self._let_go(other, list(other.held))
        self._codes.setdefault(guest.identity.user_id, set()).add(device)
        self.devices[guest.connection_id] = device
        for other in replaced:
            other.guest.close(CloseCode.LOGGED_IN_ELSEWHERE, "another connection has taken its place")
        return device, changed

    def leave(self, guest: Guest) -> list[AccountState]:
        """A device has gone: what it held is held by nobody, unless others do."""
        device = self.devices.get(guest.connection_id)
        if device is None:
            return []
        self._forget(device)
        device.is_gone = True
        return self._let_go(device, list(device.held))

    def _forget(self, device: Device) -> None:
        del self.devices[device.guest.connection_id]
        code = device.guest.identity.user_id
        others = self._codes[code]
        others.discard(device)
        if not others:
            del self._codes[code]

    def reported(
        self,
        device: Device,
        statuses: Sequence[tuple[AccountState, str]],
        *,
        is_all: bool,
        besides: Collection[str] = (),
    ) -> list[AccountState]:
        """A device has said what the status of accounts is; with `is_all` it holds no others but some `besides`.

        Of one that has gone it is as if it had said so and left: what those who are here have said stands.
        """
        device = device.current()
        if device.is_gone:
            return []
        changed = []
        for account, status in statuses:
            account.holders.pop(device, None)
            account.holders[device] = status
            device.held[account] = None
            if self._board.set_status(account, status):
                changed.append(account)
        if is_all:
            named = {account for account, _ in statuses}
            others = [each for each in device.held if each not in named and each.name not in besides]
            changed += self._let_go(device, others)
        return changed

    def _let_go(self, device: Device, accounts: Iterable[AccountState]) -> list[AccountState]:
        changed = []
        for account in accounts:
            device.held.pop(account, None)
            account.holders.pop(device, None)
            # The last word of those who are still here; without any nobody is there.
            status = next(reversed(account.holders.values()), OFFLINE)
            if self._board.set_status(account, status):
                changed.append(account)
        return changed
