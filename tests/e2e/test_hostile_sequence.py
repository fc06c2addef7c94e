"""Every hostile input there is, one after another, against one process as its owner starts it."""

import json
import re
import signal
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
from support.client import RawClient
from support.hostile import MESSAGE_BYTES
from support.hostile_deflate import DEFLATE
from support.hostile_rights import MORE_TOKENS, SLOW_ROWS, TABLES
from support.hostile_site import (
    Elsewhere,
    Row,
    Verdicts,
    every_variant,
    forget_peak,
    peak_bytes,
    process_site,
)
from support.tasks import Peers
from support.tokens import BAD_TOKENS

# Seconds for a head and for a body: no good one takes so long on the slowest machine.
PATIENCE = 2

# What the process may need beyond what it had, at worst: a few whole messages with their copies, the
# outbox of the one who never reads, and what the allocator does not give back. Less than any bomb.
ROOM_BYTES = 40 * MESSAGE_BYTES + 30_000_000

ROOM = "neighbourhood"


async def _heard(neighbour: RawClient, text: str) -> None:
    """The neighbour's own word comes back to it."""
    said = {"type": "room_message", "data": {"room": ROOM, "text": text}}
    await neighbour.send_json(said)
    while (message := await neighbour.receive_json())["type"] != "room_message":
        if message["type"] == "error":
            # A fast server lets the rows go by faster than anybody may speak: it says when to try again.
            assert message["data"]["code"] == "rate_limited", message
            await trio.sleep(message["data"]["retry_after"])
            await neighbour.send_json(said)
    assert message["data"]["text"] == text


async def _all_rows(site: Elsewhere, neighbour: RawClient, tables: dict[str, Any]) -> None:
    verdicts = Verdicts()
    for table, rows in tables.items():
        for name, row in rows.items():
            with verdicts.row(f"{table}: {name}"):
                await _alone(row, site)
                await _heard(neighbour, name)
    verdicts.check()


async def _alone(row: Row, site: Elsewhere) -> None:
    async with aclosing(Peers(site)) as peers:
        await row(peers)


@pytest.mark.slow
@every_variant
async def test_a_process_lives_through_all_of_them(tmp_path: Path, engine: str, compression: bool) -> None:
    """A neighbour is served throughout; then tasks, descriptors and memory are as before, and the log is clean.

    Takes some 8 s, and 30 s where others keep the machine busy, for each engine.
    """
    settings = [f"heartbeat.handshake_timeout={PATIENCE}", f"http.body_timeout={PATIENCE}"]
    if compression:
        settings.append("compression.enabled=true")
    with trio.fail_after(120):
        async with process_site(engine, *settings, folder=tmp_path) as site:
            async with aclosing(Peers(site)) as household:
                neighbour = household.adopt(await site.connect("neighbour"))
                neighbour.answers_pings = True
                # In a room of its own: the rows' clients talk, too.
                assert (await neighbour.command("join_room", {"room": ROOM}))["type"] == "subscribed"
                await _heard(neighbour, "hello?")
                before = await site.footing()
                forget_peak(site.pid)
                begun_with = peak_bytes(site.pid)

                tables = dict(TABLES) | ({"DEFLATE": DEFLATE} if compression else {})
                await _all_rows(site, neighbour, tables)
                async with trio.open_nursery() as nursery:  # they wait for the same timeouts
                    for row in SLOW_ROWS.values():
                        nursery.start_soon(_alone, row, site)
                await _heard(neighbour, "still there?")

                assert await site.settled(before) == before
                assert site.process.process.poll() is None
                assert peak_bytes(site.pid) - begun_with < ROOM_BYTES
            site.process.signal(signal.SIGTERM)
            assert await site.process.ended() == 0
        _check_log(site)


def _check_log(site: Elsewhere) -> None:
    """Every line is whole, none is an error, and none holds a token that was ever sent."""
    log = site.process.log
    lines = [json.loads(line) for line in log.splitlines()]
    assert sum(line["event"] == "disconnected" for line in lines) > 100
    assert {line["level"] for line in lines} <= {"info", "warning"}
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", log)
    assert "Traceback" not in log
    sent = [*site.issued, *BAD_TOKENS.values(), *MORE_TOKENS.values()]
    # The claims may be anybody's; what follows the last dot is what makes a token of them.
    canaries = {part for token in sent for part in (token, token.rpartition(".")[2]) if len(part) > 20}
    assert len(canaries) > len(TABLES["HEADS"])
    assert not [canary for canary in canaries if canary in log]
