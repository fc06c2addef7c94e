"""What channels keep, over HTTP."""

from typing import Any

import httpx
import pytest
from support.client import RawClient
from support.site import Site

from tidings.protocol.errors import Refusal
from tidings.server.brokers.base import BrokerUnavailable

HISTORY = "/api/v1/history/room:lobby"


async def put(site: Site, count: int, channel: str = "room:lobby", **more: Any) -> None:
    """Publish so many, numbered from 1."""
    for number in range(1, count + 1):
        await site.server.context.push.publish(channel, "note", {"n": number}, **more)


def offsets(answer: dict[str, Any]) -> list[int]:
    """Of the publications on a page."""
    return [publication["offset"] for publication in answer["publications"]]


def error(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return response.status_code, response.json()["error"]["code"]


async def test_a_channel_is_read_page_by_page(api_site: Site, api: httpx.AsyncClient) -> None:
    """Each page begins after the last of the one before, until the list ends at the channel's offset."""
    await put(api_site, 7)
    page = (await api.get(HISTORY, params={"limit": 3})).json()
    assert page["complete"]
    assert (offsets(page), page["offset"], page["channel"]) == ([1, 2, 3], 7, "room:lobby")
    seen = offsets(page)
    while seen[-1] < page["offset"]:
        params = {"epoch": page["epoch"], "since": seen[-1], "limit": 3}
        page = (await api.get(HISTORY, params=params)).json()
        assert page["complete"]
        seen += offsets(page)
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    params = {"epoch": page["epoch"], "since": 7}
    assert offsets((await api.get(HISTORY, params=params)).json()) == []


async def test_a_publication_is_told_as_it_was_live(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient
) -> None:
    """Type, offset, time, data and user are those that a subscriber got, byte for byte."""
    payload = {"text": "é♥😀", "n": 1e300, "deep": [{"a": None}]}
    await api_site.server.context.push.to_user("alice", "note", payload)
    live = await alice.receive_json()
    response = await api.get("/api/v1/history/user:alice")
    (kept,) = response.json()["publications"]
    assert kept == {
        name: live[name] for name in ("type", "channel", "offset", "timestamp", "data", "user_id")
    }
    assert kept["user_id"] == "alice"
    await put(api_site, 1)
    assert "user_id" not in (await api.get(HISTORY)).json()["publications"][0]


async def test_a_position_that_cannot_be_gone_on_from_is_told(
    api_site: Site, api: httpx.AsyncClient
) -> None:
    """Another epoch, one ahead of the head: all that is kept, not complete; at the head: nothing, complete."""
    await put(api_site, 3)
    epoch = (await api.get(HISTORY)).json()["epoch"]
    cases: list[tuple[dict[str, Any], list[int], bool]] = [
        ({"epoch": "another", "since": 2}, [1, 2, 3], False),
        ({"epoch": "another"}, [1, 2, 3], False),
        ({"epoch": epoch, "since": 9}, [1, 2, 3], False),
        ({"epoch": epoch, "since": 2**63 - 1}, [1, 2, 3], False),
        ({"epoch": epoch, "since": 3}, [], True),
        ({"epoch": epoch, "since": 1}, [2, 3], True),
        ({"epoch": epoch}, [1, 2, 3], True),
        ({"since": 2}, [3], True),
        ({"since": 9}, [1, 2, 3], False),
    ]
    for params, expected, complete in cases:
        page = (await api.get(HISTORY, params=params)).json()
        assert (offsets(page), page["complete"], page["offset"]) == (expected, complete, 3), params


async def test_what_was_trimmed_is_told(api_site: Site, api: httpx.AsyncClient) -> None:
    """Rooms keep 100: who asks for what followed the first gets those kept, and is told that it is not all."""
    await put(api_site, 105)
    epoch = (await api.get(HISTORY, params={"limit": 1})).json()["epoch"]
    page = (await api.get(HISTORY, params={"epoch": epoch, "since": 1, "limit": 2})).json()
    assert (offsets(page), page["complete"]) == ([6, 7], False)
    page = (await api.get(HISTORY, params={"epoch": epoch, "since": 5, "limit": 2})).json()
    assert (offsets(page), page["complete"]) == ([6, 7], True)


async def test_a_page_is_bounded_in_bytes(api_site: Site, api: httpx.AsyncClient) -> None:
    """A page of large publications ends with the one that fills it."""
    for _ in range(30):
        await api_site.server.context.push.to_room("lobby", "note", {"text": "x" * 200_000})
    page = (await api.get(HISTORY)).json()
    assert offsets(page) == list(range(1, 22)), "4 MiB are 20.97 times 200 kB"
    params = {"epoch": page["epoch"], "since": 21}
    assert offsets((await api.get(HISTORY, params=params)).json()) == list(range(22, 31))


async def test_deleting_forgets_and_offsets_go_on(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient, bob: RawClient
) -> None:
    """Nothing of before is kept, for HTTP or for who comes back; the next publication has the next offset."""
    await put(api_site, 3)
    subscribed = (await alice.command("join_room", {"room": "lobby"}))["data"]
    response = await api.delete(HISTORY)
    assert response.status_code == 200
    assert response.json() == {"channel": "room:lobby", "epoch": subscribed["epoch"], "offset": 3}
    page = (await api.get(HISTORY)).json()
    assert (page["publications"], page["offset"]) == ([], 3)
    since = {"epoch": subscribed["epoch"], "since": 1}
    assert not (await api.get(HISTORY, params=since)).json()["complete"]
    position = {"epoch": subscribed["epoch"], "offset": 1}
    answer = await bob.command("join_room", {"room": "lobby", "since": position})
    assert not answer["data"]["recovered"]
    await put(api_site, 1)
    assert (await alice.receive_json())["offset"] == 4
    assert (await api.delete("/api/v1/history/room:empty")).json()["offset"] == 0


async def test_deleting_drops_what_is_kept_at_hand(api_site: Site, api: httpx.AsyncClient) -> None:
    """What clients were just coming back to is not served from memory after it was deleted."""
    forgotten: list[str] = []
    push = api_site.server.context.push
    forget, push.forget = push.forget, forgotten.append
    assert forget == api_site.server.context.histories.forget
    await api.delete(HISTORY)
    assert forgotten == ["room:lobby"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("lobby", "channel: expected all, user:<id>"),
        ("room:%C3%A9", "channel: expected"),
        ("room:", "channel: expected"),
        ("*", "channel: expected"),
        ("room:lobby?since=-1", "since: "),
        ("room:lobby?since=9223372036854775808", "since: "),
        ("room:lobby?since=x", "since: "),
        ("room:lobby?epoch=" + "x" * 129, "epoch: "),
        ("room:lobby?limit=0", "limit: "),
        ("room:lobby?limit=1001", "limit: "),
    ],
)
async def test_an_ill_formed_question_is_refused(api: httpx.AsyncClient, target: str, said: str) -> None:
    """400 `invalid_data`, and the parameter is named."""
    response = await api.get(f"/api/v1/history/{target}")
    assert error(response) == (400, "invalid_data")
    assert said in response.json()["error"]["message"]
    if "?" not in target:
        assert error(await api.delete(f"/api/v1/history/{target}")) == (400, "invalid_data")


