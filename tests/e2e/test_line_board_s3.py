"""The document S3 on real sockets: each message of its two tables, both ways, field by field."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from support.line_board import (
    ALIVE,
    GREETING,
    NOTHING,
    Dashboard,
    Device,
    LineBoard,
    counts,
    line_board,
    lines_config,
    stamped,
)


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[LineBoard]:
    """A server with a line board."""
    async with line_board(lines_config(tmp_path)) as board:
        yield board


async def test_what_devices_send_and_what_is_answered(board: LineBoard) -> None:
    """Each row of the first table, with its answer of the second; ids of clients may be numbers."""
    group = await board.group()
    device = await board.device(group)
    code = group.code
    answer = await device.ask("heartbeat", activation_code=code, timestamp=1234567890)
    assert answer == {"type": "heartbeat_ack", "activation_code": code, "data": ALIVE}
    answer = await device.ask(
        "sync_line_accounts",
        [
            {
                "line_account_id": "U1",
                "online_status": "online",
                "display_name": "客服一",
                "platform": "line",
            },
            {"line_id": 42, "online_status": "offline"},
        ],
        activation_code=code,
    )
    one, two = (each.pop("id") for each in answer["data"]["accounts"])
    assert type(one) is type(two) is int
    assert one != two
    synced = [
        {"line_account_id": "U1", "online_status": "online"},
        {"line_account_id": "42", "online_status": "offline"},
    ]
    assert answer == {
        "type": "sync_result",
        "data": {"success": True, "created_count": 2, "updated_count": 0, "accounts": synced},
    }
    again = await device.sync("42", "U3")
    assert (again["created_count"], again["updated_count"]) == (1, 1)
    assert {each["line_account_id"]: each["id"] for each in again["accounts"]}["42"] == two
    line = {"line_account_id": "U1", "incoming_line_id": "C9", "customer_name": "王", "tags": [1, {}]}
    received = {"line_account_id": "U1", "incoming_line_id": "C9", "status": "processed"}
    answer = await device.ask("incoming", line, activation_code=code)
    assert answer == {"type": "incoming_received", "data": received}
    answer = await device.ask("incoming", line, activation_code=code)
    assert answer == {"type": "incoming_received", "data": received | {"duplicate": True}}
    customer = {"customer_id": 7, "line_account_id": "U1", "name": "王", "age": None}
    answer = await device.ask("customer_sync", customer, activation_code=code)
    row = answer["data"].pop("customer_db_id")
    assert type(row) is int
    processed = {"customer_id": "7", "status": "processed"}
    assert answer == {"type": "customer_sync_received", "data": processed}
    answer = await device.ask("customer_sync", {"customer_id": "7", "note": "第二次"}, activation_code=code)
    assert answer == {"type": "customer_sync_received", "data": processed | {"customer_db_id": row}}
    follow_up = {"customer_id": 7, "id": "f1", "content": "已联系", "status": "open"}
    answer = await device.ask("follow_up_sync", follow_up, activation_code=code)
    row = answer["data"].pop("follow_up_id")
    assert type(row) is int
    assert answer == {"type": "follow_up_sync_received", "data": processed}
    answer = await device.ask("follow_up_sync", follow_up | {"content": "完成"}, activation_code=code)
    assert answer["data"]["follow_up_id"] == row, "the same record"
    answer = await device.ask("follow_up_sync", follow_up | {"id": "f2"}, activation_code=code)
    assert answer["data"]["follow_up_id"] != row
    changed = {"line_account_id": "U1", "online_status": "offline"}
    answer = await device.ask("account_status_change", changed, activation_code=code)
    assert answer == {"type": "account_status_updated", "data": changed | {"status": "updated"}}
    assert "nonsense" in await device.refused("nonsense", {}, activation_code=code)


async def test_what_a_dashboard_is_shown(board: LineBoard) -> None:
    """Each row of the second table that dashboards have: the snapshot of what is, then each change as it comes."""
    group = await board.group()
    first = await board.dashboard(group, "7")
    await first.shows(group, {})
    device = await board.device(group, "", "a", "b")
    await first.status(group, "a", "online")
    await first.status(group, "b", "online")
    await first.shows(group, {"total_accounts": 2, "online_accounts": 2})
    await device.incoming("a", "c1")
    number = await first.line(group, "a", "c1")
    await device.incoming("a", "c1")
    assert await first.line(group, "a", "c1", duplicate=True) > number
    held = {"total_accounts": 2, "online_accounts": 2}
    await first.shows(group, held | counts(2, 1))
    await first.shows_account("a", counts(2, 1))
    await device.ask("account_status_change", {"line_account_id": "b", "online_status": "offline"})
    await first.status(group, "b", "offline")
    await first.shows(group, held | {"online_accounts": 1} | counts(2, 1))
    # Whoever says neither of the two is not there either.
    await device.ask("account_status_change", {"line_account_id": "b", "online_status": "away"})
    await first.status(group, "b", "away")
    await first.quiet()
    # One that comes now: the group before its accounts, each account's status before its figures.
    second = await board.dashboard(group, "someone", shown=False)
    told = [stamped(await second.client.receive_json()) for _ in range(5)]
    change = {"group_id": group.id}
    assert told == [
        {
            "type": "group_stats_update",
            "data": {
                "activation_code": group.code,
                "total_accounts": 2,
                "online_accounts": 1,
                "total_incoming": 2,
                "today_incoming": 2,
                "duplicate_incoming": 1,
                "today_duplicate": 1,
            },
        },
        {
            "type": "account_status_change",
            "data": {"line_account_id": "a", "online_status": "online", **change},
        },
        {"type": "account_stats_update", "data": {"line_id": "a", **counts(2, 1)}},
        {
            "type": "account_status_change",
            "data": {"line_account_id": "b", "online_status": "away", **change},
        },
        {"type": "account_stats_update", "data": {"line_id": "b", **counts()}},
    ]
    await second.quiet()
    # A message that it has no right to, and one of nobody's.
    for kind in ("incoming", "nonsense"):
        await second.client.send_json({"type": kind, "data": {}})
        refusal = await second.event()
        assert (refusal.keys(), refusal["type"]) == ({"type", "error"}, "error")


@pytest.mark.parametrize("how", ["activation_code", "code", "header", "message"])
async def test_the_code_may_come_in_any_of_the_places(board: LineBoard, how: str) -> None:
    """Query, header, first message: the same greeting, and what the message asked is answered behind it."""
    group = await board.group()
    path = f"/ws/device?{how}={group.code}" if how in {"activation_code", "code"} else "/ws/device"
    headers = {"X-Activation-Code": group.code} if how == "header" else None
    client, status = await board.handshake(path, headers)
    assert status == 101
    device = Device(client)
    if how == "message":
        await device.send("heartbeat", activation_code=group.code, timestamp=1)
    assert await device.next() == {
        "type": "auth_success",
        "data": {"group_id": group.id, "activation_code": group.code, "message": GREETING},
    }
    if how == "message":
        answer = stamped(await device.next())
        assert answer == {"type": "heartbeat_ack", "activation_code": group.code, "data": ALIVE}
    assert (await device.sync("a"))["created_count"] == 1


async def test_what_came_while_a_dashboard_was_away(board: LineBoard) -> None:
    """Who acknowledges gets the lines since then, once and in order, before the snapshot and what is live."""
    group = await board.group()
    device = await board.device(group, "", "a")
    dashboard = await board.dashboard(group, "7")
    await dashboard.status(group, "a", "online")
    await device.incoming("a", "c1")
    await device.incoming("a", "c2")
    await dashboard.line(group, "a", "c1")
    seen = await dashboard.line(group, "a", "c2")
    await dashboard.client.send_json({"type": "ack", "data": {"id": seen}})
    await dashboard.quiet()
    await dashboard.client.aclose()
    for customer in ("c3", "c1", "c4"):
        await device.incoming("a", customer)
    again = await board.dashboard(group, "7")
    assert await again.line(group, "a", "c3") == seen + 1
    assert await again.line(group, "a", "c1", duplicate=True) == seen + 2
    last = await again.line(group, "a", "c4")
    await again.status(group, "a", "online")
    await device.incoming("a", "c5")
    assert await again.line(group, "a", "c5") > last
    # An older position takes nothing back, one that is ahead of all reaches no further than what is.
    for position in (1, 2**53):
        await again.client.send_json({"type": "ack", "data": {"id": position}})
    await again.quiet()
    await again.client.aclose()
    await device.incoming("a", "c6")
    third = await board.dashboard(group, "7")
    await third.line(group, "a", "c6")
    await third.status(group, "a", "online")
    await third.quiet()
    # Somebody else has acknowledged nothing, and is shown what is.
    other = await board.dashboard(group, "8")
    await other.status(group, "a", "online")
    await other.quiet()


async def test_several_messages_in_one_frame(board: LineBoard) -> None:
    """Each of an array is answered, in order, by a frame of its own; a bad one is refused, the rest done."""
    group = await board.group()
    dashboard = await board.dashboard(group)
    device = await board.device(group, "", "a")
    await dashboard.status(group, "a", "online")

    def line(customer: str, account: str = "a") -> dict[str, Any]:
        return {"type": "incoming", "data": {"line_account_id": account, "incoming_line_id": customer}}

    await device.client.send_json(
        [
            line("c1"),
            line("c1"),
            {"type": "incoming", "data": {"line_account_id": "a"}},
            {"type": "heartbeat"},
            line("c2", "nobody"),
            line("c3"),
        ]
    )
    answers = [stamped(await device.next()) for _ in range(6)]
    assert [answer["type"] for answer in answers] == [
        "incoming_received",
        "incoming_received",
        "error",
        "heartbeat_ack",
        "error",
        "incoming_received",
    ]
    received = {"line_account_id": "a", "status": "processed"}
    assert answers[0]["data"] == {**received, "incoming_line_id": "c1"}
    assert answers[1]["data"] == {**received, "incoming_line_id": "c1", "duplicate": True}
    assert answers[5]["data"] == {**received, "incoming_line_id": "c3"}
    assert answers[2]["error"].startswith("message 3 of 6: ")
    assert "incoming_line_id" in answers[2]["error"]
    assert answers[4]["error"].startswith("message 5 of 6: ")
    assert "sync_line_accounts" in answers[4]["error"]
    await device.lives()
    await dashboard.line(group, "a", "c1")
    await dashboard.line(group, "a", "c1", duplicate=True)
    await dashboard.line(group, "a", "c3")
    await dashboard.quiet()
    # A sync with one entry that has no id: the whole message, since what is missing would go offline.
    refusal = await device.refused(
        "sync_line_accounts", [{"line_account_id": "a"}, {"online_status": "online"}]
    )
    assert "line_account_id" in refusal
    await dashboard.quiet()


async def test_several_devices_of_a_code(board: LineBoard) -> None:
    """An account is there while one of those who hold it is; a full sync lets go of what it does not name."""
    group = await board.group()
    dashboard = await board.dashboard(group)
    one = await board.device(group, "one", "a", "shared")
    two = await board.device(group, "two", "b", "shared")
    for account in ("a", "shared", "b"):
        await dashboard.status(group, account, "online")
    await dashboard.shows(group, {"total_accounts": 3, "online_accounts": 3})
    # The one who reported it last no longer names it, but the other holds it still.
    await two.sync("b")
    await dashboard.quiet()
    # It was not the last to report it: but nobody else is left who holds it.
    await one.client.aclose()
    await dashboard.statuses(group, "offline", "a", "shared")
    await two.lives()
    await dashboard.shows(group, {"total_accounts": 3, "online_accounts": 1})
    # Never deleted; and what is back is there again.
    again = await two.sync("b", "a")
    assert (again["created_count"], again["updated_count"]) == (0, 2)
    await dashboard.status(group, "a", "online")
    await two.sync("b")
    await dashboard.status(group, "a", "offline")
    # The same device anew takes its older connection's place, and all that it held stays as it was.
    newer = await board.device(group, "two")
    assert (await two.client.closed()).code == 3508
    await dashboard.quiet()
    await newer.sync("b")
    await dashboard.quiet()


async def test_the_last_word_of_those_who_are_there(board: LineBoard) -> None:
    """Of several devices that hold an account, what one has said goes with it; the others' word stands."""
    group = await board.group()
    dashboard = await board.dashboard(group)
    off = await board.device(group, "off")
    await off.sync("a", a="offline")
    await dashboard.status(group, "a", "offline")
    on = await board.device(group, "on", "a")
    await dashboard.status(group, "a", "online")
    await on.client.aclose()
    await dashboard.status(group, "a", "offline")
    busy = await board.device(group, "busy")
    await busy.sync("a", a="busy")
    await dashboard.status(group, "a", "busy")
    await off.client.aclose()
    await dashboard.quiet()


