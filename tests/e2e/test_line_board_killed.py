"""A server that is killed under devices which send: what it has confirmed is there, once, and counted once."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trio
from support.client import Closed, RawClient
from support.line_board import lines_config, put_migrated, stamped
from support.process import Running, running, serve
from support.tokens import forged

from tidings.bench.lines_recount import recount

DEVICES, LINES, CUSTOMERS = 6, 150, 40
# Of those of all devices, so that some of each are confirmed and some are not.
KILLED_AFTER: Final = (150, 450)

ROOT: Final = forged(sub="root", roles=["admin"])


@dataclass
class Sender:
    """A device that sends its lines one after another, several under way, until each is confirmed."""

    number: int
    confirmed: dict[str, bool] = field(default_factory=dict)
    """By the id of the message: whether it was answered as a duplicate."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All that it has to send; devices share an account, on which they meet the same customers."""
        return [
            {
                "line_account_id": "shared" if number % 3 == 0 else f"account{self.number}",
                "incoming_line_id": f"c{(number * 7 + self.number) % CUSTOMERS}",
                "id": f"{self.number}/{number}",
            }
            for number in range(LINES)
        ]

    @property
    def is_done(self) -> bool:
        """Whether all are confirmed."""
        return len(self.confirmed) == LINES

    async def run(self, process: Running, code: str, note: Any) -> None:
        """Connect, and send what is not confirmed, some of it in arrays; ends with the server or the work."""
        try:
            client = await process.open()
        except OSError:
            return
        try:
            await self._send(client, code, note)
        except (Closed, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(client.stream)

    async def _send(self, client: RawClient, code: str, note: Any) -> None:
        status, _, body = await client.handshake(f"/ws/device?code={code}&device=d{self.number}")
        assert status == 101, body
        assert (await client.receive_json())["type"] == "auth_success"
        accounts = [{"line_account_id": name} for name in ("shared", f"account{self.number}")]
        await client.send_json({"type": "sync_line_accounts", "data": accounts})
        assert (await client.receive_json())["type"] == "sync_result"
        left = [line for line in self.lines if line["id"] not in self.confirmed]
        while left:
            said, left = left[:5], left[5:]
            messages = [{"type": "incoming", "data": line} for line in said]
            for message in [messages] if self.number % 2 else messages:
                await client.send_json(message)
            for line in said:
                answer = stamped(await client.receive_json())
                assert answer["type"] == "incoming_received", answer
                told = answer["data"]
                assert told["incoming_line_id"] == line["incoming_line_id"]
                self.confirmed[line["id"]] = told.get("duplicate", False)
                note()


@pytest.mark.slow
async def test_killed_twice_while_devices_send(tmp_path: Path, records_url: str) -> None:
    """Each confirmed line is in the database, none twice; one that was not is sent again, and counted once."""
    data = tmp_path / "data"
    if not records_url:
        put_migrated(lines_config(data))
    command = serve('server.apps=["*","lines"]', f"server.data_dir={data}", f"store.url={records_url}")
    start = partial(running, *command, folder=tmp_path)
    senders = [Sender(number) for number in range(DEVICES)]
    code, confirmed = "", 0
    for limit in (*KILLED_AFTER, None):
        async with start() as process:
            code = code or await make_group(process)
            with trio.fail_after(40):
                async with trio.open_nursery() as nursery:

                    def note(limit: int | None = limit, process: Running = process) -> None:
                        # In the moment of an answer, while others are on their way.
                        if limit is not None and sum(len(each.confirmed) for each in senders) >= limit:
                            process.process.kill()

                    for sender in senders:
                        nursery.start_soon(sender.run, process, code, note)
            assert all(sender.is_done for sender in senders) == (limit is None)
            if limit is not None:
                await process.process.wait()
                await check_confirmed(senders, records_url, data)
                confirmed = sum(len(each.confirmed) for each in senders)
                assert limit <= confirmed < DEVICES * LINES
            else:
                await check_all(process, senders, records_url, data)


async def make_group(process: Running) -> str:
    """A group; its code."""
    async with _http(process) as http:
        made = await http.post("/groups", json={"name": "group", "time_zone": "UTC"})
    return str(made.raise_for_status().json()["activation_code"])


async def check_confirmed(senders: list[Sender], url: str, data: Path) -> None:
    """That what was confirmed stands in the database of a server that is dead, and that its figures are right."""
    counted = await trio.to_thread.run_sync(partial(recount, url, data))
    assert counted.messages.keys() >= {
        (line["line_account_id"], line["id"])
        for sender in senders
        for line in sender.lines
        if line["id"] in sender.confirmed
    }
    assert counted.repeated == 0
    assert counted.kept == counted.accounts


async def check_all(process: Running, senders: list[Sender], url: str, data: Path) -> None:
    """That all is there once, as the devices say, in the database and in what the server tells."""
    await check_confirmed(senders, url, data)
    counted = await trio.to_thread.run_sync(partial(recount, url, data))
    sent = Counter(
        (line["line_account_id"], line["incoming_line_id"]) for each in senders for line in each.lines
    )
    assert counted.lines == DEVICES * LINES == sum(sent.values())
    duplicates = counted.lines - len(sent)
    assert sum(each.duplicate for each in counted.accounts.values()) == duplicates
    assert sum(said for sender in senders for said in sender.confirmed.values()) == duplicates
    async with _http(process) as http:
        (group,) = (await http.get("/groups")).raise_for_status().json()["groups"]
    figures = group["figures"]
    assert (figures["total_incoming"], figures["duplicate_incoming"]) == (counted.lines, duplicates)


def _http(process: Running) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {ROOT}"}
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{process.port}/api/v1/lines", headers=headers, verify=False
    )
