"""Publishing over HTTP, against a listening server and subscribers on real sockets."""

from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio
from support.client import RawClient
from support.site import SECRET, Site, configured, listening_site

from tidings.protocol.payloads import check_payload
from tidings.server import push
from tidings.server.api.routes import publishing
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.config import Auth, ChannelRule, History, Server

KEY = "a-key-of-the-tests"
PUBLISH = "/api/v1/publish"
BATCH = "/api/v1/publish/batch"
BROADCAST = "/api/v1/broadcast"
GOOD: dict[str, Any] = {"channel": "room:lobby", "event": "order_shipped", "payload": {"order": 7}}


def error(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal; its body has the one shape that refusals have."""
    body = response.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) == {"code", "message"}
    return response.status_code, body["error"]["code"]


def message(response: httpx.Response) -> str:
    """What a refusal says."""
    said: str = response.json()["error"]["message"]
    return said


async def test_a_publication_reaches_who_is_subscribed(api: httpx.AsyncClient, alice: RawClient) -> None:
    """What is answered is the position under which the subscriber gets it."""
    await alice.command("join_room", {"room": "lobby"})
    response = await api.post(PUBLISH, json=GOOD)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["channel"], answer["offset"]) == ("room:lobby", 1)
    publication = await alice.receive_json()
    assert (publication["type"], publication["data"]) == ("order_shipped", {"order": 7})
    assert publication["offset"] == answer["offset"]
    again = (await api.post(PUBLISH, json=GOOD)).json()
    assert (again["epoch"], again["offset"]) == (answer["epoch"], 2)


async def test_a_key_makes_publishing_idempotent(api_site: Site, api: httpx.AsyncClient) -> None:
    """The same key and body give the same position and publish nothing; another body is a conflict."""
    keyed = GOOD | {"idempotency_key": "k1"}
    first = await api.post(PUBLISH, json=keyed)
    second = await api.post(PUBLISH, json=keyed)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert error(await api.post(PUBLISH, json=keyed | {"payload": {"order": 8}})) == (409, "conflict")
    assert error(await api.post(PUBLISH, json=keyed | {"event": "order_lost"})) == (409, "conflict")
    elsewhere = await api.post(PUBLISH, json=keyed | {"channel": "room:other", "payload": {}})
    assert elsewhere.json()["offset"] == 1
    assert api_site.server.context.hub.statistics().publications == 2


@pytest.mark.parametrize("event", ["connected", "error", "pong", "disconnect", "subscribed", "joined"])
async def test_what_only_the_server_says_cannot_be_published(
    api_site: Site, api: httpx.AsyncClient, event: str
) -> None:
    """A control type is forbidden, alone, in a batch and in a broadcast; nothing of the batch is published."""
    forged = GOOD | {"event": event}
    assert error(await api.post(PUBLISH, json=forged)) == (403, "forbidden")
    assert error(await api.post(BATCH, json={"publications": [GOOD, forged]})) == (403, "forbidden")
    assert error(await api.post(BROADCAST, json={"event": event, "payload": {}})) == (403, "forbidden")
    assert api_site.server.context.hub.statistics().publications == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channel": ...}, "missing required field `channel`"),
        ({"event": ...}, "missing required field `event`"),
        ({"payload": ...}, "missing required field `payload`"),
        ({"channel": 5}, "Expected `str`, got `int` - at `$.channel`"),
        ({"channel": "lobby"}, "a channel name"),
        ({"channel": "room:é"}, "a channel name"),
        ({"channel": "room:x\n"}, "a channel name"),
        ({"channel": "room:" + "x" * 129}, "a channel name"),
        ({"channel": "*"}, "a channel name"),
        ({"event": ""}, "an event name"),
        ({"event": "a b"}, "an event name"),
        ({"payload": "text"}, "Expected `object`, got `str` - at `$.payload`"),
        ({"payload": []}, "Expected `object`, got `array` - at `$.payload`"),
        ({"payload": None}, "Expected `object`, got `null` - at `$.payload`"),
        ({"idempotency_key": ""}, "`$.idempotency_key`"),
        ({"idempotency_key": "x" * 129}, "`$.idempotency_key`"),
        ({"idempotency_key": 7}, "`$.idempotency_key`"),
        ({"event": "notification", "payload": {"title": 1}}, "got `int` - at `$.payload.title`"),
        ({"idempotencykey": "k"}, "unknown field `idempotencykey`"),
        ({"payload": {"n": 2**64}}, "payload cannot be carried"),
    ],
)
async def test_an_ill_typed_field_is_named(
    api_site: Site, api: httpx.AsyncClient, change: dict[str, Any], said: str
) -> None:
    """400 `invalid_data`, with what was expected and where; nothing is published."""
    body = {name: value for name, value in (GOOD | change).items() if value is not ...}
    response = await api.post(PUBLISH, json=body)
    assert error(response) == (400, "invalid_data")
    assert said in message(response)
    assert api_site.server.context.hub.statistics().publications == 0


_DEEP = b'{"channel":"all","event":"e","payload":' + b'{"a":' * 90 + b"1" + b"}" * 90 + b"}"
_VERY_DEEP = b'{"channel":"all","event":"e","payload":{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"channel":"all","event":"e","payload":{"a":"\xff"}}',
        b'{"channel":"all","event":"e","payload":{},"unknown":"\xff"}',
        b'{"channel":"all","event":"e","payload":{}}'.decode().encode("utf-16"),
        b'\xef\xbb\xbf{"channel":"all","event":"e","payload":{}}',
        b'{"channel":"all","event":"e","payload":{"a":NaN}}',
        b'{"channel":"all","event":"e","payload":{"a":1e999}}',
        b'{"channel":"all","event":"e","payload":{"a":' + b"9" * 5000 + b"}}",
        b'{"channel":"all","event":"e","payload":{"a":"\\ud800"}}',
        b'{"channel":"all","event":"e","payload":{}} x',
        b'{"channel":"all","event":"e","payload":{}',
        _DEEP,
        _VERY_DEEP,
        b"[]",
        b"null",
        b"not JSON",
        b"",
    ],
    ids=lambda body: repr(body[:60]),
)
async def test_a_malformed_body_is_refused(api_site: Site, api: httpx.AsyncClient, body: bytes) -> None:
    """Whatever is wrong with the bytes, the answer is 400, and nobody gets anything of it."""
    response = await api.post(PUBLISH, content=body)
    assert response.status_code == 400, response.text
    assert error(response)[1] in {"bad_request", "invalid_data"}
    assert api_site.server.context.hub.statistics().publications == 0


async def test_the_last_of_duplicate_keys_is_what_everybody_gets(
    api: httpx.AsyncClient, alice: RawClient
) -> None:
    """No subscriber can read a body otherwise than the server judged it."""
    await api.post(PUBLISH, content=b'{"channel":"room:x","event":"e","payload":{},"channel":"all",'
                   b'"payload":{"a":1,"a":2}}')  # fmt: skip
    assert (await alice.receive_json())["data"] == {"a": 2}


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        (None, 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonx", 415),
        ("", 415),
    ],
)
async def test_bodies_are_json_or_unnamed(
    api: httpx.AsyncClient, content_type: str | None, status: int
) -> None:
    """A body without Content-Type is taken for JSON; one that says it is something else is refused."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = b'{"channel":"all","event":"e","payload":{}}'
    assert (await api.post(PUBLISH, content=body, headers=headers)).status_code == status


async def test_a_body_beyond_the_limit_is_refused(api_site: Site, api: httpx.AsyncClient) -> None:
    """413, declared or in pieces; the next request on the connection or a new one works."""
    large = b'{"channel":"all","event":"e","payload":{"a":"' + b"x" * 200_000 + b'"}}'

    async def pieces() -> Any:
        for at in range(0, len(large), 50_000):
            yield large[at : at + 50_000]

    assert error(await api.post(PUBLISH, content=large)) == (413, "too_large")
    assert error(await api.post(PUBLISH, content=pieces())) == (413, "too_large")
    assert (await api.post(PUBLISH, json=GOOD)).status_code == 200


async def test_a_batch_is_published_in_order(api: httpx.AsyncClient, alice: RawClient) -> None:
    """The results stand in the order given, and the subscriber gets them in that order."""
    publications = [{"channel": "all", "event": "step", "payload": {"n": n}} for n in range(250)]
    response = await api.post(BATCH, json={"publications": publications})
    results = response.json()["results"]
    assert [result["offset"] for result in results] == list(range(1, 251))
    assert [(await alice.receive_json())["data"]["n"] for _ in range(250)] == list(range(250))


async def test_an_ill_formed_publication_refuses_the_batch(api_site: Site, api: httpx.AsyncClient) -> None:
    """400 with the path of the one that is wrong, before anything is published."""
    response = await api.post(BATCH, json={"publications": [GOOD, GOOD | {"channel": "nowhere"}]})
    assert error(response) == (400, "invalid_data")
    assert "`$.publications[1].channel`" in message(response)
    assert api_site.server.context.hub.statistics().publications == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"event": "notification", "payload": {"title": 5}}, "at `$.publications[1].payload.title`"),
        ({"payload": {"n": 2**65}}, "publications[1]: payload cannot be carried"),
        ({"channels": ["all"]}, "unknown field `channels`"),
    ],
)
async def test_a_payload_that_cannot_be_published_refuses_the_batch(
    api_site: Site, api: httpx.AsyncClient, wrong: dict[str, Any], said: str
) -> None:
    """400 that names the one that is wrong, and those before it are not published either."""
    response = await api.post(BATCH, json={"publications": [GOOD, GOOD | wrong, GOOD]})
    assert error(response) == (400, "invalid_data")
    assert said in message(response)
    assert api_site.server.context.hub.statistics().publications == 0


