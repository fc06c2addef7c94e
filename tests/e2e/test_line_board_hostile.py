"""What devices and dashboards of a line board must not be able to do, on real sockets."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog.testing
import trio
from msgspec.structs import replace
from support.client import RawClient
from support.line_board import Device, Group, LineBoard, counts, line_board, lines_config
from support.lines import board_in_memory
from trio.testing import MockClock

from tidings.server.config import Heartbeat

MANY = 10_000

#: What may wait for a connection: the default of `limits.outbox_bytes`.
OUTBOX = 1_048_576

#: Longer than a machine takes for it that does other things besides.
LONG = 180.0


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[LineBoard]:
    """A server with a line board."""
    async with line_board(lines_config(tmp_path)) as board:
        yield board


async def test_codes_that_let_nobody_in(board: LineBoard) -> None:
    """Unknown, replaced and disabled ones: 401 before the upgrade, an error and 3500 for a first message."""
    group = await board.group()
    replaced = group.code
    group = await board.renewed(group)
    for code in ("ABCD2345", replaced, "", "x" * 500):
        _, status = await board.handshake(f"/ws/device?activation_code={code}")
        # Without any, it may still come with a message.
        assert status == (101 if code == "" else 401), code
    _, status = await board.handshake("/ws/device", {"X-Activation-Code": replaced})
    assert status == 401
    client, status = await board.handshake("/ws/device")
    assert status == 101
    device = Device(client)
    refusal = await device.refused("heartbeat", activation_code=replaced)
    assert replaced not in refusal
    assert (await client.closed()).code == 3500
    # The new one does, and no dashboard comes with any code.
    await (await board.device(group)).lives()
    _, status = await board.handshake(f"/ws/dashboard?activation_code={group.code}")
    assert status == 401


async def test_whoever_guesses_codes_is_refused(tmp_path: Path) -> None:
    """After some wrong ones a minute from one address, right ones too, with 429; who is in stays in."""
    async with line_board(lines_config(tmp_path, wrong_codes=3)) as board:
        group = await board.group()
        inside = await board.device(group)
        found = [(await board.handshake(f"/ws/device?code=WRONG{number:03}"))[1] for number in range(5)]
        assert found == [401, 401, 401, 429, 429]
        assert (await board.handshake(f"/ws/device?code={group.code}"))[1] == 429
        await inside.lives()


async def test_a_code_that_ends_takes_its_devices_along(board: LineBoard) -> None:
    """At once, with 3503; their accounts go offline, and those of other groups do not."""
    group, other = await board.group("one"), await board.group("two")
    dashboard = await board.dashboard(group)
    device, bystander = await board.device(group, "", "a"), await board.device(other, "", "b")
    await dashboard.status(group, "a", "online")
    renewed = await board.renewed(group)
    closed = await device.client.closed()
    assert (closed.code, closed.reason) == (3503, "activation code disabled")
    await dashboard.status(group, "a", "offline")
    await dashboard.shows(renewed, {"total_accounts": 1})
    device = await board.device(renewed, "", "a")
    await dashboard.status(group, "a", "online")
    entry = await board.done("GET", f"/api/v1/lines/groups/{group.id}", board.root)
    active = entry["activation_code_id"]
    await board.done("DELETE", f"/api/v1/lines/groups/{group.id}/codes/{active}", board.root)
    assert (await device.client.closed()).code == 3503
    await dashboard.status(group, "a", "offline")
    await bystander.lives()


async def test_tokens_of_dashboards(board: LineBoard) -> None:
    """Of no group, and of one that is not there: refused. Of none at all: 401."""
    await board.group()
    none: dict[str, Any] = {}
    for rights in (none, {"group_id": "99"}, {"group_id": "x"}):
        _, status = await board.handshake(f"/ws/dashboard?token={board.site.token('7', **rights)}")
        assert status == 403, rights
    for query in ("", "?token=no.such.token"):
        assert (await board.handshake(f"/ws/dashboard{query}"))[1] == 401


async def test_accounts_of_other_groups(board: LineBoard) -> None:
    """An account is of whoever reported it first: all else about it is refused, and logged without any code."""
    mine, theirs = await board.group("mine"), await board.group("theirs")
    await board.device(theirs, "", "foreign")
    watching = await board.dashboard(theirs)
    await watching.status(theirs, "foreign", "online")
    device = await board.device(mine, "", "own")
    with structlog.testing.capture_logs() as logs:
        result = await device.sync("own", "foreign")
        assert result["success"] is False
        assert [each["line_account_id"] for each in result["accounts"]] == ["own"]
        assert [each["line_account_id"] for each in result["refused"]] == ["foreign"]
        line = {"line_account_id": "foreign", "incoming_line_id": "c"}
        assert "foreign" in await device.refused("incoming", line)
        change = {"line_account_id": "foreign", "online_status": "offline"}
        assert "foreign" in await device.refused("account_status_change", change)
        customer = {"customer_id": "c", "line_account_id": "foreign"}
        assert "foreign" in await device.refused("customer_sync", customer)
        # A customer of theirs is none of ours.
        assert "customer_id" in await device.refused("follow_up_sync", {"customer_id": "c", "content": "x"})
        # Not synced: the cure is named.
        unknown = {"line_account_id": "nobody", "incoming_line_id": "c"}
        assert "sync_line_accounts" in await device.refused("incoming", unknown)
    said = [line for line in logs if "foreign" in str(line)]
    assert said, "another group's account is logged"
    assert all(line["log_level"] == "warning" for line in said), said
    assert not any(code in str(logs) for code in (mine.code, theirs.code))
    await watching.quiet()
    await watching.shows(theirs, {"total_accounts": 1, "online_accounts": 1})


async def test_a_message_with_another_code_than_its_connection(board: LineBoard) -> None:
    """It is refused, and nothing is done: whichever of the two groups was meant."""
    one, two = await board.group("one"), await board.group("two")
    device = await board.device(one, "", "a")
    line = {"line_account_id": "a", "incoming_line_id": "c"}
    assert "activation_code" in await device.refused("incoming", line, activation_code=two.code)
    dashboard = await board.dashboard(one)
    await dashboard.shows(one, {"total_accounts": 1, "online_accounts": 1})


async def test_one_device_a_code(tmp_path: Path) -> None:
    """`devices = single`: the newest is it, and takes the place of whichever was there (3508)."""
    async with line_board(lines_config(tmp_path, devices="single")) as board:
        group = await board.group()
        dashboard = await board.dashboard(group)
        older = await board.device(group, "one", "a")
        await dashboard.status(group, "a", "online")
        newer = await board.device(group, "two")
        assert (await older.client.closed()).code == 3508
        # Another device, which has not said what it holds.
        await dashboard.status(group, "a", "offline")
        await newer.sync("a")
        await dashboard.status(group, "a", "online")
        # The same one anew holds what it held.
        newest = await board.device(group, "two")
        assert (await newer.client.closed()).code == 3508
        await newest.lives()
        await dashboard.quiet()
        await dashboard.shows(group, {"total_accounts": 1, "online_accounts": 1})


async def test_a_device_that_hangs_is_dropped(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Its program says nothing for so long: closed, and its accounts are offline. One that speaks stays."""
    async with board_in_memory(tmp_path, device_timeout=90) as board:
        group = await board.made()
        dashboard = await board.dashboard(group)
        hanging, living = await board.device(group, "", "a"), await board.device(group, "", "b")
        for account in ("a", "b"):
            await dashboard.status(group, account, "online")
        await dashboard.shows(group, {"total_accounts": 2, "online_accounts": 2})

        async def beat() -> None:
            while True:
                await living.lives()
                # What it is told meanwhile it reads with the next answer, and that is to be news yet.
                await trio.sleep(20)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            assert (await hanging.client.closed()).code == 3012
            assert trio.current_time() - began == pytest.approx(90, abs=1)
            await dashboard.status(group, "a", "offline")
            await dashboard.shows(group, {"total_accounts": 2, "online_accounts": 1})
            await trio.sleep(180)
            nursery.cancel_scope.cancel()
        # A dashboard says nothing for as long as it likes.
        await dashboard.quiet()


