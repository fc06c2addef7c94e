"""An app's handlers: exactly one answer for each command, at its place among the publications."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import structlog.testing
import trio
from support.client import RawClient
from support.served import served
from support.site import configured
from support.tasks import peers_of, unharmed
from trio.testing import MockClock

from tidings.protocol.positions import Position
from tidings.server.app import Server
from tidings.server.config import Auth, Config, Limits
from tidings.server.extension import App, Call, ErrorCode, Published, Refusal


class Ask(msgspec.Struct):
    """Any command's payload."""

    text: str = ""


class Told(msgspec.Struct):
    """Any answer."""

    text: str


class Stranger(msgspec.Struct):
    """An answer that nobody declared."""


class Unspeakable(msgspec.Struct):
    """An answer that no encoding can carry."""

    what: Any


Handler = Callable[[Call[Ask]], Awaitable[Any]]


def _app(handler: Handler, **options: Any) -> App:
    app = App("test")
    app.answer("told", Told)
    app.answer("unspeakable", Unspeakable)
    app.command("ask", Ask, **options)(handler)
    return app


def _server(handler: Handler, config: Config | None = None, **options: Any) -> Server:
    return Server(config or configured(), apps=[_app(handler, **options)])


async def _until(client: RawClient, kind: str) -> list[Any]:
    """All messages up to the first of a kind."""
    messages = [await client.receive_json()]
    while messages[-1]["type"] != kind:
        messages.append(await client.receive_json())
    return messages


async def test_an_answer_has_the_name_of_its_type(autojump_clock: MockClock) -> None:
    """What a handler returns is sent under the name declared for its Struct, with the command's id."""

    async def handler(call: Call[Ask]) -> Told:
        assert call.push.is_online(call.identity.user_id)
        assert call.connection_id
        return Told(f"{call.identity.user_id}: {call.data.text}")

    async with served(_server(handler)) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")
        answer = await alice.command("ask", {"text": "hello"}, id="c1")
        assert (answer["type"], answer["data"], answer["id"]) == ("told", {"text": "alice: hello"}, "c1")
        # And in the other encoding.
        packed = await peers.open()
        await packed.handshake(
            token=site.token("bob"), headers={"Sec-WebSocket-Protocol": "tidings.v1.msgpack"}
        )
        assert (await packed.packed_command("ask", {"text": "x"}))["data"] == {"text": "bob: x"}


async def test_open_fields_are_handed_on(autojump_clock: MockClock) -> None:
    """What the Struct does not name is in `extra` for commands declared so, and nowhere for others."""

    async def handler(call: Call[Ask]) -> Told:
        return Told(repr(dict(call.extra)))

    for open_fields, seen in ((True, "{'more': 1}"), (False, "{}")):
        async with served(_server(handler, open_fields=open_fields)) as site, unharmed(site) as peers:
            alice = await peers.connect("alice")
            assert (await alice.command("ask", {"text": "", "more": 1}))["data"]["text"] == seen


async def test_the_payload_is_checked_and_the_caller_known(autojump_clock: MockClock) -> None:
    """An ill-typed payload, or a caller that is not authenticated, never reaches the handler."""
    asked = []

    async def handler(call: Call[Ask]) -> Told:
        asked.append(call)
        return Told("")

    async with served(_server(handler)) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")
        error = (await alice.command("ask", {"text": 5}))["data"]
        assert error["code"] == "invalid_data"
        assert "$.data.text" in error["message"]
        nobody = await peers.open()
        await nobody.handshake()
        assert (await nobody.command("ask"))["data"]["code"] == "unauthorized"
    assert not asked


async def test_a_refusal_is_an_error_with_its_code(autojump_clock: MockClock) -> None:
    """A returned Refusal is an `error` that bears the command's id, whatever id it was made with."""

    async def handler(call: Call[Ask]) -> Refusal:
        return Refusal(ErrorCode.CONFLICT, "asked before", "other")

    async with served(_server(handler)) as site, unharmed(site) as peers:
        error = await (await peers.connect("alice")).command("ask", id="c1")
        assert (error["type"], error["id"]) == ("error", "c1")
        assert error["data"] == {"code": "conflict", "message": "asked before"}
        # And counted, for the metrics.
        assert site.server.context.refusals == {("command", "conflict"): 1}


async def _raise(call: Call[Ask]) -> Told:
    raise RuntimeError("planted")


async def _raise_group(call: Call[Ask]) -> Told:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_raise, call)
    return Told("")


async def _silent(call: Call[Ask]) -> None:
    return None


async def _undeclared(call: Call[Ask]) -> Stranger:
    return Stranger()


async def _unspeakable(call: Call[Ask]) -> Unspeakable:
    return Unspeakable(object())


async def _surrogate(call: Call[Ask]) -> Told:
    return Told("\ud800")


