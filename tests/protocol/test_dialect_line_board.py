"""The line board's dialects: their messages are those of document S3, both ways."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.dialects import BOARD

from tidings.protocol.dialects.base import Batch, Command
from tidings.protocol.dialects.line_board import LineBoardDialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers, lines
from tidings.protocol.publications import Publication

DEVICE = LineBoardDialect(devices=True)
DASHBOARD = LineBoardDialect(devices=False)
BOTH = [DEVICE, DASHBOARD]
# The document's own timestamp, and as late in its second as can be.
TIME_MS = 1_234_567_890_999

# The document's messages from the server to the letter, but that its `...` are filled in.
ACK = (
    '{"type":"heartbeat_ack","activation_code":"HG66OP88","timestamp":1234567890,'
    '"data":{"status":"ok","message":"心跳正常"}}'
)
AUTH = (
    '{"type":"auth_success","data":{"group_id":1,"activation_code":"HG66OP88",'
    '"message":"认证成功，请同步Line账号列表"}}'
)
CONNECTED = '{"type":"connected","data":{"user_id":1,"group_id":1,"message":"WebSocket连接成功"}}'
SYNCED = (
    '{"type":"sync_result","data":{"success":true,"created_count":1,"updated_count":2,'
    '"accounts":[{"id":7,"line_account_id":"line_account_123","online_status":"online"}]}}'
)
RECEIVED = (
    '{"type":"incoming_received","data":{"line_account_id":"line_account_123",'
    '"incoming_line_id":"U1","status":"processed"}}'
)
CUSTOMER = (
    '{"type":"customer_sync_received","data":{"customer_id":"c1","customer_db_id":1,"status":"processed"}}'
)
FOLLOW_UP = (
    '{"type":"follow_up_sync_received","data":{"customer_id":"c1","follow_up_id":1,"status":"processed"}}'
)
UPDATED = (
    '{"type":"account_status_updated","data":{"line_account_id":"line_account_123",'
    '"online_status":"online","status":"updated"}}'
)
CHANGED = (
    '{"type":"account_status_change","data":{"line_account_id":"line_account_123",'
    '"online_status":"online","group_id":1,"timestamp":1234567890}}'
)
GROUP = (
    '{"type":"group_stats_update","data":{"activation_code":"HG66OP88","total_accounts":10,'
    '"online_accounts":8,"total_incoming":100,"today_incoming":50,"duplicate_incoming":20,'
    '"today_duplicate":5,"timestamp":1234567890}}'
)
ACCOUNT = (
    '{"type":"account_stats_update","data":{"line_id":"line_account_123","total_incoming":50,'
    '"today_incoming":25,"duplicate_incoming":10,"today_duplicate":3,"timestamp":1234567890}}'
)
ERROR = '{"type":"error","error":"错误描述信息"}'
# Ours: the document names this update, and shows no message of it.
INCOMING = (
    '{"type":"incoming","data":{"id":7,"line_account_id":"line_account_123","incoming_line_id":"U1",'
    '"group_id":1,"duplicate":false,"timestamp":1234567890},"timestamp":1234567890}'
)


def named(parameter: object) -> str | None:
    """What a parametrized test is called by; None for pytest's own choice."""
    return parameter.name if isinstance(parameter, LineBoardDialect) else None


def alone(dialect: LineBoardDialect, message: str) -> Command | Refusal:
    """What a message decodes to that is no array."""
    result = dialect.decode(message)
    assert not isinstance(result, Batch)
    return result


def answered(dialect: LineBoardDialect, kind: str, data: msgspec.Struct) -> str | None:
    """An answer as it goes out."""
    message = dialect.encode_answer(kind, data, TIME_MS, "c1")
    return None if message is None else message.decode()


def published(dialect: LineBoardDialect, event: str, payload: object) -> str | None:
    """A publication as it goes out."""
    publication = Publication("group:1", event, msgspec.json.encode(payload), 7, "e.1", TIME_MS, "7")
    message = dialect.encode_publication(publication)
    return None if message is None else message.decode()


