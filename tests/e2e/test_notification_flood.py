"""Notifications by the thousand, and what other users of the same server notice of them: nothing."""

from pathlib import Path

import msgspec
import pytest
import trio
from support.accounts import OTHER, PASSWORD, accounts_config, accounts_site


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
        under_way = trio.Event()

        async def flood(user: str) -> None:
            nonlocal made
            while made < 1_500:
                made += 1
                if made == 120:  # two by each
                    under_way.set()
                await site.ask("POST", "/api/v1/notifications/demo", site.site.token(user))

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(flood, f"u{number}")
            await under_way.wait()
            change = {"old_password": PASSWORD, "new_password": OTHER}
            await site.done("PUT", "/api/users/password", token, json=change)
            for _ in range(3):
                await site.login("alice", OTHER)
            assert made < 1_500, "the flood was over before it could be in the way"
            made = 1_500