async def test_only_admins_read_and_delete(api_site: Site, stranger: httpx.AsyncClient) -> None:
    """A user has the command `history`, for what they may subscribe to."""
    headers = {"Authorization": f"Bearer {api_site.token('alice')}"}
    for method in ("GET", "DELETE"):
        assert error(await stranger.request(method, HISTORY)) == (401, "unauthorized")
        assert error(await stranger.request(method, HISTORY, headers=headers)) == (403, "forbidden")


async def test_a_broker_that_cannot_answer_is_told(api_site: Site, api: httpx.AsyncClient) -> None:
    """503, with when to come again; what is kept at hand is dropped, since nobody knows whether it was done."""
    broker = api_site.server.context.broker

    async def unavailable(*_: object, **__: object) -> Any:
        raise BrokerUnavailable("the disk is full")

    broker.history = broker.clear = unavailable  # type: ignore[method-assign]
    forgotten: list[str] = []
    api_site.server.context.push.forget = forgotten.append
    for method in ("GET", "DELETE"):
        response = await api.request(method, HISTORY)
        assert error(response) == (503, "unavailable")
        assert response.json()["error"]["message"] == "the disk is full"
        assert "Retry-After" in response.headers
    assert forgotten == ["room:lobby"]


async def test_what_is_not_for_one_is_passed_over_and_never_blocks_the_way(api_site: Site) -> None:
    """However many in a row are not for who asks, the page has what follows them, in order."""
    await put(api_site, 50, "user:alice", excluded_session="s1")
    await put(api_site, 2, "user:alice")
    await put(api_site, 3, "user:alice", excluded_session="s1")
    push = api_site.server.context.push
    page = await push.history(
        "user:alice", None, limit=2, skips=lambda publication: publication.excluded_session == "s1"
    )
    assert not isinstance(page, Refusal)
    assert ([kept.offset for kept in page.publications], page.offset) == ([51, 52], 55)
    everything = await push.history("user:alice", None, limit=100)
    assert not isinstance(everything, Refusal)
    assert len(everything.publications) == 55


async def test_the_path_says_what_it_takes(api: httpx.AsyncClient) -> None:
    """`Allow` names every method of it, asked for or not."""
    assert (await api.options(HISTORY)).headers["Allow"] == "DELETE, GET, OPTIONS"
    refused = await api.post(HISTORY)
    assert error(refused) == (405, "bad_request")
    assert set(refused.headers["Allow"].split(", ")) >= {"DELETE", "GET", "HEAD"}