# --- to the server -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind", "data", "extra"),
    [
        (
            '{"type":"heartbeat","activation_code":"HG66OP88","timestamp":1234567890}',
            "heartbeat",
            lines.Heartbeat("HG66OP88"),
            {},
        ),
        (
            (
                '{"type":"sync_line_accounts","activation_code":"HG66OP88","data":[{"line_account_id":"a"},'
                '{"line_id":5,"online_status":"offline","display_name":"客服","platform":"line","x":1}]}'
            ),
            "sync_line_accounts",
            lines.SyncLineAccounts(
                [lines.LineAccount("a"), lines.LineAccount(None, 5, "offline", "客服", "line")]
            ),
            {},
        ),
        (
            '{"type":"sync_line_accounts","activation_code":"HG66OP88","data":[]}',
            "sync_line_accounts",
            lines.SyncLineAccounts([]),
            {},
        ),
        (
            (
                '{"type":"incoming","activation_code":"HG66OP88","data":{"line_account_id":"a",'
                '"incoming_line_id":9,"id":"m1","timestamp":1234567890.5,"name":"张","tags":[1]}}'
            ),
            "incoming",
            lines.Incoming("a", 9, "m1", 1234567890.5),
            {"name": "张", "tags": [1]},
        ),
        (
            '{"data":{"customer_id":"c1","name":"张"},"type":"customer_sync","activation_code":"HG66OP88"}',
            "customer_sync",
            lines.CustomerSync("c1"),
            {"name": "张"},
        ),
        (
            (
                '{"type":"follow_up_sync","activation_code":"HG66OP88","timestamp":"now",'
                '"data":{"customer_id":"c1","content":"已联系","by":null}}'
            ),
            "follow_up_sync",
            lines.FollowUpSync("c1", None, "已联系"),
            {"by": None},
        ),
        (
            (
                '{"type":"account_status_change","activation_code":"HG66OP88",'
                '"data":{"line_account_id":"a","online_status":"offline"}}'
            ),
            "account_status_change",
            lines.AccountStatus("a", "offline"),
            {},
        ),
    ],
)
def test_devices_say_what_the_document_shows(
    message: str, kind: str, data: msgspec.Struct, extra: dict[str, Any]
) -> None:
    """Each with the code of its device, or without; the envelope's timestamp and further fields decide nothing."""
    assert DEVICE.decode(message) == Command(kind, data, None, extra, "HG66OP88")
    for nobody in ('"activation_code":null', '"activation_code":""', '"activation":[1]'):
        anonymous = lines.Heartbeat() if kind == "heartbeat" else data
        bare = message.replace('"activation_code":"HG66OP88"', nobody)
        assert DEVICE.decode(bare) == Command(kind, anonymous, None, extra, None)


def test_dashboards_say_that_they_live_and_what_they_have() -> None:
    """A heartbeat, with the code that is said again but proves nothing, and `ack`, ours."""
    beat = '{"type":"heartbeat","activation_code":"HG66OP88","timestamp":1234567890,"data":"any"}'
    assert DASHBOARD.decode(beat) == Command("heartbeat", lines.Heartbeat("HG66OP88"))
    assert DASHBOARD.decode('{"type":"heartbeat"}') == Command("heartbeat", lines.Heartbeat())
    ack = Command("incoming_ack", lines.IncomingAck(7))
    assert DASHBOARD.decode('{"type":"ack","data":{"id":7}}') == ack
    # Nobody asks for a code here, so no shape of it is wrong.
    assert DASHBOARD.decode('{"type":"ack","activation_code":[5],"data":{"id":7}}') == ack


