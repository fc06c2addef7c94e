"""The commands about users of the app `accounts`: `user add`."""

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import trio
from cyclopts import App, Parameter

from tidings.protocol.channels import is_user_id
from tidings.protocol.errors import ErrorCode
from tidings.server.apps.accounts import NAME
from tidings.server.cli.common import (
    INTERRUPTED,
    ConfigFile,
    Settings,
    configuration,
    ending_well,
    fail,
    say,
    utf8,
)
from tidings.server.config import Config
from tidings.server.demo_users import demo_database, with_demo_users
from tidings.server.logs import logging_to
from tidings.server.store.errors import StoreRefused

if TYPE_CHECKING:
    from tidings.server.answers import Refused
    from tidings.server.apps.accounts.bodies import CreateUser

app = App(
    name="user",
    help="Users with passwords, of the app accounts: add one.",
    default_parameter=Parameter(negative=()),
)

# Of a line on standard input: more than any password has, so that one that is too long is refused as that.
_MOST_CHARS: Final = 4_096

# What the fields of a request are called here.
_ARGUMENTS: Final = {
    "$.username": "NAME",
    "$.password": "the password",
    "$.email": "--email",
    "$.roles": "--role",
    "$.group_id": "--group",
    "$.id": "--id",
}


@app.command
def add(
    name: Annotated[str, Parameter(help="The name to log in with, in any script.")],
    /,
    *,
    role: Annotated[
        list[str],
        Parameter(help="A role, as admin, who may do everything; may be repeated.", show_default=False),
    ] = [],  # noqa: B006  read only
    group: Annotated[
        str | None,
        Parameter(help="A group: the user's connections hear its channel, group:GROUP."),
    ] = None,
    email: Annotated[str | None, Parameter(help="E-mail address. Nothing is ever sent to it.")] = None,
    user_id: Annotated[
        str | None,
        Parameter(
            name="--id",
            help="What channels and tokens call the user (user:ID), for ever. As another system has it; "
            "else a random one.",
        ),
    ] = None,
    password_stdin: Annotated[
        bool,
        Parameter(
            help="Take the password from standard input, one line; asked for on a terminal.",
            show_default=False,
        ),
    ] = False,
    demo: Annotated[
        bool,
        Parameter(
            help="Add to the users of the demo that was run here (`tidings serve --demo`).",
            show_default=False,
        ),
    ] = False,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Add a user, who can log in at once: the server may be running.

    A temporary password is made and printed, alone on standard output. It is good for 3 days
    (accounts.temporary_password_age), in which the user chooses another. Run this with the server's configuration,
    and as the user that the server runs as.

    Example: tidings user add root --role admin

    Example: tidings user add alice --id 4711 --password-stdin <password.txt
    """
    name = utf8(name, "NAME")
    if user_id is not None and not is_user_id(user_id):
        fail("--id: expected 1 to 128 characters A-Z a-z 0-9 _ . : @ + -")
    effective = configuration(config, settings)
    if demo:
        if not demo_database(effective).exists():
            fail(
                f"--demo: no demo has kept users in {demo_database(effective).parent}: start one with"
                " `tidings serve --demo`, or name its folder with --set server.data_dir=FOLDER"
            )
        effective = with_demo_users(effective)
    given = {"username": name, "email": email, "roles": role, "group_id": group}
    if password_stdin:
        given["password"] = _read_password()
    elif sys.stdout is None:
        fail("standard output is closed, and the password would be printed there")
    added, temporary = _added(effective, given, user_id)
    say(f"added {added}")
    if NAME not in effective.server.apps:
        say(
            f"nobody can log in before server.apps names {NAME}: in the configuration file"
            f' [server] apps = ["*", "{NAME}"], or --set \'server.apps=*,{NAME}\''
        )
    if temporary is not None:
        ending_well(lambda: print(temporary))


def _read_password() -> str:
    what = "--password-stdin"
    if sys.stdin is None:
        fail(f"{what}: standard input is closed")
    try:
        # On a terminal it would stand there for all to read.
        line = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline(_MOST_CHARS)
    except EOFError:
        line = ""
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{what}: {'not UTF-8' if isinstance(error, UnicodeDecodeError) else error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    password = utf8(line.rstrip("\r\n"), what)
    if not password:
        fail(f"{what}: there is no password in the first line")
    return password


def _added(config: Config, given: dict[str, Any], user_id: str | None) -> tuple[str, str | None]:
    """Who was added, and the temporary password where one was made. Ends the command where that is refused."""
    # Heavy, and not for --help.
    from tidings.server.answers import Refused  # noqa: PLC0415

    asked = _asked(given)
    found: list[tuple[str, str | None]] = []
    refusals: list[str] = []
    interrupted = False
    try:
        # To standard error: tables may be made first, and a log on standard output would be taken for a password.
        with logging_to(log_format="human"):
            found.append(trio.run(_add, config, asked, user_id))
    except* StoreRefused as group:
        refusals += [str(error) for error in _each(group)]
    except* Refused as group:
        refusals += [_refusal(error) for error in _each(group) if isinstance(error, Refused)]
    except* KeyboardInterrupt:
        interrupted = True
    # Not in the handlers: what is raised there comes out in a group.
    if interrupted:
        sys.exit(INTERRUPTED)
    if refusals:
        fail(refusals[0])
    return found[0]


async def _add(config: Config, asked: "CreateUser", user_id: str | None) -> tuple[str, str | None]:
    from tidings.server.apps.accounts.app import MIGRATIONS  # noqa: PLC0415
    from tidings.server.apps.accounts.hashing import Hasher  # noqa: PLC0415
    from tidings.server.apps.accounts.registration import Passwords, create_user  # noqa: PLC0415
    from tidings.server.store.records.records import Records  # noqa: PLC0415

    section = config.accounts
    records = Records(config.store.url, Path(config.server.data_dir), [MIGRATIONS])
    hasher = Hasher(memory_kib=section.hash_memory_kib, passes=section.hash_passes, waiting=1, threads=1)
    async with hasher, trio.open_nursery() as nursery:
        await nursery.start(records.run)
        user, temporary = await create_user(records, Passwords(section, hasher), asked, user_id=user_id)
        nursery.cancel_scope.cancel()
    return f"{user.username}, id {user.id}", temporary


def _asked(given: dict[str, Any]) -> "CreateUser":
    from tidings.protocol.messages.fields import explain  # noqa: PLC0415
    from tidings.server.apps.accounts.bodies import CreateUser  # noqa: PLC0415

    try:
        asked = msgspec.convert(given, CreateUser)
    except msgspec.ValidationError as error:
        words = explain(error)
        if "`$.roles[" in words:
            words = "expected 1 to 64 characters A-Z a-z 0-9 _ . : - - at `$.roles`"
        fail(_in_arguments(words))
    return asked


def _refusal(error: "Refused") -> str:
    cure = ": choose another" if error.code is ErrorCode.CONFLICT else ""
    return _in_arguments(error.detail) + cure


def _in_arguments(words: str) -> str:
    """What the HTTP API says of a field, in the words of a command line."""
    what, _, path = words.rpartition(" - at `")
    return f"{_ARGUMENTS.get(path.rstrip('`'), path)}: {what}" if what else words


def _each(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _each(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