@pytest.mark.parametrize(
    "handler",
    [_raise, _raise_group, _silent, _undeclared, _unspeakable, _surrogate],
    ids=lambda f: f.__name__,
)
async def test_a_fault_costs_one_command(autojump_clock: MockClock, handler: Handler) -> None:
    """Whatever a handler does wrong is `internal` for that command, once, and logged; the connection goes on."""
    async with served(_server(handler)) as site, peers_of(site) as peers:
        alice = await peers.connect("alice")
        with structlog.testing.capture_logs() as logs:
            # Far more often than a client's own errors may come: they are not held against it.
            for number in range(50):
                error = await alice.command("ask", id=f"c{number}")
                assert (error["type"], error["data"]["code"]) == ("error", "internal")
                assert "planted" not in error["data"]["message"]
        assert [line["log_level"] for line in logs].count("error") == 50
        await alice.send_json({"type": "ping", "id": "fence"})
        assert (await alice.receive_json())["type"] == "pong"


async def test_commands_of_a_connection_keep_their_order(autojump_clock: MockClock) -> None:
    """A slow handler holds up the commands behind it on its connection, and nobody else's."""

    async def handler(call: Call[Ask]) -> Told:
        await trio.sleep(5 if call.data.text == "slow" else 0)
        return Told(call.data.text)

    async with served(_server(handler)) as site, unharmed(site) as peers:
        alice, bob = await peers.connect("alice"), await peers.connect("bob")
        for text in ("slow", "quick"):
            await alice.send_json({"type": "ask", "data": {"text": text}})
        assert (await bob.command("ask"))["type"] == "told"
        assert trio.current_time() < 5
        assert [(await alice.receive_json())["data"]["text"] for _ in range(2)] == ["slow", "quick"]


async def test_a_handler_has_so_long(autojump_clock: MockClock) -> None:
    """Past `handler_timeout` a handler is cancelled, and the command is `unavailable`."""
    cancelled = []

    async def handler(call: Call[Ask]) -> Told:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())

    server = _server(handler)
    seconds = server.context.config.heartbeat.handler_timeout
    async with served(server) as site, peers_of(site) as peers:
        alice = await peers.connect("alice")
        assert (await alice.command("ask"))["data"]["code"] == "unavailable"
        assert cancelled == [seconds]


async def test_what_fails_on_a_late_handlers_way_out_costs_that_command_only(
    autojump_clock: MockClock,
) -> None:
    """Its clean-up raises beside the cancellation: `unavailable` all the same, and the next command is served."""
    late = [True]

    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("clean-up")

    async def handler(call: Call[Ask]) -> Told:
        if late.pop():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fails_when_cancelled)
                nursery.start_soon(trio.sleep_forever)
        return Told(call.data.text)

    async with served(_server(handler)) as site, peers_of(site) as peers:
        alice = await peers.connect("alice")
        assert (await alice.command("ask"))["data"]["code"] == "unavailable"
        late.append(False)
        assert (await alice.command("ask"))["type"] == "told"


# --- subscribing -------------------------------------------------------------------------------------


async def test_nothing_overtakes_the_answer_to_a_subscription(autojump_clock: MockClock) -> None:
    """However long the handler goes on, and whoever publishes meanwhile: `subscribed` comes before all of it."""

    async def handler(call: Call[Ask]) -> None:
        assert await call.subscribe("room:r") is None
        assert call.is_subscribed("room:r")
        await call.publish("room:r", "own", {})
        await trio.sleep(5)
        await call.publish("room:r", "own", {})

    async with served(_server(handler)) as site, unharmed(site) as peers:
        push = site.server.context.push
        await push.to_room("r", "before", {})
        alice = await peers.connect("alice")
        await alice.send_json({"type": "ask", "id": "c1"})
        await trio.sleep(1)
        await push.to_room("r", "other", {})
        subscribed = await alice.receive_json()
        assert (subscribed["type"], subscribed["id"]) == ("subscribed", "c1")
        assert (subscribed["data"]["channel"], subscribed["data"]["offset"]) == ("room:r", 1)
        assert [(m["type"], m["offset"]) for m in await _until(alice, "other")] == [
            ("own", 2),
            ("other", 3),
        ]
        assert (await alice.receive_json())["offset"] == 4
        # That was the one answer: the next that bears an id is the next command's.
        await alice.send_json({"type": "ping", "id": "c2"})
        assert (await alice.receive_json())["id"] == "c2"