@pytest.mark.parametrize(
    ("dialect", "message", "code", "told"),
    [
        (DEVICE, '{"type":"heartbeat","activation_code":5}', ErrorCode.INVALID_DATA, "`$.activation_code`"),
        (
            DEVICE,
            '{"type":"customer_sync","activation_code":"%s","data":{"customer_id":1}}' % ("x" * 65),
            ErrorCode.INVALID_DATA,
            "length <= 64 - at `$.activation_code`",
        ),
        (DEVICE, '{"type":"incoming"}', ErrorCode.INVALID_DATA, "required field `data` - at `$`"),
        (
            DEVICE,
            '{"type":"incoming","data":{"line_account_id":"a"}}',
            ErrorCode.INVALID_DATA,
            "required field `incoming_line_id` - at `$.data`",
        ),
        (
            DEVICE,
            '{"type":"incoming","data":{"line_account_id":"a\\u0000","incoming_line_id":1}}',
            ErrorCode.INVALID_DATA,
            "no control characters - at `$.data.line_account_id`",
        ),
        (
            DEVICE,
            '{"type":"incoming","data":{"line_account_id":-1,"incoming_line_id":1}}',
            ErrorCode.INVALID_DATA,
            "`$.data.line_account_id`",
        ),
        (
            DEVICE,
            '{"type":"sync_line_accounts","data":{"accounts":[]}}',
            ErrorCode.INVALID_DATA,
            "Expected `array`, got `object` - at `$.data`",
        ),
        (
            DEVICE,
            '{"type":"sync_line_accounts","data":[{"line_id":1},{"line_id":2},{"line_id":3},{"line_id":4.5}]}',
            ErrorCode.INVALID_DATA,
            "`$.data[3].line_id`",
        ),
        (
            DEVICE,
            '{"type":"sync_line_accounts","data":[{"line_id":1},{"platform":"line"}]}',
            ErrorCode.INVALID_DATA,
            "required field `line_account_id` - at `$.data[1]`",
        ),
        (
            DEVICE,
            '{"type":"sync_line_accounts","data":[{"line_id":1},{"line_id":"","display_name":5}]}',
            ErrorCode.INVALID_DATA,
            " - at `$.data[1].line_id`",
        ),
        (
            DEVICE,
            '{"type":"follow_up_sync","data":{"customer_id":1,"content":"a\\u0000"}}',
            ErrorCode.INVALID_DATA,
            "a text without NUL characters - at `$.data.content`",
        ),
        (
            DEVICE,
            '{"type":"account_status_change","data":{"line_account_id":1,"online_status":"ON"}}',
            ErrorCode.INVALID_DATA,
            "a status such as online or offline: 1 to 32 of a-z 0-9 _ - - at `$.data.online_status`",
        ),
        (DEVICE, '{"type":"ack","data":{"id":7}}', ErrorCode.UNKNOWN_TYPE, "no command 'ack'"),
        (DEVICE, '{"type":"ping"}', ErrorCode.UNKNOWN_TYPE, "no command 'ping'"),
        (DEVICE, '{"type":"hartbeat"}', ErrorCode.UNKNOWN_TYPE, "did you mean 'heartbeat'?"),
        (DASHBOARD, '{"type":"incoming_ack","data":{"id":7}}', ErrorCode.UNKNOWN_TYPE, "'incoming_ack'"),
        (DASHBOARD, '{"type":"incoming","data":{}}', ErrorCode.UNKNOWN_TYPE, "no command 'incoming'"),
        (DASHBOARD, '{"type":"ack","data":{"id":"7"}}', ErrorCode.INVALID_DATA, "`$.data.id`"),
        (DASHBOARD, '{"type":"heartbeat","activation_code":[]}', ErrorCode.INVALID_DATA, "activation_code"),
        (DASHBOARD, b'{"type":"heartbeat"}', ErrorCode.BAD_REQUEST, "JSON in text frames (line_board)"),
    ],
    ids=named,
)
def test_what_is_wrong_is_told_by_its_path(
    dialect: LineBoardDialect, message: str | bytes, code: ErrorCode, told: str
) -> None:
    """Where the field stands in what was sent; devices and dashboards have not each other's messages."""
    refusal = dialect.decode(message)
    assert isinstance(refusal, Refusal)
    assert refusal.code is code
    assert told in refusal.message


