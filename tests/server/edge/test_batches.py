"""Several messages in one: each is answered in its place, whatever becomes of the others."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from support.client import masked
from support.doors import (
    EXPECTS,
    FAULT,
    LATE,
    NOT_BEGUN,
    Club,
    ClubSite,
    club_site,
    heard,
    line,
    lives,
    received,
    refused,
    said,
    status,
    updated,
)
from support.site import configured
from trio.testing import MockClock

from tidings.protocol.dialects.batches import BATCH
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.lines import Heartbeat, Incoming
from tidings.server.config import Heartbeat as HeartbeatSection
from tidings.server.config import Limits
from tidings.server.extension import App, NameConflict

WRONG = {"type": "incoming", "data": {"line_account_id": "a"}}
WRONG_TEXT = "Object missing required field `incoming_line_id` - at `$.data`"


@pytest.fixture
async def club(autojump_clock: MockClock) -> AsyncIterator[ClubSite]:
    """A server with the club's app, on virtual time."""
    async with club_site() as club:
        yield club


# --- each is answered, in order ----------------------------------------------------------------------


async def test_each_is_answered_in_order(club: ClubSite) -> None:
    """With its own answer or refusal, which says the place; the connection goes on."""
    client = await club.device()
    await said(
        client,
        status("a"),
        line("1"),
        {"type": "incomming", "data": {}},
        WRONG,
        7,
        {"type": "heartbeat", "activation_code": "ONE"},
        line("refuse-2"),
        status("refuse"),
        line("3"),
    )
    first, second, third, wrong, seven, alive, *rest = await heard(client, 9)
    assert [first, second] == [updated("a"), received("1")]
    assert third == refused("type: no command 'incomming'", 3, 9)
    assert wrong == refused(WRONG_TEXT, 4, 9)
    assert seven["error"].startswith("message 5 of 9: ")
    assert (alive["type"], alive["activation_code"]) == ("heartbeat_ack", "ONE")
    assert rest == [
        refused("incoming_line_id: refuse-2", 7, 9),
        refused("line_account_id: no such account", 8, 9),
        received("3"),
    ]
    assert club.club.runs == [["1"], ["refuse-2"], ["3"]]
    await lives(client)


async def test_neighbours_of_one_command_are_handled_together(club: ClubSite) -> None:
    """Where the app has a handler of many: all that stand side by side, never across another or a refusal."""
    client = await club.device()
    entries = [line("1"), line("2"), line("3"), status("a"), line("4"), WRONG, line("5"), line("6")]
    await said(client, *entries)
    assert await heard(client, 8) == [
        *(received(name) for name in "123"),
        updated("a"),
        received("4"),
        refused(WRONG_TEXT, 6, 8),
        received("5"),
        received("6"),
    ]
    assert club.club.runs == [["1", "2", "3"], ["4"], ["5", "6"]]


async def test_who_says_who_it_is_is_handled_with_its_like(club: ClubSite) -> None:
    """Another credential, or none, begins another run, since each is judged by its own."""
    client = await club.device()
    await said(
        client,
        line("1", activation_code="ONE"),
        line("2", activation_code="ONE"),
        line("3"),
        line("4"),
        line("5", activation_code="TWO"),
        line("6", activation_code="TWO"),
        line("7", activation_code="ONE"),
    )
    told = "activation_code: not this connection's"
    assert await heard(client, 7) == [
        *(received(name) for name in "1234"),
        refused(told, 5, 7),
        refused(told, 6, 7),
        received("7"),
    ]
    assert club.club.runs == [["1", "2"], ["3", "4"], ["7"]]


async def test_a_refusal_within_a_run_is_that_ones_alone(club: ClubSite) -> None:
    """A handler of many refuses some and does the rest."""
    client = await club.device()
    await said(client, status("a"), line("1"), line("refuse-2"), line("3"))
    assert await heard(client, 4) == [
        updated("a"),
        received("1"),
        refused("incoming_line_id: refuse-2", 3, 4),
        received("3"),
    ]
    assert club.club.runs == [["1", "refuse-2", "3"]]


async def test_a_stranger_is_refused_each(club: ClubSite) -> None:
    """Nothing of a batch is done for somebody unknown, and each entry is told what is expected."""
    client = await club.stranger()
    await said(client, line("1"), line("2"), status("a"))
    assert await heard(client, 3) == [refused(EXPECTS, at, 3) for at in (1, 2, 3)]
    assert not club.club.runs