async def test_an_old_code_keeps_nobody_else_out(board: LineBoard) -> None:
    """Programs that come again and again with a code of before are no guessers; who guesses is stopped."""
    old = await board.group()
    group = await board.renewed(old)
    for _ in range(15):
        _, status = await board.handshake(f"/ws/device?code={old.code}")
        assert status == 401
    await board.device(group)
    statuses = [(await board.handshake(f"/ws/device?code=WRONG{n}"))[1] for n in range(12)]
    assert statuses == [401] * 10 + [429] * 2


async def test_a_message_id_of_another_customer_is_refused(board: LineBoard) -> None:
    """Confirmed it would be nowhere: two devices that number alike are told so."""
    group = await board.group()
    device = await board.device(group, "", "a")
    await device.incoming("a", "alice", id=1)
    line = {"line_account_id": "a", "incoming_line_id": "bob", "id": 1}
    assert "id" in await device.refused("incoming", line)
    assert (await device.incoming("a", "bob", id=2)).keys() == {
        "line_account_id",
        "incoming_line_id",
        "status",
    }


async def test_what_devices_say_further_is_heard(board: LineBoard) -> None:
    """The customer's name and the like reach dashboards live, and those that were away."""
    group = await board.group()
    device = await board.device(group, "", "a")
    dashboard = await board.dashboard(group, "7")
    await dashboard.status(group, "a", "online")
    details = {"customer_name": "王", "tags": [1, None]}
    await device.incoming("a", "c1", **details)
    told = (await dashboard.event())["data"]
    assert told["details"] == details
    await dashboard.client.send_json({"type": "ack", "data": {"id": told["id"]}})
    await dashboard.quiet()
    await dashboard.client.aclose()
    await device.incoming("a", "c2", **details)
    again = await board.dashboard(group, "7")
    assert (await again.event())["data"]["details"] == details
    assert "4096" in await device.refused(
        "incoming", {"line_account_id": "a", "incoming_line_id": "c", "text": "x" * 5_000}
    )