@pytest.mark.parametrize("dialect", BOTH, ids=named)
def test_an_array_is_as_many_messages(dialect: LineBoardDialect) -> None:
    """Each entry is a command with its own code, or refused for itself: one that is wrong spoils no other."""
    good = '{"type":"heartbeat","activation_code":"A"}'
    beat = alone(dialect, good)
    assert dialect.decode(f"[{good}]") == Batch([beat])
    assert dialect.decode(f"\r\n\t [{good}, {good}]") == Batch([beat, beat])
    for bad in (
        '{"type":"heartbeat","activation_code":5}',
        '{"type":"hartbeat"}',
        "{}",
        f"[{good}]",
        "null",
        '"[]"',
        # No number that a float can hold: the entry's alone, since JSON has it.
        '{"type":"heartbeat","activation_code":1e400}',
    ):
        batch = dialect.decode(f"[{good},{bad},{good}]")
        assert isinstance(batch, Batch)
        first, refusal, last = batch.commands
        assert first == last == beat
        assert isinstance(refusal, Refusal)
    # The path is the entry's own: which of them it is, the server tells.
    wrong = '{"type":"heartbeat","activation_code":5}'
    assert dialect.decode(f"[{wrong}]") == Batch([alone(dialect, wrong)])


@pytest.mark.parametrize("dialect", BOTH, ids=named)
@pytest.mark.parametrize(
    "broken",
    [
        "[]",
        "[",
        '[{"type":"heartbeat"}',
        '[{"type":"heartbeat"}] 1',
        '[{"type":"heartbeat"},]',
        '[{"type":"heartbeat"},,{"type":"heartbeat","x":tru}]',
        '[{"type":"heartbeat"},{"type":"heartbeat","x":tru]}',
        '[{"type":"heartbeat"},{"type":"heartbeat","x":"\\ud800}]',
        '[{"type":"heartbeat"},{"type":"heartbeat","x":tru}],1',
        '[{"type":"heartbeat"},{"type":"heartbeat","x":tru}]]',
    ],
)
def test_a_broken_array_is_one_refusal(dialect: LineBoardDialect, broken: str) -> None:
    """Where it cannot be told where its entries end, or it holds nothing, it is one message that is none."""
    refusal = dialect.decode(broken)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("entry", ['{"type":"heartbeat"}', "0"])
def test_an_array_has_an_end(entry: str) -> None:
    """A thousand messages are taken, and of one more none, good or bad."""
    batch = DEVICE.decode(f"[{','.join([entry] * 1_000)}]")
    assert isinstance(batch, Batch)
    assert len(batch.commands) == 1_000
    refusal = DEVICE.decode(f"[{','.join([entry] * 1_001)}]")
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.TOO_LARGE
    assert "at most 1,000 messages in one array: send several" in refusal.message
    assert DEVICE.decode(f"[tru,{','.join([entry] * 1_000)}]") == refusal


def nested(characters: int) -> str:
    """So many characters of lists, the costliest JSON there is."""
    return f"[{'[],' * (characters // 3)}[]]"


@pytest.mark.parametrize(
    "entry",
    [
        '{"type":"heartbeat","x":"\\ud83d"}',
        '{"type":"heartbeat","x":"\ud800"}',
        f'{{"type":"heartbeat","x":{"[" * 5_000}1{"]" * 5_000}}}',
        '{"type":"heartbeat","x":NaN}',
        '{"type":"heartbeat","x":tru}',
        '{"type":"heartbeat","x" 1}',
    ],
    ids=["escape", "surrogate", "deep", "NaN", "tru", "colon"],
)
@pytest.mark.parametrize("dialect", BOTH, ids=named)
def test_an_entry_that_cannot_be_read_spoils_no_other(dialect: LineBoardDialect, entry: str) -> None:
    """Strings and brackets tell where it ends, whatever brackets and commas stand in strings."""
    good = r'{"type":"heartbeat","activation_code":"\\\"],{[ "}'
    beat = alone(dialect, good)
    assert isinstance(beat, Command)
    batch = dialect.decode(f" [ {good} ,{entry}, {good}\n]\n")
    assert isinstance(batch, Batch)
    first, refusal, last = batch.commands
    assert first == last == beat
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.BAD_REQUEST