async def test_a_slip_of_the_pen_does_not_tell_everybody(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient
) -> None:
    """`channel` in place of `channels` is refused, and not published to `all`."""
    body = {"event": "secret", "payload": {}, "channel": "room:vip"}
    response = await api.post(BROADCAST, json=body)
    assert error(response) == (400, "invalid_data")
    assert "`channel`" in message(response)
    assert api_site.server.context.hub.statistics().publications == 0


async def test_a_broadcast_looks_at_its_payload_once(
    api: httpx.AsyncClient, alice: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many channels it goes to: checking a large payload for each would stop the loop for seconds."""
    looked = 0

    def counting(*arguments: Any, **more: Any) -> Any:
        nonlocal looked
        looked += 1
        return check_payload(*arguments, **more)

    monkeypatch.setattr(push, "check_payload", counting)
    channels = ["user:alice", *(f"room:{number}" for number in range(999))]
    response = await api.post(BROADCAST, json={"event": "news", "payload": {"n": 1}, "channels": channels})
    assert [result["channel"] for result in response.json()["results"]] == channels
    assert (await alice.receive_json())["data"] == {"n": 1}
    assert looked == 1


async def test_others_have_their_turn_in_a_long_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its two milliseconds are over, and not before."""
    now, turns = 100.0, 0

    async def counting() -> None:
        nonlocal turns
        turns += 1
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(publishing, "perf_counter", lambda: now)
    monkeypatch.setattr(publishing, "checkpoint", counting)
    turn = publishing.Turn()
    await turn.give()
    now += publishing.TURN_SECONDS / 2
    await turn.give()
    assert turns == 0
    now += publishing.TURN_SECONDS
    await turn.give()
    assert turns == 1
    await turn.give()
    assert turns == 1, "a new turn has begun"


async def test_nothing_is_acknowledged_that_nobody_will_hear(
    api_site: Site, api: httpx.AsyncClient
) -> None:
    """Once the server drains, publishing is 503 with Retry-After, and looking goes on."""
    api_site.server.context.draining = True
    response = await api.post(PUBLISH, json=GOOD)
    assert (error(response), response.headers["retry-after"]) == ((503, "unavailable"), "5")
    assert (await api.get("/api/v1/stats")).status_code == 200
    assert api_site.server.context.hub.statistics().publications == 0


async def test_a_conflict_in_a_batch_is_told_in_its_place(api: httpx.AsyncClient) -> None:
    """A refused publication of a batch does not keep the others back."""
    keyed = GOOD | {"idempotency_key": "k"}
    other = keyed | {"payload": {"order": 8}}
    results = (await api.post(BATCH, json={"publications": [keyed, keyed, other, GOOD]})).json()["results"]
    assert results[0] == results[1]
    assert results[2]["error"]["code"] == "conflict"
    assert results[3]["offset"] == results[0]["offset"] + 1


async def test_a_batch_beyond_the_limit_is_refused(api_site: Site, api: httpx.AsyncClient) -> None:
    """413 for one publication or channel more than `http.batch_publications`, and nothing is published."""
    tiny = {"channel": "all", "event": "e", "payload": {}}
    assert (await api.post(BATCH, json={"publications": [tiny] * 1000})).status_code == 200
    before = api_site.server.context.hub.statistics().publications
    assert error(await api.post(BATCH, json={"publications": [tiny] * 1001})) == (413, "too_large")
    channels = [f"room:{number}" for number in range(10_000)]
    body = {"event": "e", "payload": {}, "channels": channels}
    assert error(await api.post(BROADCAST, json=body)) == (413, "too_large")
    assert api_site.server.context.hub.statistics().publications == before


async def test_an_empty_batch_does_nothing(api: httpx.AsyncClient) -> None:
    """A publisher that flushes what it has needs no special case for nothing."""
    assert (await api.post(BATCH, json={"publications": []})).json() == {"results": []}


async def test_a_broadcast_reaches_everybody_or_the_channels_named(
    api: httpx.AsyncClient, alice: RawClient, bob: RawClient
) -> None:
    """Without channels it goes to `all`; with them, to each of them once."""
    response = await api.post(BROADCAST, json={"event": "news", "payload": {"n": 1}})
    assert [result["channel"] for result in response.json()["results"]] == ["all"]
    assert [(await who.receive_json())["data"] for who in (alice, bob)] == [{"n": 1}] * 2
    body = {"event": "news", "payload": {"n": 2}, "channels": ["user:bob", "room:x"]}
    assert [r["channel"] for r in (await api.post(BROADCAST, json=body)).json()["results"]] == body[
        "channels"
    ]
    assert (await bob.receive_json())["channel"] == "user:bob"
    await api.post(BROADCAST, json={"event": "news", "payload": {"n": 3}})
    assert (await alice.receive_json())["data"] == {"n": 3}


@pytest.mark.parametrize("channels", [[], "all", ["nowhere"], [5], None])
async def test_a_broadcast_needs_channels_that_are_ones(api: httpx.AsyncClient, channels: object) -> None:
    """An empty list is no way to say everybody."""
    response = await api.post(BROADCAST, json={"event": "e", "payload": {}, "channels": channels})
    assert error(response) == (400, "invalid_data")
    assert "$.channels" in message(response)


async def test_the_answer_says_what_it_is_worth(api_site: Site, api: httpx.AsyncClient) -> None:
    """Epoch, offset and durability as the broker has them, in each way to publish; no `dropped` of 0."""
    broker = api_site.server.context.broker
    for channel in ("room:lobby", "user:alice"):
        answers = [
            (await api.post(PUBLISH, json=GOOD | {"channel": channel})).json(),
            (await api.post(BATCH, json={"publications": [GOOD | {"channel": channel}]})).json()["results"][
                0
            ],
            (await api.post(BROADCAST, json={"event": "e", "payload": {}, "channels": [channel]})).json()[
                "results"
            ][0],
        ]
        for number, answer in enumerate(answers, 1):
            assert set(answer) == {"channel", "epoch", "offset", "durability"}
            assert (answer["offset"], answer["durability"]) == (number, broker.durability(channel))


async def test_a_full_inbox_is_told(api_site: Site, api: httpx.AsyncClient) -> None:
    """What pushes out something that nobody has acknowledged says so; a channel that is no inbox never does."""
    push = api_site.server.context.push
    kept = api_site.server.context.policies.of("user:alice").history_size
    for _ in range(kept):
        assert (await push.to_user("alice", "note", {})).dropped == 0
    answer = (await api.post(PUBLISH, json=GOOD | {"channel": "user:alice"})).json()
    assert (answer["offset"], answer["dropped"]) == (kept + 1, 1)
    for _ in range(105):
        answer = (await api.post(PUBLISH, json=GOOD)).json()
        assert "dropped" not in answer


async def test_one_login_can_be_left_out(api_site: Site, api: httpx.AsyncClient) -> None:
    """The user's other logins get it, in each of the three ways to publish; elsewhere the field is refused."""
    tokens = [api_site.token("alice", session_id=sid) for sid in ("mine", "other")]
    async with (
        aclosing(await api_site.connect(token=tokens[0])) as mine,
        aclosing(await api_site.connect(token=tokens[1])) as other,
    ):
        excluding = {"excluded_session": "mine", "event": "changed", "payload": {}}
        one = excluding | {"channel": "user:alice"}
        assert (await api.post(PUBLISH, json=one)).status_code == 200
        assert (await api.post(BATCH, json={"publications": [one]})).status_code == 200
        assert (await api.post(BROADCAST, json=excluding | {"channels": ["user:alice"]})).status_code == 200
        await api.post(PUBLISH, json=GOOD | {"channel": "user:alice"})
        heard = [(await other.receive_json())["type"] for _ in range(4)]
        assert heard == ["changed", "changed", "changed", "order_shipped"]
        heard = []
        while "order_shipped" not in heard:
            heard.append((await mine.receive_json())["type"])
        assert "changed" not in heard
    for channel in ("room:lobby", "all", "group:g"):
        refused = await api.post(PUBLISH, json=GOOD | {"channel": channel, "excluded_session": "mine"})
        assert error(refused) == (403, "forbidden")
        assert message(refused).startswith("excluded_session: only a user's own channel")
    assert "`$.excluded_session`" in message(await api.post(PUBLISH, json=one | {"excluded_session": ""}))


async def test_a_broker_that_cannot_publish_is_told(
    api_site: Site, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with when to come again, or a refusal in its place among others: never an acknowledgement."""
    broker = api_site.server.context.broker
    publish = broker.publish

    async def unavailable(channel: str, *arguments: Any, **named: Any) -> Any:
        if channel == "room:full":
            raise BrokerUnavailable("the disk is full")
        return await publish(channel, *arguments, **named)

    monkeypatch.setattr(type(broker), "publish", staticmethod(unavailable))
    response = await api.post(PUBLISH, json=GOOD | {"channel": "room:full"})
    assert error(response) == (503, "unavailable")
    assert message(response) == "the disk is full"
    assert response.headers["Retry-After"]
    body = {"publications": [GOOD, GOOD | {"channel": "room:full"}, GOOD]}
    results = (await api.post(BATCH, json=body)).json()["results"]
    assert [result.get("offset") for result in results] == [1, None, 2]
    assert results[1]["error"] == {"code": "unavailable", "message": "the disk is full"}


async def test_a_batch_waits_for_the_disk_together(tmp_path: Path) -> None:
    """300 to one durable channel, and some to others between: in order, and in far fewer commits than that."""
    config = configured(
        server=Server(data_dir=str(tmp_path)),
        auth=Auth(secret=SECRET, api_keys=(KEY,)),
        history=History(log="sqlite"),
        channels={"room:kept": ChannelRule(durable=True, history_size=1000, history_age=3600.0)},
    )
    channels = [("room:kept", "room:kept", "room:light", "user:bob")[number % 4] for number in range(600)]
    batch = [
        {"channel": channel, "event": "news", "payload": {"number": number}}
        for number, channel in enumerate(channels)
    ]
    with trio.fail_after(30):
        async with listening_site(config) as site:
            url, headers = f"http://127.0.0.1:{site.port}", {"X-API-Key": KEY}
            async with httpx.AsyncClient(base_url=url, headers=headers) as client:
                response = await client.post("/api/v1/publish/batch", json={"publications": batch})
            results = response.json()["results"]
            store = site.server.messaging.store
            assert store is not None
            assert store.groups < 150
            kept = await site.server.context.broker.history("room:kept", 0, limit=1000, most_bytes=10**7)
    counts = Counter[str]()
    for channel, result in zip(channels, results, strict=True):
        counts[channel] += 1
        durability = "memory" if channel == "room:light" else "disk"
        assert (result["channel"], result["offset"], result["durability"]) == (
            channel,
            counts[channel],
            durability,
        )
    expected = [number for number, channel in enumerate(channels) if channel == "room:kept"]
    assert [msgspec.json.decode(each.payload)["number"] for each in kept.publications] == expected