async def test_figures_are_told_five_times_a_second_at_most(board: LineBoard) -> None:
    """However many lines come, all of which do arrive; the last figures are the true ones."""
    group = await board.group()
    device = await board.device(group, "", "a")
    dashboard = await board.dashboard(group)
    await dashboard.status(group, "a", "online")
    began = trio.current_time()
    for number in range(150):
        await device.send("incoming", {"line_account_id": "a", "incoming_line_id": f"c{number}"})
    for number in range(150):
        await dashboard.line(group, "a", f"c{number}")
    await dashboard.shows(group, {"total_accounts": 1, "online_accounts": 1} | counts(150))
    await dashboard.shows_account("a", counts(150))
    seconds = trio.current_time() - began
    for kind in ("group_stats_update", "a"):
        told = [at for at, which in dashboard.updates if which == kind and at >= began]
        assert len(told) <= 5 * seconds + 2, (len(told), seconds)


async def watched(board: LineBoard, dashboard: Dashboard, *groups: Any) -> None:
    """Read until it shows these groups, as they are without accounts."""
    for group in groups:
        await dashboard.shows(group, NOTHING)


async def test_an_administrator_watches_all_groups(board: LineBoard) -> None:
    """Also those made later; a user hears of no group but the token's."""
    one, two = await board.group("one"), await board.group("two")
    boss = await board.dashboard(None, "1")
    user = await board.dashboard(one, "7")
    await watched(board, boss, one, two)
    three = await board.group("three", "Asia/Shanghai")
    await watched(board, boss, three)
    for group, account in ((three, "c"), (two, "b"), (one, "a")):
        device = await board.device(group, "", account)
        await device.incoming(account, "customer")
        await boss.status(group, account, "online")
        await boss.line(group, account, "customer")
        await boss.shows(group, {"total_accounts": 1, "online_accounts": 1} | counts(1))
    await user.status(one, "a", "online")
    await user.line(one, "a", "customer")
    await user.quiet()
    assert user.stats.keys() == {one.code}
    assert user.accounts.keys() == {"a"}


