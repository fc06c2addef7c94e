"""The commands about users of the app `accounts`: `user add`."""

import sys
from pathlib import Path
from typing import Annotated, Final

import trio
from cyclopts import App, Parameter

from tidings.server.cli.common import ConfigFile, Settings, configuration, fail, say
from tidings.server.config import Config

app = App(
    name="user",
    help="Users with passwords, of the app accounts.",
    default_parameter=Parameter(negative=()),
)

# Of a line on standard input; a password is at most 1,024 bytes.
_MOST_CHARS: Final = 2_048


@app.command
def add(
    name: Annotated[str, Parameter(help="The user's name, to log in with.")],
    /,
    *,
    role: Annotated[list[str], Parameter(help="A role, as admin; may be repeated.")] = [],  # noqa: B006
    email: Annotated[str | None, Parameter(help="The user's e-mail address.")] = None,
    user_id: Annotated[
        str | None, Parameter(name="--id", help="The user's id, as in another system; a random one else.")
    ] = None,
    password_stdin: Annotated[
        bool,
        Parameter(help="Read the password from standard input, one line.", show_default=False),
    ] = False,
    demo: Annotated[
        bool, Parameter(help="Add to the demo's users (`tidings serve --demo`).", show_default=False)
    ] = False,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Add a user; the server may be running. Prints a temporary password, unless one was given.

    The first administrator is made so: tidings user add root --role admin
    """
    effective = configuration(config, settings)
    password = _read_password() if password_stdin else None
    # Heavy, and not for --help.
    from tidings.server.apps.accounts import NAME  # noqa: PLC0415
    from tidings.server.demo_users import with_demo_users  # noqa: PLC0415

    if demo:
        effective = with_demo_users(effective)
    found, temporary = _added(effective, name, role, email, user_id, password)
    say(f"added {found}")
    if temporary is not None:
        print(temporary)
    if NAME not in effective.server.apps:
        say(f'nobody can log in before server.apps names {NAME}: --set server.apps=["*","{NAME}"]')


def _read_password() -> str:
    try:
        line = sys.stdin.readline(_MOST_CHARS)
    except UnicodeDecodeError:
        fail("--password-stdin: not UTF-8")
    password = line.rstrip("\r\n")
    if not password:
        fail("--password-stdin: standard input has no password in its first line")
    return password


def _added(
    config: Config,
    name: str,
    roles: list[str],
    email: str | None,
    user_id: str | None,
    password: str | None,
) -> tuple[str, str | None]:
    """Who was added, and the temporary password where one was made. Ends the command where that is refused."""
    import msgspec  # noqa: PLC0415

    from tidings.protocol.channels import is_user_id  # noqa: PLC0415
    from tidings.protocol.messages.fields import explain  # noqa: PLC0415
    from tidings.server.answers import Refused  # noqa: PLC0415
    from tidings.server.apps.accounts import MIGRATIONS  # noqa: PLC0415
    from tidings.server.apps.accounts.bodies import CreateUser  # noqa: PLC0415
    from tidings.server.apps.accounts.hashing import Hasher  # noqa: PLC0415
    from tidings.server.apps.accounts.registration import Passwords, create_user  # noqa: PLC0415
    from tidings.server.store.errors import StoreRefused  # noqa: PLC0415
    from tidings.server.store.records.records import Records  # noqa: PLC0415

    given = {"username": name, "email": email, "roles": roles}
    try:
        asked = msgspec.convert(given if password is None else given | {"password": password}, CreateUser)
    except msgspec.ValidationError as error:
        fail(explain(error))
    if user_id is not None and not is_user_id(user_id):
        fail("--id: expected 1 to 128 characters A-Z a-z 0-9 _ . : @ + -")
    section = config.accounts
    records = Records(config.store.url, Path(config.server.data_dir), [MIGRATIONS])

    async def add() -> tuple[str, str | None]:
        hasher = Hasher(memory_kib=section.hash_memory_kib, passes=section.hash_passes, waiting=1)
        await records.prepare()
        async with hasher, trio.open_nursery() as nursery:
            await nursery.start(records.run)
            user, temporary = await create_user(records, Passwords(section, hasher), asked, user_id=user_id)
            nursery.cancel_scope.cancel()
        return f"{user.username}, id {user.id}", temporary

    found: list[tuple[str, str | None]] = []
    refusals: list[str] = []
    try:
        found.append(trio.run(add))
    except* StoreRefused as group:
        refusals += [str(error) for error in _each(group)]
    except* Refused as group:
        refusals += [error.detail for error in _each(group) if isinstance(error, Refused)]
    # Not in the handlers: what is raised there comes out in a group.
    if refusals:
        fail(refusals[0])
    return found[0]


def _each(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _each(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
