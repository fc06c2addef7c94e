"""What the commands share: the options that name a configuration, and how they fail."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

from cyclopts import Parameter

from tidings.server.config import Config, ConfigError, load_with_sources

ConfigFile = Annotated[Path | None, Parameter(name="--config", help="TOML file with the configuration.")]
Settings = Annotated[
    list[str],
    Parameter(
        name="--set",
        help="One setting, as limits.outbox_bytes=2097152; may be repeated. Beats environment and file.",
        allow_leading_hyphen=True,
        show_default=False,
    ),
]

Json = Annotated[
    bool, Parameter(name="--json", help="One JSON object a line, for programs.", show_default=False)
]

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