async def test_what_is_published_while_subscribing_is_behind_the_position(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that takes its time, with publications meanwhile: each comes once, or lies before the position."""

    async def handler(call: Call[Ask]) -> Refusal | None:
        return await call.subscribe("room:r")

    async with served(_server(handler)) as site, unharmed(site) as peers:
        push, broker = site.server.context.push, site.server.context.broker
        opened = broker.open

        async def slowly(channel: str) -> Position:
            position = await opened(channel)
            if channel == "room:r":
                await trio.sleep(1)
            return position

        alice = await peers.connect("alice")
        monkeypatch.setattr(broker, "open", slowly)

        async def publish() -> None:
            for number in range(1, 21):
                await push.to_room("r", "e", {"n": number})
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            await alice.send_json({"type": "ask", "id": "c1"})
            subscribed = await alice.receive_json()
            assert subscribed["type"] == "subscribed"
            since = subscribed["data"]["offset"]
            assert 0 < since < 20
            got = [(await alice.receive_json())["offset"] for _ in range(20 - since)]
        assert got == list(range(since + 1, 21))


async def test_an_answer_after_subscribing_is_dropped(autojump_clock: MockClock) -> None:
    """A command has one answer: what a handler returns after `subscribe` answered is logged, and not sent."""
    replies: list[Any] = [Told("again"), Refusal(ErrorCode.NOT_FOUND, "after all"), Stranger()]

    async def handler(call: Call[Ask]) -> Any:
        await call.subscribe("room:r")
        return replies.pop(0)

    async with served(_server(handler)) as site, peers_of(site) as peers:
        alice = await peers.connect("alice")
        with structlog.testing.capture_logs() as logs:
            while replies:
                assert (await alice.command("ask", id="c1"))["type"] == "subscribed"
                await alice.send_json({"type": "ping", "id": "fence"})
                assert (await alice.receive_json())["id"] == "fence"
        faults = [line for line in logs if line["log_level"] == "error"]
        assert [(line["app"], line["command"]) for line in faults] == 3 * [("test", "ask")]


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_a_fault_after_subscribing_answers_nothing_more(
    autojump_clock: MockClock, fault: str
) -> None:
    """A handler that fails or hangs once it is answered is logged; the client gets no second answer."""

    async def handler(call: Call[Ask]) -> None:
        await call.subscribe("room:r")
        if fault == "raises":
            raise RuntimeError("planted")
        await trio.sleep_forever()

    async with served(_server(handler)) as site, peers_of(site) as peers:
        alice = await peers.connect("alice")
        with structlog.testing.capture_logs() as logs:
            assert (await alice.command("ask"))["type"] == "subscribed"
            await alice.send_json({"type": "ping", "id": "fence"})
            assert (await alice.receive_json())["id"] == "fence"
        assert [line["event"] for line in logs] == [
            "handler failed" if fault == "raises" else "handler timed out"
        ]


async def test_a_fault_before_subscribing_is_answered(autojump_clock: MockClock) -> None:
    """A subscription that was refused has answered nothing: what then goes wrong is the one answer."""

    async def handler(call: Call[Ask]) -> None:
        assert await call.subscribe("user:bob") is not None
        raise RuntimeError("planted")

    async with served(_server(handler)) as site, peers_of(site) as peers:
        alice = await peers.connect("alice")
        assert (await alice.command("ask"))["data"]["code"] == "internal"


async def test_a_second_subscription_is_told_without_the_id(autojump_clock: MockClock) -> None:
    """The first answers the command; of the others the client learns the position, too."""

    async def handler(call: Call[Ask]) -> None:
        for room in ("a", "b"):
            assert await call.subscribe(f"room:{room}") is None
        assert call.unsubscribe("room:a") is None

    async with served(_server(handler)) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")
        await alice.send_json({"type": "ask", "id": "c1"})
        told = [await alice.receive_json() for _ in range(3)]
        assert [(message["type"], message["data"]["channel"], message.get("id")) for message in told] == [
            ("subscribed", "room:a", "c1"),
            ("subscribed", "room:b", None),
            ("unsubscribed", "room:a", None),
        ]


async def test_a_call_that_was_kept_still_subscribes(autojump_clock: MockClock) -> None:
    """After its handler has ended a call answers nothing, and what it subscribes is told without an id."""
    kept: list[Call[Ask]] = []

    async def handler(call: Call[Ask]) -> Told:
        kept.append(call)
        return Told("later")

    async with served(_server(handler)) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")
        assert (await alice.command("ask"))["type"] == "told"
        assert await kept[0].subscribe("room:r") is None
        late = await alice.receive_json()
        assert (late["type"], "id" in late) == ("subscribed", False)
        await alice.aclose()
        await site.server.context.admission.wait_empty()
        assert await kept[0].subscribe("room:r") is None
        assert not kept[0].is_subscribed("room:r")


async def test_an_app_may_vouch_for_a_subscription(autojump_clock: MockClock) -> None:
    """Rules and token decide unless the app says `permitted`; grammar and the limit of channels always stand."""

    async def handler(call: Call[Ask]) -> Refusal | None:
        channel, _, permitted = call.data.text.partition("!")
        return await call.subscribe(channel, permitted=bool(permitted))

    auth = Auth(secret=configured().auth.secret, open_rooms=False)
    config = configured(auth=auth, limits=Limits(channels_per_connection=3))
    async with served(_server(handler, config)) as site, peers_of(site) as peers:
        alice = await peers.connect("alice")  # in user:alice and all
        outcomes = []
        for text in (
            "room:a",
            "user:bob",
            "nonsense",
            "room:a b!yes",
            "room:a!yes",
            "room:b!yes",
            "room:a!yes",
        ):
            answer = await alice.command("ask", {"text": text})
            outcomes.append(answer["data"].get("code") or answer["type"])
        forbidden, invalid = 2 * ["forbidden"], 2 * ["invalid_data"]
        assert outcomes == [*forbidden, *invalid, "subscribed", "limit_reached", "subscribed"]


async def test_an_app_vouches_for_one_token(autojump_clock: MockClock) -> None:
    """A refresh leaves what only the app permitted, and the client is told, so that it can ask again."""

    async def handler(call: Call[Ask]) -> Refusal | None:
        return await call.subscribe("room:a", permitted=True)

    config = configured(auth=Auth(secret=configured().auth.secret, open_rooms=False))
    async with served(_server(handler, config)) as site, peers_of(site) as peers:
        alice = await peers.connect("alice")
        assert (await alice.command("ask"))["type"] == "subscribed"
        await alice.send_json({"type": "refresh", "data": {"token": site.token("alice")}})
        told = [await alice.receive_json() for _ in range(2)]
        assert [message["type"] for message in told] == ["unsubscribed", "refreshed"]
        assert told[0]["data"] == {"channel": "room:a"}
        assert (await alice.command("ask"))["type"] == "subscribed"


async def test_nothing_comes_after_unsubscribed(autojump_clock: MockClock) -> None:
    """What was published before it comes before the answer, and nothing after; not to be in is `not_found`."""

    async def handler(call: Call[Ask]) -> Refusal | None:
        if call.data.text == "join":
            return await call.subscribe("room:r")
        await call.publish("room:r", "last", {})
        refusal = call.unsubscribe("room:r")
        await call.publish("room:r", "too_late", {})
        return refusal

    async with served(_server(handler)) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")
        assert (await alice.command("ask", {"text": "join"}))["type"] == "subscribed"
        await alice.send_json({"type": "ask", "id": "c1"})
        assert [message["type"] for message in await _until(alice, "unsubscribed")] == [
            "last",
            "unsubscribed",
        ]
        assert (await alice.command("ask"))["data"]["code"] == "not_found"


# --- publishing --------------------------------------------------------------------------------------


async def test_what_a_call_publishes_is_checked_and_answered(autojump_clock: MockClock) -> None:
    """A Struct or a mapping is published and answers `published`; a declared event's wrong payload is refused."""

    async def handler(call: Call[Ask]) -> Published | Refusal:
        payloads: dict[str, Any] = {"struct": Told("x"), "mapping": {"text": "x"}, "wrong": {"text": 5}}
        return await call.publish("user:alice", "noted", payloads[call.data.text])

    app = _app(handler)
    app.event("noted", Ask)
    async with served(Server(configured(), apps=[app])) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")
        for offset, kind in enumerate(("struct", "mapping"), 1):
            await alice.send_json({"type": "ask", "data": {"text": kind}, "id": "c1"})
            noted, published = [await alice.receive_json() for _ in range(2)]
            assert (noted["type"], noted["data"], noted["offset"]) == ("noted", {"text": "x"}, offset)
            assert published["data"] == {"channel": "user:alice", "offset": offset}
        error = (await alice.command("ask", {"text": "wrong"}))["data"]
        assert (error["code"], "text" in error["message"]) == ("invalid_data", True)
        # The same holds for whoever else publishes it.
        admin = await peers.connect("admin", roles=["admin"])
        data = {"channel": "all", "event": "noted", "payload": {"text": 5}}
        assert (await admin.command("publish", data))["data"]["code"] == "invalid_data"
        data["event"] = "told"  # an app's answer is the server's word: nobody can publish it
        assert (await admin.command("publish", data))["data"]["code"] == "forbidden"


async def test_a_handler_that_ends_its_own_connection_owes_no_answer(autojump_clock: MockClock) -> None:
    """Closed by its own command, a connection gets the close and no error of ours in the log."""

    async def handler(call: Call[Ask]) -> None:
        call.push.disconnect(call.identity.user_id)

    async with served(_server(handler)) as site, unharmed(site) as peers:
        alice = await peers.connect("alice")
        await alice.send_json({"type": "ask", "id": "c1"})
        messages, closed = await alice.until_closed()
        assert [message["type"] for message in messages] == ["disconnect"]
        assert closed.code == 3503
