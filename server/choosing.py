"""Which apps a server runs, and which tables they have: so it starts, and so `tidings migrate` sees to them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidings.protocol.messages.registry import NameConflict
from tidings.server.apps import accounts, lines, notifications
from tidings.server.apps.rooms import NAME as ROOMS
from tidings.server.apps.rooms import rooms_app
from tidings.server.config import Config, ConfigError
from tidings.server.extension import App
from tidings.server.extension.discovery import BrokenApp, check_names, find_apps
from tidings.server.permissions import RoomRules
from tidings.server.store.records.files import NAME as RECORDS

if TYPE_CHECKING:
    # Loaded where an app has tables: SQLAlchemy alone takes a tenth of a second.
    from tidings.server.store.records.migrating import Migrations


#: Apps that come with the server and run where they are named, since they open its database.
OPTIONAL: Final = (accounts.NAME, notifications.NAME, lines.NAME)


def choose_apps(config: Config, given: Sequence[App] | None = None) -> list[App]:
    """Rooms, and those that `server.apps` names, or those that are given in their place. Each is made anew.

    All but accounts, which are put together with the parts of a server that they end logins with. Raises
    ConfigError for an unknown name, BrokenApp, NameConflict.
    """
    page = config.history.page_limit
    included = [rooms_app(config.rooms, open_rooms=config.auth.open_rooms, history_page=page)]
    if given is None:
        apps = find_apps(config.server.apps, included, optional=OPTIONAL)
        if notifications.NAME in config.server.apps:
            from tidings.server.apps.notifications.app import notifications_app  # noqa: PLC0415  heavy

            apps.append(notifications_app(config.notifications))
        if lines.NAME in config.server.apps:
            from tidings.server.apps.lines.app import lines_app  # noqa: PLC0415  heavy

            apps.append(lines_app(config.lines))
    else:
        apps = [*included, *given]
    check_names(apps)
    if config.rooms.kept and not any(app.name == ROOMS for app in apps):
        raise ConfigError(
            "rooms.kept: the app rooms does not run: name it in server.apps, or keep no rooms"
        )
    return apps


def may_have_left(config: Config) -> bool:
    """Whether there is a database in which an app that does not run may have left something to check."""
    # A server that has no tables does not load what reads them.
    records = Path(config.server.data_dir) / RECORDS
    return not config.rooms.kept and (config.store.url != "" or records.exists())


def check_left_behind(config: Config) -> None:
    """Look whether there is what only an app would guard that does not run. Blocks. Raises StoreRefused."""
    from tidings.server.apps.rooms.left_behind import check_none_kept  # noqa: PLC0415  heavy

    check_none_kept(config.store.url, Path(config.server.data_dir))


def keeps_accounts(config: Config) -> bool:
    """Whether the server keeps users itself."""
    return accounts.NAME in config.server.apps


def migrations_of(config: Config, apps: Sequence[App]) -> "list[Migrations]":
    """The tables that a server has, those of accounts first; without any, no database of records is opened.

    Raises BrokenApp for an app whose name is none for tables.
    """
    with_tables = [app for app in apps if app.migrations is not None]
    if not with_tables and not keeps_accounts(config):
        return []
    from tidings.server.store.records.migrating import Migrations  # noqa: PLC0415  heavy

    found = []
    if keeps_accounts(config):
        from tidings.server.apps.accounts.app import MIGRATIONS  # noqa: PLC0415  heavy

        found.append(MIGRATIONS)
    for app in with_tables:
        assert app.migrations is not None
        found.append(Migrations(_owner(app, found), app.migrations))
    return found


def rules_of_rooms(apps: Sequence[App]) -> RoomRules | None:
    """What the apps say of rooms. Raises NameConflict where two do."""
    ruling = [app for app in apps if app.rooms is not None]
    if len(ruling) > 1:
        names = " and ".join(repr(app.name) for app in ruling)
        raise NameConflict(f"who may enter rooms is said by {names}: leave one of them out of server.apps")
    return ruling[0].rooms if ruling else None


def _owner(app: App, found: "Sequence[Migrations]") -> str:
    """The app's name as part of a table's."""
    owner = app.name.lower().replace("-", "_")
    if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", owner) is None:
        raise BrokenApp(f"app {app.name!r}: with tables an app's name has at most 32 characters")
    if owner in [each.owner for each in found] or owner == "records":
        raise BrokenApp(f"app {app.name!r}: its tables would be called as another's: give it another name")
    return owner
