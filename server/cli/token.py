"""`tidings token`, which needs no server."""

from typing import Annotated

from cyclopts import Parameter

from tidings.server.auth import AuthConfigError, Authenticator
from tidings.server.cli.common import ConfigFile, Settings, configuration, ending_well, fail


def token(
    *,
    user: Annotated[str, Parameter(help="User id: the token's subject.")],
    username: Annotated[str | None, Parameter(help="Name to show; the user id when left out.")] = None,
    role: Annotated[list[str], Parameter(help="A role, as admin; may be repeated.")] = [],  # noqa: B006
    group: Annotated[str | None, Parameter(help="The group the user belongs to.")] = None,
    ttl: Annotated[int, Parameter(help="Seconds until it expires.")] = 3600,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Print a token, signed with the configured secret. Nothing else goes to standard output."""
    try:
        authenticator = Authenticator(configuration(config, settings).auth)
        issued = authenticator.issue(user, username=username, roles=role, group_id=group, ttl=ttl)
    except (AuthConfigError, ValueError, OSError) as error:
        fail(str(error))
    ending_well(lambda: print(issued))