async def test_a_batch_of_one_says_its_place_too(club: ClubSite) -> None:
    """An array is an array; none and too many in it are refused as a whole."""
    client = await club.device()
    await said(client, line("refuse-1"))
    assert await client.receive_json() == refused("incoming_line_id: refuse-1", 1, 1)
    await said(client)
    assert await client.receive_json() == refused("expected messages, got an empty array")
    await said(client, *[1] * (BATCH + 1))
    assert (await client.receive_json())["error"].startswith("expected at most 1,000 messages in one array")
    await client.send_text('[{"type":"heartbeat"},')
    assert (await client.receive_json())["error"].startswith("not a JSON array of messages")
    await lives(client)


async def test_dashboards_may_send_several_too(club: ClubSite) -> None:
    """Their dialect has batches as that of devices."""
    client = await club.dashboard()
    await said(client, {"type": "heartbeat"}, {"type": "incoming"}, {"type": "heartbeat"})
    first, second, third = await heard(client, 3)
    assert first["type"] == third["type"] == "heartbeat_ack"
    assert second["error"].startswith("message 2 of 3: type: no command")


async def test_a_publication_comes_before_the_answer_given_after_it(club: ClubSite) -> None:
    """While a batch is handled dashboards hear what its entries publish, in order."""
    device, dashboard = await club.device(), await club.dashboard()
    await said(device, *[status(f"publish-{number}") for number in range(20)])
    assert await heard(device, 20) == [updated(f"publish-{number}") for number in range(20)]
    assert [message["data"]["timestamp"] for message in await heard(dashboard, 20)] == [*range(20)]


# --- faults of handlers ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["fail", "few", "nothing", "undeclared"])
async def test_a_fault_of_a_handler_of_many_is_its_runs(club: ClubSite, fault: str) -> None:
    """It raises, or returns too few or what it may not: each of the run is told, the rest is done."""
    client = await club.device()
    await said(client, line("0"), status("a"), line("1"), line(fault), line("2"), status("b"), line("3"))
    assert await heard(client, 7) == [
        received("0"),
        updated("a"),
        *(refused(FAULT, at, 7) for at in (3, 4, 5)),
        updated("b"),
        received("3"),
    ]
    club.expected_faults("handler failed")
    await lives(client)


async def test_a_fault_of_a_handler_of_one_is_its_entrys(club: ClubSite) -> None:
    """The others are done."""
    client = await club.device()
    await said(client, status("a"), status("fail"), line("fail"), status("b"))
    assert await heard(client, 4) == [
        updated("a"),
        refused(FAULT, 2, 4),
        refused(FAULT, 3, 4),
        updated("b"),
    ]
    club.expected_faults("handler failed", "handler failed")


@pytest.mark.parametrize("many", [False, True])
async def test_a_handler_that_takes_too_long_ends_its_batch(club: ClubSite, many: bool) -> None:
    """Its own are told that they may have been done, the rest that they were not; the connection goes on."""
    client = await club.device()
    slow = [line("1"), line("wait-60")] if many else [status("wait-60")]
    entries = [status("a"), *slow, WRONG, line("3"), line("4"), status("b")]
    await said(client, *entries)
    began, late = trio.current_time(), len(slow)
    assert await heard(client, len(entries)) == [
        updated("a"),
        *(refused(LATE, at, len(entries)) for at in range(2, 2 + late)),
        *(refused(NOT_BEGUN, at, len(entries)) for at in range(2 + late, len(entries) + 1)),
    ]
    assert trio.current_time() - began == pytest.approx(10)
    assert club.club.runs == ([["1", "wait-60"]] if many else [])
    await lives(client)
    # Its own deadline again, and none of what was left behind.
    await said(client, status("wait-9"), status("wait-9"), line("5"))
    assert await heard(client, 3) == [updated("wait-9"), updated("wait-9"), received("5")]


async def test_a_batch_with_a_wrong_entry_counts_no_error_for_a_late_one(club: ClubSite) -> None:
    """What the server could not do is not held against the client, however many entries it were."""
    client = await club.device()
    for _ in range(2):
        await said(client, status("wait-60"), *[line(str(number)) for number in range(60)])
        assert (await heard(client, 61))[1:] == [refused(NOT_BEGUN, at, 61) for at in range(2, 62)]
    await lives(client)


# --- rates -------------------------------------------------------------------------------------------


