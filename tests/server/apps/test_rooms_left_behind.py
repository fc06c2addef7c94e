"""Rooms that were kept do not come open when the server is told to keep none."""

from pathlib import Path

import pytest
from support.kept_rooms import rooms_config, rooms_site

from tidings.server.choosing import check_left_behind, choose_apps, may_have_left
from tidings.server.config import Config, ConfigError, Rooms
from tidings.server.config import Server as ServerSection
from tidings.server.store.errors import StoreRefused


async def test_a_server_that_keeps_no_rooms_does_not_open_those_that_were(
    tmp_path: Path, records_url: str
) -> None:
    """It refuses to start with the cure, until no room is left that not everybody may enter and speak in."""
    without = rooms_config(tmp_path, records_url, kept=False)
    async with rooms_site(rooms_config(tmp_path, records_url)) as rooms:
        await rooms.done("ann", "POST", "", {"name": "lobby", "policy": "open"})
        await rooms.done("ann", "POST", "", {"name": "secret", "policy": "invited"})
    with pytest.raises(StoreRefused, match=r"1 rooms were kept .* Set rooms\.kept = true"):
        check_left_behind(without)
    with pytest.raises(BaseExceptionGroup) as failed:
        async with rooms_site(without):
            raise AssertionError("it has started")
    assert failed.group_contains(StoreRefused)
    async with rooms_site(rooms_config(tmp_path, records_url)) as rooms:
        await rooms.done("ann", "DELETE", "/secret")
    async with rooms_site(without):
        pass


def test_what_keeps_no_rooms_and_never_has_starts(tmp_path: Path) -> None:
    """Nothing is opened, and nothing made."""
    config = rooms_config(tmp_path, kept=False)
    assert not may_have_left(config)
    check_left_behind(config)
    assert list(tmp_path.iterdir()) == []


def test_rooms_are_kept_by_the_app_of_rooms() -> None:
    """To keep them and to leave the app out is a mistake, and told as one."""
    config = Config(server=ServerSection(apps=()), rooms=Rooms(kept=True))
    with pytest.raises(ConfigError, match=r"rooms\.kept: the app rooms does not run"):
        choose_apps(config)
