"""The commands that run a server: `serve`, `echo`."""

from typing import Annotated

from cyclopts import Parameter

from tidings.server.cli.common import ConfigFile, Settings, configuration
from tidings.server.config import Engine

Port = Annotated[int | None, Parameter(help="Port to listen on; 0 takes any free one.")]
Host = Annotated[str | None, Parameter(help="Address to listen on; :: or 0.0.0.0 for all.")]


def serve(
    *,
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    settings: Settings = [],  # noqa: B006  read only
    demo: Annotated[
        bool,
        Parameter(
            help="Use a secret and users of the demo's own, and print logins and things to try.",
            show_default=False,
        ),
    ] = False,
) -> None:
    """Run the server, until SIGTERM or Ctrl-C.

    Without --demo a secret must be set: TIDINGS_AUTH_SECRET in the environment or in .env, or
    [auth] secret in the configuration file. SIGHUP reads the TLS certificate again.
    """
    overrides = list(settings)
    if host is not None:
        overrides.append(f"server.host={host}")
    if port is not None:
        overrides.append(f"server.port={port}")
    effective = configuration(config, overrides)
    from tidings.server.cli.run import run_server  # noqa: PLC0415  heavy, and not for --help

    run_server(effective, demo=demo)


def echo(
    *,
    port: Annotated[int, Parameter(help="Port to listen on; 0 takes any free one.")],
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    engine: Annotated[Engine, Parameter(help="WebSocket implementation.")] = "native",
) -> None:
    """Run a WebSocket engine alone, echoing messages of up to 64 MiB, for conformance suites."""
    from tidings.server.cli.run import run_echo  # noqa: PLC0415  heavy, and not for --help

    run_echo(host, port, engine)
