"""Which apps a server runs: those that come with it, and those that installed distributions offer."""

import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from tidings.protocol.messages.registry import NameConflict
from tidings.server.config import ConfigError
from tidings.server.extension.app import App

ENTRY_POINTS: Final = "tidings.apps"
"""The group in which a distribution names its apps: `polls = "my_polls:app"`."""

EVERY: Final = "*"


class BrokenApp(ConfigError):
    """An installed app cannot be used: it must be mended, or left out of `server.apps`."""


def find_apps(
    names: Sequence[str], included: Sequence[App], *, optional: Collection[str] = ()
) -> list[App]:
    """The apps that `server.apps` names, those included first, then those installed, by name.

    `optional` are names of apps that come with the server too and run only where they are named: they are known,
    and not among those returned. Imports only what is named. Raises ConfigError for an unknown name, BrokenApp, and
    NameConflict when two apps have one name.
    """
    ours = {app.name: app for app in included}
    installed = _installed([*ours, *optional])
    known = [*ours, *optional, *installed]
    for name in names:
        if name != EVERY and name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"server.apps: no app {name!r}; {hint}")
    wanted = [name for name in known if name not in optional and (EVERY in names or name in names)]
    return [ours[name] if name in ours else _load(installed[name]) for name in wanted]


def check_names(apps: Iterable[App]) -> None:
    """Raise NameConflict when two apps have one name."""
    seen: set[str] = set()
    for app in apps:
        if app.name in seen:
            raise NameConflict(f"two apps are called {app.name!r}: rename one of them")
        seen.add(app.name)


def _installed(ours: Iterable[str]) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in _offered(_path()):
        if point.name in ours:
            raise NameConflict(f"{_origin(point)}: an app of this name comes with the server: rename it")
        if point.name in found:
            raise NameConflict(
                f"two apps are called {point.name!r}: {_origin(found[point.name])}; {_origin(point)}"
            )
        found[point.name] = point
    return found


@lru_cache(maxsize=1)
def _offered(_path: object) -> list[EntryPoint]:
    """What is offered by name; whatever is installed is read once, which takes longer than all else of a server."""
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, _origin(point)))


def _path() -> tuple[tuple[str, int], ...]:
    """Where distributions are looked for. An installer that adds or removes one changes the time of its folder."""
    folders = []
    for place in sys.path:
        with suppress(OSError):
            folders.append((place, Path(place).stat().st_mtime_ns))
    return tuple(folders)


def _load(point: EntryPoint) -> App:
    try:
        app = point.load()
    except Exception as error:
        # Whatever a stranger's module does when it is imported: the owner needs to know whose it is.
        raise BrokenApp(
            f"{_origin(point)}: cannot be loaded: {type(error).__name__}: {error};"
            " mend it, or leave it out of server.apps"
        ) from error
    if not isinstance(app, App):
        raise BrokenApp(f"{_origin(point)}: expected an App, found {type(app).__name__}")
    if app.name != point.name:
        raise BrokenApp(f"{_origin(point)}: its App is called {app.name!r}: the two names must be the same")
    return app


def _origin(point: EntryPoint) -> str:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown"
    return f"app {point.name!r} (entry point {point.value} of the distribution {distribution})"