WRONG: Final[tuple[object, ...]] = (
    {"type": "incoming", "data": []},
    {"type": "incoming", "data": {"line_account_id": "", "incoming_line_id": "c"}},
    {"type": "incoming", "data": {"line_account_id": "a", "incoming_line_id": "x" * 129}},
    {"type": "incoming", "data": {"line_account_id": "a\x00", "incoming_line_id": "c"}},
    {"type": "incoming", "data": {"line_account_id": True, "incoming_line_id": "c"}},
    {"type": "incoming", "data": {"line_account_id": -1, "incoming_line_id": "c"}},
    {"type": "incoming", "data": {"line_account_id": "a", "incoming_line_id": "c", "timestamp": "now"}},
    {"type": "incoming"},
    {"type": "sync_line_accounts", "data": {}},
    {"type": "sync_line_accounts", "data": [["a"]]},
    {"type": "sync_line_accounts", "data": [{"line_account_id": None, "online_status": "online"}]},
    {"type": "account_status_change", "data": {"line_account_id": "a"}},
    {"type": "follow_up_sync", "data": {"customer_id": "c", "content": "x\x00"}},
    {"type": "customer_sync", "data": {"customer_id": None}},
    {"type": ["incoming"]},
    {"data": {}},
    "heartbeat",
    7,
    None,
    [],
    [[]],
    [None],
)


