"""What the commands share: the options that name a configuration, and how they fail."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

from cyclopts import Parameter

from tidings.server.config import Config, ConfigError, load_with_sources

ConfigFile = Annotated[Path | None, Parameter(name="--config", help="TOML file with the configuration.")]
Settings = Annotated[
    list[str],
    Parameter(
        name="--set",
        help="One setting, as limits.outbox_bytes=2097152 or 'channels.room:*.history_size=500'; may be"
        " repeated. Beats environment and file.",
        allow_leading_hyphen=True,
        show_default=False,
    ),
]

Json = Annotated[
    bool, Parameter(name="--json", help="One JSON object a line, for programs.", show_default=False)
]

# What a shell expects of a program that was ended by Ctrl-C.
INTERRUPTED: Final = 130

#: What the commands that talk to a server read from the environment; no keys of the server's.
CLIENT_VARIABLES: Final = ("TIDINGS_URL", "TIDINGS_TOKEN", "TIDINGS_API_KEY")


def configuration(config: Path | None, settings: Sequence[str]) -> Config:
    """The effective configuration; ends the command where it is refused."""
    return configuration_with_sources(config, settings)[0]


def configuration_with_sources(
    config: Path | None, settings: Sequence[str]
) -> tuple[Config, dict[str, str]]:
    """As `configuration`, and what set each key that is not the default."""
    environ = {name: value for name, value in os.environ.items() if name not in CLIENT_VARIABLES}
    try:
        return load_with_sources(config, environ=environ, overrides=settings)
    except ConfigError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Say on standard error why, and exit with 1."""
    say(message)
    raise SystemExit(1)


def say(line: str) -> None:
    """One line on standard error, at once."""
    print(f"tidings: {line}", file=sys.stderr, flush=True)


def ending_well(run: Callable[[], None]) -> None:
    """Run what prints to standard output, and end as a shell expects.

    Ctrl-C exits with 130. A reader that has gone, as `head` does, is no failure. Output that cannot be
    written is one: exit 1 with the reason.
    """
    if sys.stdout is None:
        fail("cannot write: standard output is closed")
    interrupted = False
    failures: list[OSError] = []
    try:
        run()
        # Python flushes too, at its own end, where nobody can catch what that raises.
        sys.stdout.flush()
    except* KeyboardInterrupt:
        interrupted = True
    except* OSError as group:
        failures.append(_first(group))
    # Not in the handlers: what is raised there comes out in a group.
    if failures:
        _forget_output()
        if not isinstance(failures[0], BrokenPipeError):
            fail(f"cannot write: {failures[0].strerror or failures[0]}")
    if interrupted:
        raise SystemExit(INTERRUPTED)


def utf8(text: str, what: str) -> str:
    """An argument as it was given; ends the command where its bytes were not UTF-8."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        fail(f"{what}: not UTF-8")
    return text


def _first(group: BaseExceptionGroup[OSError]) -> OSError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, OSError)
    return error


def _forget_output() -> None:
    """Let what is still buffered go nowhere, so that Python does not complain again at its own end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
