"""Who comes in to the line board: devices by their group's activation code, dashboards by their user's token."""

from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.lines import AuthSuccess, BoardConnected
from tidings.server.apps.lines.board import GroupState
from tidings.server.apps.lines.service import Lines, device_id
from tidings.server.extension import Guest, Identity
from tidings.server.http import Request
from tidings.server.identity import NO_END
from tidings.server.limits import Rates, network_of

DEVICES: Final = "line_board_device"
DASHBOARDS: Final = "line_board"

# Of addresses that have sent a wrong one. Some 450 bytes each.
_MOST_ADDRESSES: Final = 10_000

_EXPECTED: Final = (
    "activation_code: say it in the first message, in the query (?activation_code=), or in the header"
    " X-Activation-Code"
)
_UNKNOWN: Final = "activation_code: unknown or disabled: ask an administrator for the group's"

_log = structlog.get_logger("tidings.lines")


class DeviceDoor:
    """Lets in whoever has a group's active code. It stands in no log, and in no text that is answered."""

    expects = _EXPECTED

    def __init__(self, lines: Lines) -> None:
        """Take the line board, open before the first device comes."""
        self._lines = lines
        settings = lines.settings
        self.silence_seconds: float | None = settings.device_timeout
        self.message_bytes: int | None = settings.message_bytes
        self._wrong: Rates[str] = Rates(
            settings.wrong_codes / 60, settings.wrong_codes, most=_MOST_ADDRESSES
        )

    def identify(self, request: Request) -> Identity | Refusal | None:
        """By the header, or the query."""
        # An empty one is none: it may still come with a message.
        said = (request.text(b"x-activation-code"), request.query("activation_code"), request.query("code"))
        code = next(filter(None, said), None)
        return None if code is None else self.recognize(code, request.peer)

    def recognize(self, credential: str, peer: str) -> Identity | Refusal:
        """The group's device; where too many wrong codes came from an address, nobody from there for a while."""
        # Also with the right one: else who guesses would be told it by not being refused.
        network = network_of(peer)
        wait = self._wrong.wait(network)
        if not wait:
            group = self._lines.codes.get(credential)
            if group is not None:
                return _identity(group)
            # Programs with a code of before come again and again by themselves, and guess nothing: their whole
            # office must not be kept out for it.
            if credential not in self._lines.old_codes:
                self._wrong.spend(network)
            _log.warning("unknown activation code", peer=peer)
            return Refusal(ErrorCode.UNAUTHORIZED, _UNKNOWN)
        message = "activation_code: too many wrong ones came from this address"
        return Refusal(ErrorCode.RATE_LIMITED, message, retry_after=wait)

    def check(self, identity: Identity, credential: str) -> Refusal | None:
        """A connection is one code's."""
        group = self._lines.codes.get(credential)
        if group is not None and device_id(group.record) == identity.user_id:
            return None
        return Refusal(
            ErrorCode.FORBIDDEN,
            "activation_code: not this connection's: connect anew to come in by another one",
        )

    def admit(self, identity: Identity) -> Refusal | None:
        """While its code is active."""
        return None if self._group(identity) is not None else Refusal(ErrorCode.FORBIDDEN, _UNKNOWN)

    def replaces(self, identity: Identity, device: str) -> int:
        """The older connections of the device."""
        return len(self._lines.holdings.replaced(identity, device))

    def channels(self, identity: Identity) -> Sequence[str]:  # noqa: ARG002
        """None: a device is only answered."""
        return ()

    def entered(self, guest: Guest) -> msgspec.Struct:
        """It is here, and holds nothing yet."""
        group = self._group(guest.identity)
        assert group is not None  # admitted in the same step
        assert group.record.code is not None
        _, changed = self._lines.holdings.enter(guest, group)
        self._lines.status_changed(changed)
        _log.info(
            "device in",
            connection=guest.connection_id,
            group=group.id,
            device=guest.device or None,
            devices=len(self._lines.holdings.devices),
        )
        return AuthSuccess(group.id, group.record.code)

    def left(self, guest: Guest) -> None:
        """What nobody else holds is offline."""
        changed = self._lines.holdings.leave(guest)
        self._lines.status_changed(changed)
        _log.info(
            "device out",
            connection=guest.connection_id,
            offline=len(changed),
            devices=len(self._lines.holdings.devices),
        )

    def _group(self, identity: Identity) -> GroupState | None:
        """The group whose active code somebody came in by."""
        group_id = identity.user_id.removeprefix("device:").partition(".")[0]
        group = self._lines.board.groups.get(int(group_id)) if group_id.isdecimal() else None
        if group is None or group.record.code is None or device_id(group.record) != identity.user_id:
            return None
        return group


class DashboardDoor:
    """Lets in the users of groups, by the group that their token names, and administrators, who watch all."""

    expects = "a token: Authorization: Bearer, or ?token="
    silence_seconds: float | None = None
    message_bytes: int | None = None

    def __init__(self, lines: Lines) -> None:
        """Take the line board, open before the first dashboard comes."""
        self._lines = lines

    def identify(self, request: Request) -> Identity | Refusal | None:  # noqa: ARG002
        """Not asked: a dashboard has a token."""
        return None

    def recognize(self, credential: str, peer: str) -> Identity | Refusal:  # noqa: ARG002
        """Not asked either."""
        return Refusal(ErrorCode.UNAUTHORIZED, self.expects)

    def check(self, identity: Identity, credential: str) -> Refusal | None:  # noqa: ARG002
        """A heartbeat of the document bears a code; that of a dashboard means nothing."""
        return None

    def admit(self, identity: Identity) -> Refusal | None:
        """Of a group that there is."""
        if identity.is_admin or self._group(identity) is not None:
            return None
        if identity.group_id is None:
            return Refusal(
                ErrorCode.FORBIDDEN, "the token names no group (group_id), and is no administrator's"
            )
        return Refusal(
            ErrorCode.FORBIDDEN, f"the token's group {identity.group_id} is none of the line board's"
        )

    def replaces(self, identity: Identity, device: str) -> int:  # noqa: ARG002
        """None."""
        return 0

    def channels(self, identity: Identity) -> Sequence[str]:  # noqa: ARG002
        """None yet: first it is sent what it has missed."""
        return ()

    def entered(self, guest: Guest) -> msgspec.Struct:
        """It is greeted, then shown everything."""
        identity = guest.identity
        group = None if identity.is_admin else self._group(identity)
        self._lines.shows.entered(guest, group)
        return BoardConnected(identity.user_id, None if group is None else group.id)

    def left(self, guest: Guest) -> None:
        """It is shown nothing any more."""
        self._lines.shows.left(guest)

    def _group(self, identity: Identity) -> GroupState | None:
        group_id = identity.group_id
        # Exactly as we write it: `01` is the channel of another group.
        if group_id is None or not group_id.isdecimal() or str(int(group_id)) != group_id:
            return None
        return self._lines.board.groups.get(int(group_id))


def _identity(group: GroupState) -> Identity:
    return Identity(device_id(group.record), group.record.name, expires_at=NO_END, kind="device")