def test_only_a_sync_may_be_long() -> None:
    """Another type is refused by its length; so is a sync among others, and an array over 512 KiB."""

    def filled(kind: str, length: int, data: str) -> str:
        message = f'{{"type":"{kind}","data":{data},"x":""}}'
        return message[:-2] + "x" * (length - len(message)) + message[-2:]

    beat, sync = "heartbeat", "sync_line_accounts"
    for length, kind, data in ((65_536, beat, "{}"), (65_536, sync, "[]"), (65_537, sync, "[]")):
        assert alone(DEVICE, filled(kind, length, data)) == alone(DEVICE, filled(kind, 100, data))
    for dialect in BOTH:
        refusal = alone(dialect, filled(beat, 65_537, "{}"))
        assert isinstance(refusal, Refusal)
        assert refusal.code is ErrorCode.TOO_LARGE
        assert "at most 65,536 characters, got 65,537" in refusal.message
    beats = filled(beat, 65_536, "{}")
    batch = DEVICE.decode(f"[{beats},{filled(sync, 65_537, '[]')},{beats}]")
    assert isinstance(batch, Batch)
    first, long, last = batch.commands
    assert isinstance(first, Command)
    assert first == last
    assert isinstance(long, Refusal)
    assert long.code is ErrorCode.TOO_LARGE
    whole = DEVICE.decode(f"[{','.join([beats] * 8)}]")
    assert isinstance(whole, Refusal)
    assert (whole.code, "at most 524,288 characters" in whole.message) == (ErrorCode.TOO_LARGE, True)


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"incoming","data":{"x":%s}}',
        '{"type":"incoming","data":{"x":%s},"type":"sync_line_accounts"}',
        '{"type":"sync_line_accounts","data":[5],"id":%s}',
        '{"type":"sync_line_accounts","data":%s}',
        '{"type":%s,"data":[]}',
        "%s",
    ],
)
def test_what_is_refused_for_its_length_is_not_decoded(message: str) -> None:
    """A megabyte of lists is not made into lists: that would take a hundred times its memory."""
    text = message % nested(1_000_000)
    tracemalloc.start()
    refusal = DEVICE.decode(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(refusal, Refusal)
    assert peak < 4 * len(text)


def test_a_wrong_account_is_told_from_the_good_ones() -> None:
    """With its id, and where in it the fault is; null is nothing said, and an unreadable account refuses all."""
    wrong = {
        '"display_name":5': "`$.display_name`",
        '"display_name":"%s"' % ("x" * 257): "length <= 256 - at `$.display_name`",
        '"display_name":"\\ud83d"': "`$.display_name`",
        '"online_status":"Online"': "a status such as online or offline",
        '"platform":"\\u0000"': "a text without NUL characters - at `$.platform`",
        '"line_account_id":"b","line_id":4.5': "`$.line_id`",
    }
    good = '{"line_id":1,"online_status":null,"display_name":null,"platform":null}'
    accounts = ",".join(f'{{"line_account_id":"a\\ud83d\\ude00",{field}}}' for field in wrong)
    sync = '{"type":"sync_line_accounts","activation_code":"A","data":[%s,%s,{"line_id":2}]%s}'
    for more in ("", ',"x":"%s"' % ("x" * 70_000)):
        command = alone(DEVICE, sync % (good, accounts, more))
        assert isinstance(command, Command)
        assert command.credential == "A"
        data = command.data
        assert isinstance(data, lines.SyncLineAccounts)
        assert data.accounts == [lines.LineAccount(line_id=1), lines.LineAccount(line_id=2)]
        assert [one.line_account_id for one in data.wrong] == [*["a😀"] * 5, "b"]
        for one, told in zip(data.wrong, wrong.values(), strict=True):
            assert told in one.error
            assert "$.data" not in one.error
        for unnamed in ('{"display_name":5}', '{"line_account_id":-1,"line_id":"c"}', "7"):
            refusal = alone(DEVICE, sync % (good, unnamed, more))
            assert isinstance(refusal, Refusal)
            assert refusal.code is ErrorCode.INVALID_DATA
            assert "`$.data[1]" in refusal.message


def test_so_many_accounts_are_read_one_by_one() -> None:
    """Of over 10,000 a wrong one refuses all, by its path: reading each would take too long."""
    for count in (9_999, 10_000):
        message = '{"type":"sync_line_accounts","data":[%s{"line_id":2,"platform":5}]}'
        result = alone(DEVICE, message % ('{"line_id":1},' * count))
        assert isinstance(result, Command) is (count == 9_999)
        if isinstance(result, Refusal):
            assert "`$.data[10000].platform`" in result.message


def test_the_last_of_equal_keys_counts_in_arrays_too() -> None:
    """As in a message alone, whichever way it was decoded."""
    twice = '{"type":"incoming","type":"heartbeat","activation_code":5,"activation_code":"B"}'
    command = Command("heartbeat", lines.Heartbeat("B"), credential="B")
    assert DEVICE.decode(twice) == command
    assert DEVICE.decode(f"[{twice}]") == Batch([command])


# --- from the server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data", "document", "hearers"),
    [
        ("heartbeat_ack", lines.HeartbeatAck("HG66OP88"), ACK, BOTH),
        ("auth_success", lines.AuthSuccess(1, "HG66OP88"), AUTH, [DEVICE]),
        ("board_connected", lines.BoardConnected("1", 1), CONNECTED, [DASHBOARD]),
        (
            "sync_result",
            lines.SyncResult(
                success=True,
                created_count=1,
                updated_count=2,
                accounts=[lines.SyncedAccount(7, "line_account_123", "online")],
            ),
            SYNCED,
            [DEVICE],
        ),
        (
            "incoming_received",
            lines.IncomingReceived("line_account_123", "U1", "processed"),
            RECEIVED,
            [DEVICE],
        ),
        ("customer_sync_received", lines.CustomerSyncReceived("c1", 1, "processed"), CUSTOMER, [DEVICE]),
        ("follow_up_sync_received", lines.FollowUpSyncReceived("c1", 1, "processed"), FOLLOW_UP, [DEVICE]),
        (
            "account_status_updated",
            lines.AccountStatusUpdated("line_account_123", "online", "updated"),
            UPDATED,
            [DEVICE],
        ),
        ("error", answers.Error(ErrorCode.FORBIDDEN, "错误描述信息"), ERROR, BOTH),
        ("incoming_acked", lines.IncomingAcked(7), None, []),
        ("published", answers.Published("group:1", 7), None, []),
        ("disconnect", answers.Disconnect(3001, "shutdown", reconnect=True), None, []),
        ("token_expiring", answers.TokenExpiring(1), None, []),
        ("position", answers.Passed("group:1", "e", 7), None, []),
        ("subscribed", answers.Subscribed("group:1", "e", 7), None, []),
        ("unsubscribed", answers.Unsubscribed("group:1"), None, []),
        ("connected", answers.Connected("c", "1", "Ada", 20.0, 10.0, 1), None, []),
        ("pong", answers.Pong(), None, []),
    ],
)
def test_answers_are_the_documents(
    kind: str, data: msgspec.Struct, document: str | None, hearers: list[LineBoardDialect]
) -> None:
    """Its types, its fields, and nothing else; what it does not know is not said, nor to whom it is not for."""
    for dialect in BOTH:
        assert answered(dialect, kind, data) == (document if dialect in hearers else None)


