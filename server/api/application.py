"""The Litestar application: our routes, and those of apps, on one set of rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, Self

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler

from tidings.server.access import Access, caller
from tidings.server.api.bodies import JsonRequest
from tidings.server.api.errors import EXCEPTION_HANDLERS
from tidings.server.api.messages import About
from tidings.server.api.openapi import Description
from tidings.server.api.routes.about import about
from tidings.server.api.routes.history import history
from tidings.server.api.routes.inspection import inspection, metrics_route
from tidings.server.api.routes.monitor import monitor
from tidings.server.api.routes.presence import presence_routes
from tidings.server.api.routes.publishing import publishing
from tidings.server.api.routes.tokens import tokens
from tidings.server.api.routes.users import users
from tidings.server.auth import Authenticator
from tidings.server.config import Http
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.presence import Presence
from tidings.server.metrics import Metrics
from tidings.server.push import Push
from tidings.server.revoker import Revoker


@dataclass(slots=True, frozen=True)
class Parts:
    """What of a server the routes stand on."""

    http: Http
    push: Push
    hub: Hub
    presence: Presence
    authenticator: Authenticator
    revoker: Revoker
    metrics: Metrics
    version: str
    """The package's."""
    started: float
    """On `time.monotonic`, in seconds."""
    history_page: int = 1000
    """Publications in one page of a channel's history, at most."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Of routes, by their claims: what apps call as we do is described under their names."""
    about: About = field(default_factory=lambda: About("", [], {}))
    """What anybody may know of the server."""


def application(
    parts: Parts,
    handlers: Sequence[ControllerRouterHandler] = (),
    *,
    documented: Description | None = None,
) -> Litestar:
    """Put the application together. It needs no lifespan.

    `handlers` are the routes of apps: they are given `push: Push` and `caller: Identity` by name, and their
    bodies, guards and refusals follow the same rules as ours. `documented` is for an application of which
    only the description is wanted. Raises whatever Litestar refuses routes with, as
    ImproperlyConfiguredException where two claim one path and method.
    """
    if documented is not None and not documented.with_apps:
        handlers = ()

    async def push() -> Push:
        return parts.push

    access = Access(parts.authenticator, called=parts.presence.called)
    # Middleware costs every request; what is asked here of some is done by guards and dependencies.
    dependencies: dict[str, Any] = {"push": Provide(push), "caller": Provide(caller)}
    return Litestar(
        [_api(parts), metrics_route(parts.metrics), *handlers],
        debug=False,  # else an environment variable decides whether tracebacks are shown
        pdb_on_exception=False,
        dependencies=dependencies,
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
        openapi_config=documented,
        request_class=JsonRequest,
        request_max_body_size=None,  # the front door counts
        state=State({"access": access, "decoders": {}, "owners": parts.owners}),
    )


def own_routes(parts: Parts) -> list[BaseRoute]:
    """What is at which path without any app, read off the declarations: an application takes ten times as long."""
    return [*_api(parts).routes, *Router("/", route_handlers=[metrics_route(parts.metrics)]).routes]


@cache
def package_version() -> str:
    """That of what is installed, which is read from a file."""
    return version("tidings")


class _Once(Router):
    """A router for one application, which takes it as it is.

    Litestar makes deep copies of routers, since others may be registered twice; of the time that an application
    takes, that is a third.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _api(parts: Parts) -> Router:
    return _Once(
        "/api/v1",
        route_handlers=[
            *publishing(parts.http.batch_publications),
            *history(parts.history_page),
            *users(),
            *presence_routes(parts.presence, most_users=parts.http.channels_page),
            *tokens(parts.revoker),
            *about(parts.about),
            *inspection(
                parts.hub,
                started=parts.started,
                version=parts.version,
                most_channels=parts.http.channels_page,
            ),
            monitor(parts.hub, parts.metrics, started=parts.started, version=parts.version),
        ],
    )
