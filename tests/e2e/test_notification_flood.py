"""Notifications by the thousand, and what other users of the same server notice of them: nothing."""

from pathlib import Path

import msgspec
import pytest
import trio
from support.accounts import OTHER, PASSWORD, accounts_config, accounts_site

from tidings.server.apps.accounts import service


@pytest.fixture(autouse=True)
def nobody_is_closed_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a disk or a thread lets a second pass, the server closes whoever has not been told why yet."""
    monkeypatch.setattr(service, "_TOLD_SECONDS", 20.0)


@pytest.mark.slow
async def test_nobody_is_kept_from_logging_in(tmp_path: Path) -> None:
    """While users make as many notifications as they may, another changes the password, and logs in with it."""
    config = accounts_config(tmp_path)
    apps = ("rooms", "accounts", "notifications")
    config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, apps=apps))
    async with accounts_site(config) as site:
        await site.add_all("alice")
        token = await site.login("alice")
        made = 0
        is_over = False
        under_way = trio.Event()

        async def flood(number: int) -> None:
            nonlocal made
            own = 0
            while not is_over:
                made, own = made + 1, own + 1
                if made == 120:  # two by each
                    under_way.set()
                # Under another name where this one has made as many as it may for now.
                user = f"u{number}-{own // 25}"
                await site.ask("POST", "/api/v1/notifications/demo", site.site.token(user))

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(flood, number)
            await under_way.wait()
            before = made
            change = {"old_password": PASSWORD, "new_password": OTHER}
            await site.done("PUT", "/api/users/password", token, json=change)
            for _ in range(3):
                await site.login("alice", OTHER)
            assert made > before, "the flood was not in the way"
            is_over = True
