"""Messages that wait for a connection: in order, each once, or told that it is not so. In virtual time."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support.network import Network, patience
from support.scripted_server import ScriptedServer, scripted
from support.site import memory_site
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.client import (
    Client,
    CommandRefused,
    ConnectionLost,
    Disconnected,
    QueueFull,
    Reconnect,
    SendFailed,
)
from tidings.client.outbox import REPEATABLE_SECONDS


def numbers(server: ScriptedServer) -> list[Any]:
    """What was published and said, in the order in which it was carried out."""
    return [data["payload"]["n"] if "payload" in data else data["n"] for data in server.published]


async def test_sent_in_order_once_connected(network: Network) -> None:
    """Taken in while there is no connection; sent in the order given, each with a key of its own."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        network.down = True
        await network.cut()
        await wait_all_tasks_blocked(0.001)
        payload = {"n": 0}
        first = client.publish_soon("room:x", "news", payload)
        payload["n"] = 99
        for number in range(1, 5):
            client.publish_soon("room:x", "news", {"n": number})
        client.say_soon("x", "hello", n=5)
        assert len(client.unsent()) == 6
        assert client.unsent()[0] == first
        network.down = False
        await client.flush()
        assert client.unsent() == []
        assert numbers(server) == [0, 1, 2, 3, 4, 5], "as it was when it was given"
        keys = {data["idempotency_key"] for data in server.given("publish")}
        assert len(keys) == 5
        assert server.given("room_message") == [{"n": 5, "room": "x", "text": "hello"}]
        await client.flush()


async def test_a_lost_answer_is_no_second_publication(network: Network) -> None:
    """Carried out, but the answer lost: asked again with the same key; what is said is not, and that is told."""
    server = scripted(network)
    lost = 0

    def end(command: dict[str, Any]) -> bool:
        nonlocal lost
        lost += command["type"] in ("publish", "room_message")
        return command["type"] in ("publish", "room_message") and lost in (1, 3)

    server.end_before_answer = end
    async with patience(), network.connect() as client:
        client.publish_soon("room:x", "news", {"n": 1})
        said = client.say_soon("x", "hello", n=2)
        client.say_soon("x", "again", n=3)
        await client.flush()
    assert numbers(server) == [1, 2, 3]
    assert len(server.given("publish")) == 2
    assert len(server.given("room_message")) == 2
    (failed,) = network.of(SendFailed)
    assert failed.message is said
    assert isinstance(failed.error, ConnectionLost)


async def test_a_key_that_the_server_may_have_forgotten(network: Network) -> None:
    """Away for longer than keys are remembered, a publication that may have arrived is told and not repeated."""
    server = scripted(network)
    server.end_before_answer = lambda command: command["type"] == "publish" and len(server.published) == 1
    async with patience(), network.connect() as client:
        doubtful = client.publish_soon("room:x", "news", {"n": 1})
        client.publish_soon("room:x", "news", {"n": 2})
        network.down = True
        await trio.sleep(REPEATABLE_SECONDS + 60)
        assert len(client.unsent()) == 2
        network.down = False
        await client.flush()
    assert numbers(server) == [1, 2]
    (failed,) = network.of(SendFailed)
    assert failed.message is doubtful
    assert isinstance(failed.error, ConnectionLost)


async def test_what_never_went_out_waits_for_ever(network: Network) -> None:
    """An hour without a connection is no doubt: it is sent then."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        network.down = True
        await network.cut()
        client.say_soon("x", "hello", n=1)
        await trio.sleep(3600)
        network.down = False
        await client.flush()
    assert numbers(server) == [1]


async def test_rates_are_kept_and_order_too(network: Network) -> None:
    """Refused for now, a message is tried again when the server said, and nothing overtakes it."""
    server = scripted(network)
    allowed = 3

    def refuse(command: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal allowed
        if command["type"] not in ("publish", "room_message"):
            return None
        allowed -= 1
        if allowed >= 0:
            return None
        allowed = 3
        return {"code": "rate_limited", "message": "slow", "retry_after": 5}

    server.refuse = refuse
    async with patience(), network.connect() as client:
        for number in range(8):
            (client.publish_soon if number % 2 else _say(client))("room:x", "news", {"n": number})
        await client.flush()
        assert numbers(server) == list(range(8))
        assert 10 <= trio.current_time() < 13
    assert network.of(SendFailed) == []


def _say(client: Client) -> Callable[[str, str, dict[str, Any]], Any]:
    return lambda _channel, _event, payload: client.say_soon("x", "text", **payload)


async def test_a_refusal_is_told_and_the_rest_goes_on(network: Network) -> None:
    """Forbidden, or an error of the server's: told with the message, and those behind it are sent."""
    server = scripted(network)
    codes = {1: "forbidden", 2: "internal", 3: "unavailable", 5: "unavailable"}

    def refuse(command: dict[str, Any]) -> dict[str, Any] | None:
        number = command["data"].get("n", command["data"].get("payload", {}).get("n"))
        code = codes.pop(number, None)
        return None if code is None else {"code": code, "message": "no"}

    server.refuse = refuse
    async with patience(), network.connect() as client:
        events = client.events()
        for number in range(5):
            client.publish_soon("room:x", "news", {"n": number})
        client.say_soon("x", "hello", n=5)
        await client.flush()
        assert numbers(server) == [0, 3, 4], "busy for a moment is waited for"
        told = [await anext(events) for _ in range(3)]
        assert all(isinstance(event, SendFailed) for event in told)
    refused = [(event.message.kind, event.error.code) for event in network.of(SendFailed)]
    assert refused == [("publish", "forbidden"), ("publish", "internal"), ("room_message", "unavailable")]