def test_answers_say_what_is_out_of_the_ordinary() -> None:
    """Refused accounts and a duplicate line, where there are any."""
    refused = [lines.RefusedAccount("b", "of another group")]
    said = answered(
        DEVICE,
        "sync_result",
        lines.SyncResult(success=False, created_count=0, updated_count=0, accounts=[], refused=refused),
    )
    assert json.loads(said or "")["data"] == {
        "success": False,
        "created_count": 0,
        "updated_count": 0,
        "accounts": [],
        "refused": [{"line_account_id": "b", "error": "of another group"}],
    }
    said = answered(
        DEVICE, "incoming_received", lines.IncomingReceived("a", "u", "processed", duplicate=True)
    )
    assert json.loads(said or "")["data"]["duplicate"] is True


@pytest.mark.parametrize(
    ("user_id", "said"),
    [
        ("0", 0),
        ("42", 42),
        (str(2**53 - 1), 2**53 - 1),
        (str(2**53), str(2**53)),
        ("9" * 5_000, "9" * 5_000),
        ("007", "007"),
        ("-1", "-1"),
        ("+1", "+1"),
        ("1e3", "1e3"),
        ("٣", "٣"),
        ("²", "²"),
        ("", ""),
        ("alice", "alice"),
    ],
)
def test_a_users_id_is_a_number_where_it_is_written_as_one(user_id: str, said: object) -> None:
    """And where every client's numbers hold it; an admin who watches all has no group."""
    message = answered(DASHBOARD, "board_connected", lines.BoardConnected(user_id, None))
    data = json.loads(message or "")["data"]
    assert repr(data["user_id"]) == repr(said)
    assert data["group_id"] is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (answers.Error(ErrorCode.RATE_LIMITED, "too many", 1.5), "too many; try again in 1.5 s"),
        (answers.Error(ErrorCode.UNAVAILABLE, "busy", 2.0), "busy; try again in 2 s"),
        (answers.Error(ErrorCode.UNAVAILABLE, "busy", 604_799.999), "busy; try again in 604799.999 s"),
        (
            answers.Error(ErrorCode.LIMIT_REACHED, "too many - at `$.data.accounts[7]`"),
            "too many - at `$.data[7]`",
        ),
    ],
)
def test_an_error_is_a_text(error: answers.Error, told: str) -> None:
    """It says when to try again, and where the field stands here."""
    for dialect in BOTH:
        assert json.loads(answered(dialect, "error", error) or "") == {"type": "error", "error": told}


