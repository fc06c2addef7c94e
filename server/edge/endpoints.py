"""Which dialect is spoken at which path, and whose path it is.

A path is exact, as `/ws`, or a template with one segment for the user, as `/api/v1/ws/{user_id}`.
"""

import re
from collections.abc import Container, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from tidings.protocol.dialects.base import Dialect
from tidings.server.config import ConfigError
from tidings.server.http import Request

USER: Final = "{user_id}"
"""The segment of a template that stands for the user's id."""

_has_braces = re.compile(r"[{}]").search


class Endpoint(NamedTuple):
    """A path that speaks WebSocket."""

    dialect: str
    user: str | None
    """The user whom the path names, as it was sent: perhaps nobody's id."""


class _Template(NamedTuple):
    segments: list[str]
    place: int
    """Which of them is the user's."""
    dialect: str


def check_path(path: str) -> None:
    """Raise ConfigError for a key of `[endpoints]` with braces that is no template."""
    if not _has_braces(path):
        return
    segments = path.split("/")
    if segments.count(USER) != 1 or any(_has_braces(each) for each in segments if each != USER):
        raise ConfigError(
            f"endpoints: {path}: in braces there may be one {USER}, and as a whole segment, as in "
            f"/api/v1/ws/{USER}"
        )


def is_template(path: str) -> bool:
    """Whether a key of `[endpoints]` that `check_path` takes stands for many paths."""
    return USER in path


def served(
    table: Mapping[str, str], dialects: Mapping[str, Dialect], doors: Container[str]
) -> dict[str, str]:
    """What of the table `[endpoints]` is there: not paths whose dialect is let in by an app that does not run."""
    return {path: name for path, name in table.items() if not dialects[name].by_door or name in doors}


class Endpoints:
    """The table `[endpoints]`, for handshakes."""

    def __init__(self, table: Mapping[str, str]) -> None:
        """Take paths that `check_path` takes, each with its dialect's name."""
        self._exact = {
            path: Endpoint(dialect, None) for path, dialect in table.items() if not is_template(path)
        }
        self._templates: list[_Template] = []
        for path, dialect in table.items():
            if is_template(path):
                segments = path.split("/")
                self._templates.append(_Template(segments, segments.index(USER), dialect))

    def is_exact(self, path: str) -> bool:
        """Whether a decoded path is one of the exact ones."""
        return path in self._exact

    def find(self, request: Request) -> Endpoint | None:
        """The exact path, else the first template that fits."""
        return self._exact.get(request.path) or self._by_template(request)

    def _by_template(self, request: Request) -> Endpoint | None:
        # As it was sent: an encoded slash belongs to a name, and parts no segments.
        sent = request.target.partition("?")[0].split("/")
        for template in self._templates:
            if len(sent) != len(template.segments):
                continue
            found = [unquote(segment) for segment in sent]
            user, found[template.place] = found[template.place], USER
            if found == template.segments:
                return Endpoint(template.dialect, user)
        return None