async def test_ten_entries_count_as_one(autojump_clock: MockClock) -> None:
    """An array is within the rate or over it as a whole; what is over it is not done; each entry is answered."""
    async with club_site(configured(limits=Limits(command_rate=1, command_burst=5))) as club:
        client = await club.device()
        names = [str(number) for number in range(30)]
        await said(client, *map(line, names))
        assert await heard(client, 30) == [received(name) for name in names]
        await said(client, *map(line, names[:21]))
        # Three more than the two that are left.
        told = "too many commands a second; try again in 4 s"
        assert await heard(client, 21) == [refused(told, at, 21) for at in range(1, 22)]
        assert club.club.runs == [names]
        await trio.sleep(2)
        await client.send_json(line("9"))
        assert await client.receive_json() == received("9")


async def test_an_exhausted_rate_closes_and_does_nothing(autojump_clock: MockClock) -> None:
    """A batch of twice the burst is no accident: 3013, and none of its entries is done."""
    async with club_site(configured(limits=Limits(command_rate=1, command_burst=5))) as club:
        client = await club.device()
        await said(client, *[line(str(number)) for number in range(91)])
        messages, closed = await client.until_closed()
        assert (messages, closed.code) == ([], 3013)
        assert not club.club.runs


async def test_a_long_message_costs_more(autojump_clock: MockClock) -> None:
    """A unit more for each whole 64 KiB, whatever it is, and refused or not."""
    limits = Limits(command_rate=1, command_burst=5, message_bytes=262_144)
    async with club_site(configured(limits=limits)) as club:
        client = await club.device()
        long = {"type": "sync_line_accounts", "data": [], "x": "x" * 131_072}
        await client.send_json(long | {"type": "heartbeat"})
        assert "at most 65,536 characters" in (await client.receive_json())["error"]
        for _ in range(2):
            await client.send_json({"type": "heartbeat"})
            assert (await client.receive_json())["type"] == "heartbeat_ack"
        await client.send_json({"type": "heartbeat"})
        assert await client.receive_json() == refused("too many commands a second; try again in 2 s")


async def test_a_full_batch_is_taken_where_the_rate_allows(autojump_clock: MockClock) -> None:
    """A thousand entries in one message, refused or done, are a thousand answers."""
    limits = Limits(message_bytes=262_144, outbox_bytes=2_097_152)
    async with club_site(configured(limits=limits)) as club:
        client = await club.device()
        await said(client, *[line(str(number)) for number in range(BATCH)])
        assert await heard(client, BATCH) == [received(str(number)) for number in range(BATCH)]
        assert [len(run) for run in club.club.runs] == [BATCH]


@pytest.mark.parametrize("wrong", [WRONG, line("refuse-1"), 7], ids=["wrong", "refused", "number"])
async def test_wrong_entries_count_as_one_error(club: ClubSite, wrong: Any) -> None:
    """However many they are, all are answered and what stands behind them is done: no good one is lost."""
    client = await club.device()
    await said(client, *[wrong] * 60, line("last"))
    *errors, last = await heard(client, 61)
    assert all(error["error"].startswith(f"message {at} of 61") for at, error in enumerate(errors, 1))
    assert last == received("last")
    await lives(client)


async def test_many_wrong_arrays_are_too_many_errors(club: ClubSite) -> None:
    """Forty at once: 3509, behind the last answer of the last."""
    client = await club.device()
    for _ in range(39):
        await said(client, WRONG, line("refuse-1"))
        await heard(client, 2)
    await said(client, WRONG, line("refuse-1"), line("last"))
    messages, closed = await client.until_closed()
    assert closed.code == 3509
    assert messages[2:] == [received("last")]


# --- in the middle -----------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True])
async def test_a_close_in_the_middle_ends_the_batch(club: ClubSite, many: bool) -> None:
    """What was answered before reaches the client; what follows the close is not done."""
    client = await club.device()
    closing = [line("close"), line("1")] if many else [status("close")]
    await said(client, status("a"), line("0"), status("b"), *closing, status("c"), line("2"), line("3"))
    messages, closed = await client.until_closed()
    assert messages == [updated("a"), received("0"), updated("b")]
    assert (closed.code, closed.reason) == (3500, "activation code disabled")
    assert club.club.runs == [["0"], *([["close", "1"]] if many else [])]


