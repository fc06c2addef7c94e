"""Which HTTP routes belong to whom: two owners of one route refuse to start."""

from collections.abc import Collection, Iterable

from litestar import Router
from litestar.routes import BaseRoute, HTTPRoute

from tidings.protocol.messages.registry import NameConflict
from tidings.server.extension.app import OURS, App


def check_routes(apps: Iterable[App], *, ours: Iterable[BaseRoute], pages: Collection[str]) -> None:
    """Raise NameConflict when two owners claim one path and method, naming both.

    Paths that differ only in the names of their parameters are one path. `ours` are the server's own routes;
    `pages` are exact paths that it answers before it looks at any route. Raises TypeError for a route that
    is not HTTP's: WebSocket endpoints speak dialects, and commands are what an app adds to them.
    """
    taken = {claim: OURS for route in ours if isinstance(route, HTTPRoute) for claim in _claims(route)}
    for app in apps:
        for route in Router(path="/", route_handlers=app.route_handlers).routes:
            if not isinstance(route, HTTPRoute):
                raise TypeError(f"app {app.name!r}: {route.path}: only HTTP routes can be added")
            if route.path in pages:
                raise NameConflict(
                    f"the page {route.path} is claimed by {OURS!r} and by {app.name!r}: move yours"
                )
            for method, path in sorted(_claims(route)):
                owner = taken.setdefault((method, path), app.name)
                if owner != app.name:
                    raise NameConflict(
                        f"the route {method} {path} is claimed by {owner!r} and by {app.name!r}: move one of them"
                    )


def _claims(route: HTTPRoute) -> set[tuple[str, str]]:
    path = "/" + "/".join(part if isinstance(part, str) else "{}" for part in route.path_components)
    # Litestar adds OPTIONS to every path: it is nobody's claim.
    return {(str(method), path) for method in route.methods if method != "OPTIONS"}
