"""Which HTTP routes belong to whom. A server does not start with two claims to one, or with a wrong one."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from litestar import Router
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ControllerRouterHandler

from tidings.protocol.messages.registry import NameConflict
from tidings.server.extension.app import OURS, App
from tidings.server.extension.discovery import BrokenApp

# As operations of the document that Litestar knows nothing of.
_OUR_OPERATIONS: Final = (repr("healthz"), repr("readyz"))


def handlers_of(apps: Iterable[App]) -> list[ControllerRouterHandler]:
    """What the apps have declared, as the application takes it."""
    return [handler for app in apps for handler in app.route_handlers]


def check_routes(
    apps: Iterable[App], *, ours: Iterable[BaseRoute], pages: Collection[str]
) -> dict[str, str]:
    """Who owns which route, by its `claim`. Raises NameConflict, naming the owners, and BrokenApp.

    It is a conflict when one path and method, or one operation id, is claimed twice, be it by one owner.
    Paths that differ only in the names and types of their parameters are one path. `ours` are the server's
    own routes; `pages` are exact paths that it answers before it looks at any route. Broken is what is no
    HTTP route, as WebSocket endpoints (they speak dialects, and commands are what an app adds to them), and
    a handler of HEAD, which would never be asked.
    """
    routes = {each: OURS for route in ours for each in _claims(route)}
    operations = dict.fromkeys(_OUR_OPERATIONS, OURS)
    operations |= {each: OURS for route in ours for each in _operations(route)}
    for app in apps:
        for route in _read(app):
            if route.path in pages:
                raise NameConflict(
                    f"the page {route.path} is claimed by {OURS!r} and by {app.name!r}: move yours"
                )
            _take(routes, _claims(route), "route", app)
            _take(operations, _operations(route), "operation id", app)
        for router in app.route_handlers:
            # Of two handlers for one path and method inside a router, another router sees one.
            for inner in router.routes if isinstance(router, Router) else ():
                _take({}, _claims(inner), "route", app)
    return routes


def claim(route: BaseRoute, method: str) -> str:
    """By what a route is known: its method and its path without the names and types of parameters."""
    path = "/".join(part if isinstance(part, str) else "{}" for part in route.path_components)
    return f"{method} /{path}"


def check_built(apps: Sequence[App], build: Callable[[Sequence[ControllerRouterHandler]], object]) -> None:
    """Find out whose routes Litestar refuses, after it refused them all together. Raises BrokenApp.

    Returns where it refuses none of them, alone or together. Builds an application for each handler: for
    starts that have failed.
    """
    for app in apps:
        for handler in app.route_handlers:
            router = Router("/", route_handlers=[handler])
            try:
                build([router])
            except Exception as error:
                paths = ", ".join(sorted({route.path for route in router.routes}))
                raise BrokenApp(f"app {app.name!r}: {paths}: {_words(error)}") from error
    try:
        build(handlers_of(apps))
    except Exception as error:
        names = ", ".join(repr(app.name) for app in apps if app.route_handlers)
        raise BrokenApp(f"the HTTP routes of {names} do not go together: {_words(error)}") from error


def _words(error: Exception) -> str:
    # Litestar's own has a status in front.
    return error.detail if isinstance(error, HTTPException) else f"{type(error).__name__}: {error}"


def _read(app: App) -> list[HTTPRoute]:
    try:
        routes = Router("/", route_handlers=app.route_handlers).routes
    except Exception as error:
        raise BrokenApp(f"app {app.name!r}: its HTTP routes: {_words(error)}") from error
    found = [route for route in routes if isinstance(route, HTTPRoute)]
    for route in routes:
        if not isinstance(route, HTTPRoute):
            raise BrokenApp(f"app {app.name!r}: {route.path}: only HTTP routes can be added")
        for handler in route.route_handlers:
            # Litestar's own for static files have the same for GET.
            if "HEAD" in handler.http_methods and not handler.fn.__module__.startswith("litestar."):
                raise BrokenApp(
                    f"app {app.name!r}: HEAD {route.path} would never be asked: HEAD is answered wherever"
                    " GET is, as GET without the body; declare that"
                )
    return found


def _take(taken: dict[str, str], claims: Iterable[str], what: str, app: App) -> None:
    for each in claims:
        owner = taken.get(each)
        if owner == app.name:
            raise NameConflict(f"app {app.name!r} declares the {what} {each} twice")
        if owner is not None:
            raise NameConflict(
                f"the {what} {each} is claimed by {owner!r} and by {app.name!r}: change one of them"
            )
        taken[each] = app.name


def _claims(route: BaseRoute) -> list[str]:
    return [claim(route, method) for method, _ in _asked(route)]


def _operations(route: BaseRoute) -> list[str]:
    """The operation ids that somebody chose. Others are made up, and give way."""
    found = []
    for method, handler in _asked(route):
        chosen = handler.operation_id
        if chosen is not None and handler.resolve_include_in_schema():
            path = route.path_components
            found.append(chosen if isinstance(chosen, str) else chosen(handler, HttpMethod(method), path))
    return [repr(name) for name in found]


def _asked(route: BaseRoute) -> Iterator[tuple[str, HTTPRouteHandler]]:
    for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
        for method in sorted(handler.http_methods):
            # Litestar adds OPTIONS to every path: it is nobody's claim.
            if method != "OPTIONS":
                yield method, handler
