"""A notification outlives the server: made while its user is away, it arrives once on return, whatever died."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from support.client import RawClient
from support.notifications import (
    KEY,
    NOTE,
    NotifiedSite,
    notified_config,
    notified_records,
    notified_site,
    put_migrated,
)
from support.process import Running, running, serve
from support.site import SECRET
from support.tokens import forged

from tidings.server.apps.notifications import notes
from tidings.server.apps.notifications.bodies import NewNotification
from tidings.server.store.records.outbox import first_events

ALICE: Final = forged(sub="alice", sid="login", username="alice")


def command(folder: Path, url: str) -> list[str]:
    """What its owner starts it with."""
    return serve(
        'server.apps=["*","notifications"]', f"server.data_dir={folder / 'data'}", f"store.url={url}"
    )


ENVIRONMENT: Final = {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_AUTH_API_KEYS": KEY}


async def kill(process: Running) -> None:
    """End it as a power cut does."""
    process.process.kill()
    await process.process.wait()


async def connect(process: Running) -> RawClient:
    """Alice's telephone, which has read `connected`."""
    client = await process.open()
    status, _, body = await client.handshake(f"/ws?device=phone&token={ALICE}")
    assert status == 101, body
    assert (await client.receive_json())["type"] == "connected"
    return client


async def arrived(client: RawClient, *titles: str) -> None:
    """That these come, each once and in this order, and nothing else; acknowledge them."""
    offset = 0
    for title in titles:
        # How many are not read is announced whenever the server gets to it.
        while (message := await client.receive_json())["type"] == "unread_count":
            pass
        assert (message["type"], message["data"]["title"]) == ("notification", title)
        assert message["data"]["id"].isdigit()
        assert message["offset"] > offset
        offset = message["offset"]
    # The inbox comes in order, and behind it what is published now.
    assert (await client.command("ack", {"channel": "user:alice", "offset": offset}))["type"] == "acked"


async def notify(process: Running, *titles: str) -> None:
    """Notify alice as a back end does; stored when this returns."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", verify=False) as client:
        for title in titles:
            answer = await client.post(
                "/api/v1/ws/notify/alice", headers={"X-API-Key": KEY}, json={**NOTE, "title": title}
            )
            assert answer.status_code == 201, answer.text


async def listed(process: Running) -> tuple[list[str], int]:
    """The titles of alice's list, and how many she has not read."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", verify=False) as client:
        answer = await client.get("/api/v1/notifications", headers={"Authorization": f"Bearer {ALICE}"})
    told: Any = answer.json()
    return [note["title"] for note in told["notifications"]], told["unread"]


@pytest.mark.slow
async def test_killed_while_the_user_is_away(tmp_path: Path, records_url: str) -> None:
    """Three are made and the server is killed in the moment of the last answer: all arrive on return, once."""
    if not records_url:
        put_migrated(tmp_path / "data")
    start = partial(running, *command(tmp_path, records_url), folder=tmp_path, env=ENVIRONMENT)
    async with start() as process:
        # The telephone is known from before; it is away from here on.
        await (await connect(process)).aclose()
        await notify(process, "one", "two", "three")
        await kill(process)
    async with start() as process:
        client = await connect(process)
        await arrived(client, "one", "two", "three")
        assert await listed(process) == (["three", "two", "one"], 3)
        await client.aclose()
        await kill(process)
    async with start() as process:
        # Not again, on neither side of what comes next.
        await notify(process, "four")
        client = await connect(process)
        await arrived(client, "four")
        await client.aclose()


async def leave_unpublished(folder: Path, url: str, *titles: str) -> None:
    """What a server leaves that died between its commits and its publications."""
    async with notified_records(folder, url) as records:
        for title in titles:
            asked = NewNotification(title, "text")
            await records.write(partial(notes.create, user_id="alice", asked=asked, now_ms=1, keep=10))
        left = await records.read(partial(first_events, after_id=0, limit=10))
        assert len(left) == len(titles)


async def titles_heard(site: NotifiedSite) -> list[str]:
    """What alice's telephone hears of notifications, which it acknowledges."""
    await site.told("alice")
    client = await site.connect(site.site.token("alice"), path="/ws?device=phone")
    heard = await site.heard(client, "alice")
    page = await client.command("history", {"channel": "user:alice", "limit": 100})
    await client.command("ack", {"channel": "user:alice", "offset": page["data"]["offset"]})
    await client.aclose()
    return [payload["title"] for event, payload in heard if event == "notification"]


async def test_a_commit_that_was_not_pushed_is_pushed_later(tmp_path: Path, records_url: str) -> None:
    """What lies in the database and went to nobody is pushed by the next server, in order, and not by a third."""
    config = notified_config(tmp_path, records_url, max_age=2**31 - 1)
    async with notified_site(config) as site:
        assert await titles_heard(site) == []
    await leave_unpublished(tmp_path, records_url, "one", "two")
    async with notified_site(config) as site:
        assert await titles_heard(site) == ["one", "two"]
    async with notified_site(config) as site:
        assert await titles_heard(site) == []