@pytest.mark.parametrize("many", [False, True])
async def test_cancelled_in_the_middle_nothing_follows(many: bool, autojump_clock: MockClock) -> None:
    """A server that stops cancels the handler at work, and begins no other."""
    club = Club()
    async with club_site(club=club) as site:
        client = await site.device()
        slow = [line("wait-5"), line("1")] if many else [status("wait-5")]
        await said(client, line("0"), status("a"), *slow, status("publish-1"), line("2"))
        assert await heard(client, 2) == [received("0"), updated("a")]
        for connection in site.site.server.front.connections:
            connection._scope.cancel()
        assert (await client.until_closed())[0] == []
        await trio.sleep(20)
    assert club.runs == [["0"], *([["wait-5", "1"]] if many else [])]


async def test_a_batch_is_handled_before_what_follows_it(club: ClubSite) -> None:
    """Also where a message behind it came in the same packet."""
    client = await club.device()
    frames = [[line("wait-1"), line("1")], line("2"), [status("a"), line("3")]]
    await client.send(b"".join(masked(Opcode.TEXT, msgspec.json.encode(frame)) for frame in frames))
    assert await heard(client, 5) == [
        received("wait-1"),
        received("1"),
        received("2"),
        updated("a"),
        received("3"),
    ]


async def test_a_long_batch_keeps_the_pong_clock(autojump_clock: MockClock) -> None:
    """While its entries are handled nobody reads: the silence is the server's, and ends nobody."""
    config = configured(heartbeat=HeartbeatSection(ping_interval=2, pong_timeout=1))
    async with club_site(config) as club:
        client = await club.device()
        await said(client, *[status("wait-5")] * 4)
        assert await heard(client, 4) == [updated("wait-5")] * 4
        assert trio.current_time() == pytest.approx(20)


# --- declarations ------------------------------------------------------------------------------------


def test_a_handler_of_many_belongs_to_a_command() -> None:
    """It is declared behind it, once, and is an async function."""
    app = App("app")

    async def together(calls: Any) -> list[Any]:
        return []

    with pytest.raises(ValueError, match="'app': 'incoming' is no command of it"):
        app.many("incoming")

    @app.command("incoming", Incoming)
    async def one(call: Any) -> None:
        return None

    with pytest.raises(TypeError, match="the handler of many 'incoming' must be an async function"):
        app.many("incoming")(lambda _: [])  # type: ignore[type-var]
    assert app.many("incoming")(together) is together
    with pytest.raises(NameConflict, match="'app' declares the handler of many 'incoming' twice"):
        app.many("incoming")
    with pytest.raises(ValueError, match="no command of it"):
        app.many("heartbeat")
    assert Heartbeat.__name__ not in app.commands


# --- any batch ---------------------------------------------------------------------------------------

# Together fewer than what errors are too many.
_ENTRIES = st.lists(
    st.sampled_from([
        "ok", "ok", "ok", "refuse", "fail", "few", "undeclared", "wrong", "status", "status-fail", "other", "own",
    ]),
    min_size=1,
    max_size=9,
)  # fmt: skip


@settings(max_examples=25)
@given(st.lists(_ENTRIES, min_size=1, max_size=3))
def test_any_batch_has_as_many_answers(batches: list[list[str]]) -> None:
    """Of any mixture each entry has one answer, in its place, and the connection goes on."""

    async def main() -> None:
        async with club_site() as club:
            client = await club.device()
            for batch in batches:
                await said(client, *map(_entry, batch))
                for at, (what, answer) in enumerate(
                    zip(batch, await heard(client, len(batch)), strict=True), 1
                ):
                    _judge(what, answer, at, len(batch))
            await lives(client)
            club.faults.clear()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def _entry(what: str) -> Any:
    match what:
        case "wrong":
            return WRONG
        case "status":
            return status("a")
        case "status-fail":
            return status("fail")
        case "other":
            return line("ok", activation_code="TWO")
        case "own":
            return line("ok", activation_code="ONE")
    return line(what)


def _judge(what: str, answer: Any, at: int, of: int) -> None:
    fault = refused(FAULT, at, of)
    match what:
        case "wrong":
            assert answer == refused(WRONG_TEXT, at, of)
        case "status":
            assert answer == updated("a")
        case "status-fail":
            assert answer == fault
        case "other":
            assert answer == refused("activation_code: not this connection's", at, of)
        case "refuse":
            assert answer in (refused("incoming_line_id: refuse", at, of), fault)
        case "fail" | "undeclared":
            assert answer == fault
        case "few":
            # Alone it is one reply to one call.
            assert answer in (received("few"), fault)
        case _:
            assert answer in (received("ok"), fault)