async def test_server_time_decides_what_is_today(board: LineBoard) -> None:
    """Clocks of devices may be years off, in seconds or milliseconds: lines are of the server's today."""
    group = await board.group()
    dashboard = await board.dashboard(group)
    device = await board.device(group, "", "a")
    clocks = [
        0,
        -1,
        1,
        time.time() - 86400 * 400,
        int(time.time() * 1000) + 86400_000 * 400,
        2**62,
        1.5e300,
    ]
    for number, clock in enumerate(clocks):
        await device.incoming("a", f"c{number}", timestamp=clock)
    await dashboard.shows(group, {"total_accounts": 1, "online_accounts": 1} | counts(len(clocks)))
    await device.ask("heartbeat", timestamp=-5)


async def test_a_message_said_twice_counts_once(board: LineBoard) -> None:
    """The client's id names a message of an account: answered as the first time, and broadcast no more."""
    group = await board.group()
    dashboard = await board.dashboard(group)
    device = await board.device(group, "", "a", "b")
    for account in ("a", "b"):
        await dashboard.status(group, account, "online")
    first = await device.incoming("a", "c", id="m1")
    assert await device.incoming("a", "c", id="m2") == first | {"duplicate": True}
    assert await device.incoming("a", "c", id="m1") == first
    assert await device.incoming("a", "c", id="m2") == first | {"duplicate": True}
    # Of another account it is another, and in one frame with itself it is one.
    await device.incoming("b", "c", id="m1")
    said = {"type": "incoming", "data": {"line_account_id": "b", "incoming_line_id": "d", "id": 5}}
    await device.client.send_json([said, said])
    assert [(await device.next())["data"].get("duplicate") for _ in range(2)] == [None, None]
    await dashboard.line(group, "a", "c")
    await dashboard.line(group, "a", "c", duplicate=True)
    await dashboard.line(group, "b", "c")
    await dashboard.line(group, "b", "d")
    await dashboard.quiet()
    await dashboard.shows(group, {"total_accounts": 2, "online_accounts": 2} | counts(4, 1))


