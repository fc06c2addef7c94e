"""The commands of devices and dashboards: each is judged, done, and answered as the document says."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.lines import (
    AccountStatus,
    AccountStatusUpdated,
    CustomerSync,
    CustomerSyncReceived,
    FollowUpSync,
    FollowUpSyncReceived,
    Heartbeat,
    HeartbeatAck,
    Incoming,
    IncomingAck,
    IncomingAcked,
    IncomingReceived,
    RefusedAccount,
    SyncedAccount,
    SyncLineAccounts,
    SyncResult,
)
from tidings.server.apps.lines.accounts import Account, Entry, Synced
from tidings.server.apps.lines.board import AccountState, GroupState
from tidings.server.apps.lines.customers import DETAILS_CHARS, DetailsTooLong
from tidings.server.apps.lines.holdings import Device
from tidings.server.apps.lines.ingest import Reported
from tidings.server.apps.lines.service import Lines, Replaced
from tidings.server.extension import App, Call
from tidings.server.extension.app import Reply
from tidings.server.extension.tables import StoreUnavailable

#: Of the further fields of one message, as JSON.
EXTRA_BYTES: Final = 16_384
#: The same of an incoming line, which every dashboard is sent.
INCOMING_BYTES: Final = 4_096

# Of as many one line in the log.
_SHOWN_NAMES: Final = 5

_PROCESSED: Final = "processed"

_log = structlog.get_logger("tidings.lines")


# Told to nobody: the connection is closed.
_REPLACED: Final = Refusal(ErrorCode.UNAVAILABLE, "another connection has taken this one's place")


class Refusing(Exception):
    """A command is refused. Stays in this module: it spares a check after each step."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, message)


def declare(app: App, lines: Lines) -> None:
    """Declare the commands of the line board."""
    _declare_accounts(app, lines)
    _declare_customers(app, lines)

    @app.command("heartbeat", Heartbeat)
    async def heartbeat(call: Call[Heartbeat]) -> Reply:
        return HeartbeatAck(call.data.activation_code)

    @app.command("incoming_ack", IncomingAck)
    async def incoming_ack(call: Call[IncomingAck]) -> Reply:
        show = lines.shows.of_connection(call.connection_id)
        if show is None:
            return Refusal(ErrorCode.FORBIDDEN, "incoming_ack: for dashboards")
        line_id = lines.shows.ack_of(show, call.data.id)
        if not line_id:
            return IncomingAcked(0)
        return IncomingAcked(await lines.acknowledge(call.identity.user_id, line_id))


def _declare_accounts(app: App, lines: Lines) -> None:
    """What devices say of accounts, and of who writes to them."""

    @app.command("sync_line_accounts", SyncLineAccounts)
    async def sync_line_accounts(call: Call[SyncLineAccounts]) -> Reply:
        try:
            device = _device(lines, call)
        except Refusing as refusing:
            return refusing.refusal
        said = call.data.accounts
        if len(said) > lines.settings.accounts:
            message = f"data: {len(said)} accounts: at most {lines.settings.accounts} (lines.accounts)"
            return Refusal(ErrorCode.TOO_LARGE, message)
        entries = [
            (Entry(each.name, each.display_name, each.platform), each.online_status) for each in said
        ]
        wrong = call.data.wrong
        besides = {each.line_account_id for each in wrong}
        try:
            synced = await lines.sync(device, entries, besides=besides)
        except Replaced:
            return _REPLACED
        return _sync_result(lines, device, synced, wrong)

    @app.command("incoming", Incoming, open_fields=True)
    async def incoming(call: Call[Incoming]) -> Reply:
        (reply,) = await many_incoming([call])
        return reply

    @app.many("incoming")
    async def many_incoming(calls: Sequence[Call[Incoming]]) -> Sequence[Reply]:
        reported: list[Reported | Refusal] = []
        for call in calls:
            try:
                device = _device(lines, call)
                reported.append(_reported(lines, device, call))
            except Refusing as refusing:
                reported.append(refusing.refusal)
        good = [line for line in reported if isinstance(line, Reported)]
        if good:
            try:
                await lines.add_incoming(_device(lines, calls[0]), good)
            except (Replaced, Refusing):
                return [_REPLACED] * len(calls)
        return [line if isinstance(line, Refusal) else _received(line) for line in reported]

    @app.command("account_status_change", AccountStatus)
    async def account_status_change(call: Call[AccountStatus]) -> Reply:
        said = call.data
        try:
            device = _device(lines, call)
            account = _account(lines, device, said.line_account_id)
        except Refusing as refusing:
            return refusing.refusal
        try:
            await lines.set_status(device, account, said.online_status)
        except Replaced:
            return _REPLACED
        return AccountStatusUpdated(account.name, said.online_status, "updated")