async def test_a_full_queue(network: Network) -> None:
    """Bounded, in number and each in length; what is not taken in is the caller's to keep."""
    scripted(network)
    async with patience(), network.connect(outbox=3) as client:
        network.down = True
        await network.cut()
        await wait_all_tasks_blocked(0.001)
        for number in range(3):
            client.publish_soon("room:x", "news", {"n": number})
        with pytest.raises(QueueFull) as full:
            client.say_soon("x", "one more")
        assert full.value.limit == 3
        assert "outbox=3" in str(full.value)
        with pytest.raises(CommandRefused) as refused:
            client.publish_soon("room:x", "news", {"text": "a" * 70_000})
        assert refused.value.code == "too_large"
        for wrong in (object(), [1], "text"):
            with pytest.raises((TypeError, ValueError)):
                client.publish_soon("room:x", "news", wrong)
        assert len(client.unsent()) == 3
    with pytest.raises(ValueError, match="outbox is 0"):
        async with network.connect(outbox=0):
            pass


async def test_what_is_unsent_at_the_end(network: Network) -> None:
    """Left, or ended for good: it is still there to be kept, and goes out with its own key the next time."""
    server = scripted(network)
    async with patience():
        async with network.connect() as client:
            network.down = True
            await network.cut()
            await wait_all_tasks_blocked(0.001)
            client.publish_soon("room:x", "news", {"n": 1})
        (unsent,) = client.unsent()
        with pytest.raises(Disconnected):
            await client.flush()
        with pytest.raises(Disconnected):
            client.publish_soon("room:x", "news")
        network.down = False
        async with network.connect() as client:
            client.publish_soon(
                unsent.channel, unsent.event, unsent.fields, idempotency_key=unsent.idempotency_key
            )
            await client.flush()
        assert server.published[0]["idempotency_key"] == unsent.idempotency_key
        assert "n" not in repr(unsent).replace("news", "").replace("channel", ""), "no payload in a log"


_STEPS = st.lists(
    st.sampled_from(["publish", "say", "publish", "cut", "down", "up", "lose", "refuse", "wait"]),
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(_STEPS)
def test_everything_is_sent_once_or_told(steps: list[str]) -> None:
    """Cuts, lost answers, refusals: in order, publications exactly once, what is said at most once, or told."""
    trio.run(_take, steps, clock=MockClock(autojump_threshold=0))


async def _take(steps: list[str]) -> None:
    with trio.fail_after(60):
        async with memory_site() as site:
            network = Network(site)
            server = scripted(network)
            lose = refuse = 0

            def ends(command: dict[str, Any]) -> bool:
                nonlocal lose
                lost = lose > 0 and command["type"] in ("publish", "room_message")
                lose -= lost
                return lost

            def refused(command: dict[str, Any]) -> dict[str, Any] | None:
                nonlocal refuse
                if refuse == 0 or command["type"] not in ("publish", "room_message"):
                    return None
                refuse -= 1
                return {"code": "rate_limited", "message": "slow"}

            server.end_before_answer, server.refuse = ends, refused
            wanted: list[int] = []
            policy = Reconnect(base=0.0, cap=0.0, uniform=lambda _low, _high: 0.0)
            async with network.connect(reconnect=policy) as client:
                for number, step in enumerate(steps):
                    match step:
                        case "publish":
                            client.publish_soon("room:x", "news", {"n": number})
                            wanted.append(number)
                        case "say":
                            client.say_soon("x", "text", n=number)
                            wanted.append(number)
                        case "cut":
                            await network.cut()
                        case "down" | "up":
                            network.down = step == "down"
                        case "lose":
                            lose += 1
                        case "refuse":
                            refuse += 1
                        case _:
                            await trio.lowlevel.checkpoint()
                network.down = False
                await client.flush()
            told = [event.message.fields["n"] for event in network.of(SendFailed)]
            carried_out = numbers(server)
            assert carried_out == sorted(set(carried_out)), "in order, once"
            assert sorted({*carried_out, *told}) == wanted, "sent, or told"
            assert all(event.message.kind == "room_message" for event in network.of(SendFailed))
