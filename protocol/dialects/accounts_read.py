"""A list of accounts some of which are wrong: the good ones, and what is wrong with each of the others.

An account that is passed over without a word would be taken for one that the device no longer holds, and go
offline. So one whose id cannot be read is worth the refusal of all.
"""

from typing import Final

import msgspec

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import lines
from tidings.protocol.messages.fields import explain

#: How many are read one by one, some 4 us each (8 where they are wrong).
_MOST: Final = 10_000
#: Each account but the first has one before it, and one between two of its fields. Without this bound 4 MiB of
#: `1,1,1` were two million entries, only to be counted.
_MOST_COMMAS: Final = 20 * _MOST


class _Account(msgspec.Struct, frozen=True):
    """`LineAccount`, with null for what it may leave out."""

    line_account_id: lines.ClientId | None = None
    line_id: lines.ClientId | None = None
    online_status: lines.OnlineStatus | None = None
    display_name: lines.ShortText | None = None
    platform: lines.ShortText | None = None


class _Id(msgspec.Struct, frozen=True):
    line_account_id: lines.ClientId | None = None


class _OtherId(msgspec.Struct, frozen=True):
    line_id: lines.ClientId | None = None


# What msgspec says of an account, and of one that has no id.
_READING_ERRORS: Final = (msgspec.MsgspecError, ValueError)

_divide: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read: Final = msgspec.json.Decoder(_Account).decode
_read_id: Final = msgspec.json.Decoder(_Id).decode
_read_other_id: Final = msgspec.json.Decoder(_OtherId).decode


def mended(data: msgspec.Raw) -> lines.SyncLineAccounts | Refusal | None:
    """What there is of the accounts; None where that is not worth a look at each."""
    if bytes(data).count(b",") >= _MOST_COMMAS:
        return None
    try:
        entries = _divide(data)
    except msgspec.ValidationError:
        return None
    if len(entries) > _MOST:
        return None
    accounts, wrong = [], []
    # Ten thousand are mostly wrong in the same way.
    told: dict[str, str] = {}
    for at, entry in enumerate(entries):
        try:
            accounts.append(_account(_read(entry)))
        except _READING_ERRORS as error:
            name = _name(entry)
            if name is None:
                return Refusal(ErrorCode.INVALID_DATA, explain(error, f".data[{at}]"))
            said = str(error)
            if said not in told:
                told[said] = explain(error)
            wrong.append(lines.RefusedAccount(name, told[said]))
    return lines.SyncLineAccounts(accounts, wrong)


def _account(said: _Account) -> lines.LineAccount:
    # Neither an empty status nor a null is one.
    status = said.online_status or lines.ONLINE
    return lines.LineAccount(
        said.line_account_id, said.line_id, status, said.display_name or "", said.platform or ""
    )


def _name(entry: msgspec.Raw) -> str | None:
    """The id of a wrong account, by the name that counts first."""
    try:
        name = _read_id(entry).line_account_id
        if name is None:
            name = _read_other_id(entry).line_id
    except msgspec.MsgspecError:
        return None
    return None if name is None else str(name)