def _declare_customers(app: App, lines: Lines) -> None:
    """What devices say of customers."""

    @app.command("customer_sync", CustomerSync, open_fields=True)
    async def customer_sync(call: Call[CustomerSync]) -> Reply:
        said = call.data
        try:
            device = _device(lines, call)
            account = None
            if said.line_account_id is not None:
                account = _account(lines, device, said.line_account_id)
            row = await lines.sync_customer(
                device.group,
                customer_id=str(said.customer_id),
                account_id=None if account is None else account.id,
                details=_json(call.extra) or "{}",
            )
        except Refusing as refusing:
            return refusing.refusal
        except DetailsTooLong:
            return _too_long("customer")
        return CustomerSyncReceived(str(said.customer_id), row, _PROCESSED)

    @app.command("follow_up_sync", FollowUpSync, open_fields=True)
    async def follow_up_sync(call: Call[FollowUpSync]) -> Reply:
        said = call.data
        customer_id = str(said.customer_id)
        try:
            row = await lines.sync_follow_up(
                _device(lines, call).group,
                customer_id=customer_id,
                client_id=None if said.id is None else str(said.id),
                content=said.content,
                details=_json(call.extra) or "{}",
            )
        except Refusing as refusing:
            return refusing.refusal
        except DetailsTooLong:
            return _too_long("record")
        if row is None:
            message = (
                f"customer_id: no customer {_shown(customer_id)} in this group: send customer_sync first"
            )
            return Refusal(ErrorCode.NOT_FOUND, message)
        return FollowUpSyncReceived(customer_id, row, _PROCESSED)


def _device(lines: Lines, call: Call[Any]) -> Device:
    """The device that has sent a command. Raises Refusing."""
    device = lines.holdings.devices.get(call.connection_id)
    if device is None:
        raise Refusing(ErrorCode.FORBIDDEN, "for devices, which come in by an activation code")
    return device


def _account(lines: Lines, device: Device, said: str | int) -> AccountState:
    """An account of the device's group. Raises Refusing."""
    name = str(said)
    account = lines.board.accounts.get(name)
    if account is None:
        message = f"line_account_id: no account {_shown(name)} in this group: send sync_line_accounts first"
        raise Refusing(ErrorCode.NOT_FOUND, message)
    if account.group is not device.group:
        _log_foreign(device.group, account)
        raise Refusing(ErrorCode.FORBIDDEN, f"line_account_id: {_shown(name)} is another group's account")
    return account


def _log_foreign(group: GroupState, *accounts: AccountState) -> None:
    _log.warning(
        "refused what a device says of another group's account",
        group=group.id,
        accounts=[account.name for account in accounts[:_SHOWN_NAMES]],
        count=len(accounts),
        of_groups=sorted({account.group.id for account in accounts})[:_SHOWN_NAMES],
    )


def _sync_result(
    lines: Lines, device: Device, synced: Synced, wrong: Sequence[RefusedAccount]
) -> SyncResult:
    refused = list(wrong)
    refused += [RefusedAccount(name, "another group's account") for name in synced.foreign]
    if synced.foreign:
        _log_foreign(device.group, *(lines.board.accounts[name] for name in synced.foreign))
    full = f"the group has {lines.settings.accounts} accounts, as many as it may (lines.accounts)"
    refused += [RefusedAccount(name, full) for name in synced.over]
    own = [*synced.created, *synced.updated]
    return SyncResult(
        success=not refused,
        created_count=len(synced.created),
        updated_count=len(synced.updated),
        accounts=[_synced(lines, account) for account in own],
        refused=refused,
    )


def _synced(lines: Lines, account: Account) -> SyncedAccount:
    name = account.line_account_id
    return SyncedAccount(account.id, name, lines.board.accounts[name].status)


def _reported(lines: Lines, device: Device, call: Call[Incoming]) -> Reported:
    said = call.data
    return Reported(
        _account(lines, device, said.line_account_id),
        str(said.incoming_line_id),
        message_id=None if said.id is None else str(said.id),
        client_time=None if said.timestamp is None else str(said.timestamp),
        details=_json(call.extra, INCOMING_BYTES),
        extra=call.extra,
    )


def _received(line: Reported) -> Reply:
    if isinstance(line.error, StoreUnavailable):
        return Refusal(ErrorCode.UNAVAILABLE, "the database does not answer: try again soon")
    if line.result is None:
        return Refusal(ErrorCode.INTERNAL, "the server failed to keep this line; it was not your fault")
    if line.result.is_other:
        message = (
            f"id: {_shown(line.message_id or '')} is another customer's message: give each one its own"
        )
        return Refusal(ErrorCode.CONFLICT, message)
    return IncomingReceived(line.account.name, line.name, _PROCESSED, line.result.is_duplicate)


def _json(extra: Mapping[str, object], most: int = EXTRA_BYTES) -> str | None:
    """Further fields as JSON; None where there are none. Raises Refusing."""
    if not extra:
        return None
    encoded = msgspec.json.encode(extra)
    if len(encoded) > most:
        message = f"data: the further fields have {len(encoded)} bytes: at most {most}"
        raise Refusing(ErrorCode.TOO_LARGE, message)
    return encoded.decode()


def _too_long(what: str) -> Refusal:
    message = (
        f"data: with these fields the {what} would have over {DETAILS_CHARS} characters: say less of it"
    )
    return Refusal(ErrorCode.TOO_LARGE, message)


def _shown(name: str) -> str:
    return repr(name if len(name) <= 64 else name[:64] + "…")