async def test_what_was_reported_can_be_read(board: LineBoard) -> None:
    """By the group's users over HTTP, with the further fields; not by those of another group."""
    group = await board.group()
    device = await board.device(group, "", "a")
    await device.incoming("a", "c", id="m", name="王", timestamp=5)
    for said in ({"name": "王", "city": "上海"}, {"line_account_id": "a", "city": "北京"}):
        await device.ask("customer_sync", {"customer_id": 7, **said})
    await device.ask("follow_up_sync", {"customer_id": 7, "id": 1, "content": "已联系", "by": "客服"})
    user = board.site.token("7", group_id=str(group.id))

    async def read(what: str) -> Any:
        page = await board.done("GET", f"/api/v1/lines/groups/{group.id}/{what}", user)
        (entry,) = page[what.replace("-", "_")]
        return entry

    line, customer, follow_up = await read("incoming"), await read("customers"), await read("follow-ups")
    assert (line["incoming_line_id"], line["duplicate"], line["details"]) == ("c", False, {"name": "王"})
    assert (customer["customer_id"], customer["line_account_id"]) == ("7", "a")
    assert customer["details"] == {"name": "王", "city": "北京"}
    assert (follow_up["client_id"], follow_up["content"], follow_up["details"]) == (
        "1",
        "已联系",
        {"by": "客服"},
    )
    account = await read("accounts")
    assert (account["online_status"], account["total_incoming"]) == ("online", 1)
    stranger = board.site.token("8", group_id=str(group.id + 1))
    for what in ("incoming", "customers", "follow-ups", "accounts"):
        answer = await board.ask("GET", f"/api/v1/lines/groups/{group.id}/{what}", stranger)
        assert answer.status_code == 403, what
