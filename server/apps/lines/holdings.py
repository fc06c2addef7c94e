"""Which devices are here, and which accounts each holds: so who is online is decided.

An account is there while a device is that has reported it. What a device has said is done when its commit comes
back; by then it may have gone, or a newer connection of it may have taken its place.
"""

from collections.abc import Iterable, Sequence

from tidings.protocol.messages.lines import OFFLINE
from tidings.server.apps.lines.board import AccountState, Board, GroupState
from tidings.server.extension import CloseCode, Guest


class Device:
    """A device, as one connection of it."""

    __slots__ = ("group", "guest", "held", "is_gone", "key", "successor")

    def __init__(self, guest: Guest, group: GroupState) -> None:
        self.guest = guest
        self.group = group
        code = guest.identity.user_id
        # A name is the client's own, so it holds within its code.
        self.key = f"{code}/{guest.device}" if guest.device else guest.connection_id
        self.held: set[AccountState] = set()
        self.is_gone = False
        self.successor: Device | None = None
        """The newer connection that has taken its place."""

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

    def enter(self, guest: Guest, group: GroupState) -> Device:
        """A device is here; it takes the place, and what was held, of an older connection that it replaces."""
        device = Device(guest, group)
        others = self._codes.setdefault(guest.identity.user_id, set())
        replaced = [other for other in others if self._single or (guest.device and other.key == device.key)]
        for other in replaced:
            other.successor = device
            self._forget(other)
            for account in other.held:
                account.holders.discard(other)
                account.holders.add(device)
            device.held |= other.held
            other.held = set()
        # The set may have gone with the last of them.
        self._codes.setdefault(guest.identity.user_id, set()).add(device)
        self.devices[guest.connection_id] = device
        for other in replaced:
            other.guest.close(
                CloseCode.LOGGED_IN_ELSEWHERE, "another connection of this device has come in"
            )
        return device

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
        self, device: Device, statuses: Sequence[tuple[AccountState, str]], *, is_all: bool
    ) -> list[AccountState]:
        """A device has said what the status of accounts is; with `is_all` it holds no others any more."""
        device = device.current()
        changed = []
        for account, status in statuses:
            if device.is_gone:
                # As if it had said so and left: where nobody else is here who holds the account, nobody is there.
                status = status if account.holders else OFFLINE
            else:
                account.holders.add(device)
                device.held.add(account)
            if self._board.set_status(account, status):
                changed.append(account)
        if is_all and not device.is_gone:
            named = {account for account, _ in statuses}
            changed += self._let_go(device, [account for account in device.held if account not in named])
        return changed

    def _let_go(self, device: Device, accounts: Iterable[AccountState]) -> list[AccountState]:
        changed = []
        for account in accounts:
            device.held.discard(account)
            account.holders.discard(device)
            # While another device holds it, what that one last said stands.
            if not account.holders and self._board.set_status(account, OFFLINE):
                changed.append(account)
        return changed
