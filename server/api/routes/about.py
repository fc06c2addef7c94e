"""What a front end asks first: which server this is, and who it is logged in as."""

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler

from tidings.server.access import Caller, users_only
from tidings.server.answers import SECURITY, answers
from tidings.server.api import messages


def about(server: messages.About) -> Sequence[HTTPRouteHandler]:
    """The routes."""

    @get(
        "/about",
        operation_id="aboutServer",
        summary="The server's version, apps and endpoints",
        description="For anybody: a front end shows what there is.",
        security=[],
        tags=["inspection"],
        responses=answers(guarded=False),
    )
    async def describe() -> messages.About:
        return server

    @get(
        "/whoami",
        operation_id="whoAmI",
        summary="Who the token belongs to",
        guards=[users_only],
        security=SECURITY,
        tags=["users"],
        responses=answers(admins=False),
    )
    async def whoami(caller: Caller) -> messages.Caller:
        return messages.Caller(
            user_id=caller.user_id,
            username=caller.username,
            roles=sorted(caller.roles),
            kind=caller.kind,
            group_id=caller.group_id,
            expires_at=caller.expires_at,
        )

    return [describe, whoami]