async def test_messages_of_a_wrong_shape(board: LineBoard) -> None:
    """Refused with words, one error each, and nothing has happened; the connection lives."""
    group = await board.group()
    dashboard = await board.dashboard(group)
    await board.device(group, "keeper", "a")
    await dashboard.status(group, "a", "online")
    for message in WRONG:
        device = await board.device(group)
        await device.client.send_json(message)
        refusal = await device.next()
        assert (refusal.keys(), refusal["type"]) == ({"type", "error"}, "error"), (message, refusal)
        assert refusal["error"]
        await device.lives()
    for data in (
        "[",
        "\ufeff{}",
        '{"type":"heartbeat"',
        "[" * 5_000,
        '{"type":"incoming","data":' + "9" * 5_000 + "}",
    ):
        device = await board.device(group)
        await device.client.send_text(data)
        refusal = await device.next()
        assert (refusal.keys(), refusal["type"]) == ({"type", "error"}, "error"), (data[:50], refusal)
        await device.lives()
    await dashboard.quiet()
    await dashboard.shows(group, {"total_accounts": 1, "online_accounts": 1})


async def stuck_dashboard(board: LineBoard, group: Group) -> RawClient:
    """A dashboard that never reads, and for which the kernel takes next to nothing."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", board.site.port))
    client = RawClient(trio.SocketStream(sock))
    token = board.site.token("stuck", group_id=str(group.id))
    status, _, _ = await client.handshake(f"/ws/dashboard?token={token}")
    assert status == 101
    return client


@pytest.mark.slow
async def test_ten_thousand_accounts_in_one_sync(tmp_path: Path) -> None:
    """Answered whole; a dashboard that reads misses nothing, beside one that does not, which costs its outbox."""
    # Dashboards say nothing, and answer no pings, for as long as it takes.
    config = replace(
        lines_config(tmp_path, message_bytes=OUTBOX),
        heartbeat=Heartbeat(ping_interval=LONG, pong_timeout=LONG),
    )
    async with line_board(config, seconds=LONG) as board:
        group = await board.group()
        reading = await board.dashboard(group, "7")
        stuck = await stuck_dashboard(board, group)
        device = await board.device(group)
        statistics = board.site.server.context.hub.statistics
        most = 0

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, statistics().outbox_bytes)
                await trio.sleep(0.01)

        names = [f"account-{number:05}" for number in range(MANY)]
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            result = await device.sync(*names)
            answered = trio.current_time() - began
            assert (result["created_count"], len(result["accounts"]), result["success"]) == (
                MANY,
                MANY,
                True,
            )
            for name in names:
                await reading.status(group, name, "online")
            await reading.shows(group, {"total_accounts": MANY, "online_accounts": MANY})
            told = trio.current_time() - began
            # Another comes: all of it is shown, however long the snapshot is.
            third = await board.dashboard(group, "9")
            for name in names:
                await third.status(group, name, "online")
            while len(third.accounts) < MANY:
                await third.read()
            assert list(third.accounts.items()) == [(name, counts()) for name in names]
            # Again and again: more than the kernel takes for the one who does not read.
            for status in ("busy", "online", "busy", "online"):
                await device.sync(*names, **dict.fromkeys(names, status))
                for dashboard in (reading, third):
                    for name in names:
                        await dashboard.status(group, name, status)
            # The device goes: as many go offline.
            await device.client.aclose()
            for dashboard in (reading, third):
                for name in names:
                    await dashboard.status(group, name, "offline")
                await dashboard.quiet()
                await dashboard.shows(group, {"total_accounts": MANY})
            nursery.cancel_scope.cancel()
        # Bounds that only say that nothing waited for the one who does not read; the answer is 700 KB of JSON.
        assert max(answered, told) < LONG / 2, (answered, told)
        assert OUTBOX // 2 < most <= 3 * OUTBOX
        # It reads the reason, or is reset in the middle of all that it has not read.
        stuck.answers_pings = False
        await stuck.closed()
        await stuck.aclose()
        assert statistics().closes.get(3008) == 1


async def test_more_accounts_than_a_group_may_have(tmp_path: Path) -> None:
    """Those beyond the bound are refused by name, the others taken."""
    async with line_board(lines_config(tmp_path, accounts=3)) as board:
        group = await board.group()
        device = await board.device(group, "", "a", "b")
        # As many as may be named in one.
        result = await device.sync("b", "c", "d")
        assert (result["success"], result["created_count"], result["updated_count"]) == (False, 1, 1)
        assert [each["line_account_id"] for each in result["refused"]] == ["d"]
        assert "accounts" in await device.refused(
            "sync_line_accounts", [{"line_account_id": name} for name in "abcd"]
        )
        await device.lives()