@pytest.mark.parametrize(
    ("event", "document"),
    [
        ("incoming", INCOMING),
        ("account_status_change", CHANGED),
        ("group_stats_update", GROUP),
        ("account_stats_update", ACCOUNT),
    ],
)
def test_dashboards_hear_what_the_document_shows(event: str, document: str) -> None:
    """Its fields and no others, whatever a publisher adds; devices hear none of it."""
    payload = json.loads(document)["data"]
    assert msgspec.to_builtins(msgspec.convert(payload, BOARD.events[event].payload)) == payload
    assert published(DASHBOARD, event, payload) == document
    assert published(DASHBOARD, event, {"more": 1, **payload, "type": "error"}) == document
    assert published(DEVICE, event, payload) is None


def test_other_events_are_not_for_them() -> None:
    """Neither what all hear, nor what bears the name of an answer."""
    for event in ("notification", "system_message", "of:nobody", "connected", "error"):
        for dialect in BOTH:
            assert published(dialect, event, {"title": "t", "message": "m"}) is None


def test_what_is_asked_of_its_clients() -> None:
    """Dashboards bring a token, devices say a code; text frames, no subprotocol, no inbox, and an app's door."""
    assert (DEVICE.name, DASHBOARD.name) == ("line_board_device", "line_board")
    assert (DEVICE.needs_token, DASHBOARD.needs_token) == (False, True)
    for dialect in BOTH:
        assert (dialect.subprotocol, dialect.binary, dialect.by_door) == (None, False, True)
        assert (dialect.acknowledges, dialect.has_inbox) == (False, False)
        assert dialect.encode_unauthorized(given=True) is None


def test_the_documentation_shows_what_is_sent() -> None:
    """The frames that `docs/dialects.md` shows of these dialects are those that go out."""
    page = (Path(__file__).parents[2] / "docs/dialects.md").read_text("utf-8")
    shown = (ACK, AUTH, CONNECTED, SYNCED, RECEIVED, CUSTOMER, FOLLOW_UP, UPDATED)
    for document in (*shown, CHANGED, GROUP, ACCOUNT, INCOMING):
        assert f"| `{document}` |" in page
