"""The `tidings` command."""

from functools import partial
from importlib.metadata import version
from typing import Annotated, Literal

import trio
from cyclopts import App, Parameter

from tidings.protocol.messages.registry import NameConflict
from tidings.server.app import CannotListen, Listening, Server, echo_server
from tidings.server.auth import AuthConfigError, Authenticator
from tidings.server.cli_client import listen, publish, stats
from tidings.server.cli_common import ConfigFile, Settings, configuration, configuration_with_sources, fail
from tidings.server.config import ConfigError, describe
from tidings.server.demo import demo_tokens, introduction, with_demo_secret
from tidings.server.logs import logging_to
from tidings.server.shutdown import Stop
from tidings.server.tuning import tune_garbage_collector

app = App(
    name="tidings",
    help="A real-time push server: WebSocket fan-out to users, rooms, groups and everyone.",
    version=lambda: version("tidings"),
    version_flags=["--version"],
    default_parameter=Parameter(negative=()),
    help_epilogue="Start with: tidings serve --demo",
)

Port = Annotated[int | None, Parameter(help="Port to listen on; 0 takes any free one.")]
Host = Annotated[str | None, Parameter(help="Address to listen on; :: or 0.0.0.0 for all.")]


@app.command
def serve(
    *,
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    settings: Settings = [],  # noqa: B006  read only
    demo: Annotated[
        bool, Parameter(help="Make a throw-away secret, and print tokens and things to try.")
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
    try:
        if demo:
            effective = with_demo_secret(effective)
        server = Server(effective)
        tokens = demo_tokens(server.context.authenticator, effective.auth.max_ttl) if demo else {}
    except AuthConfigError as error:
        fail(f"{error}; or try it out with `tidings serve --demo`")
    except (ConfigError, NameConflict, OSError) as error:
        fail(str(error))

    def announce(listening: list[Listening]) -> None:
        print(f"Tidings {version('tidings')}", flush=True)
        for address in listening:
            print(f"  {address.url('http')}/   WebSocket: {address.url('ws')}/ws", flush=True)
        if demo:
            print("\n" + introduction(tokens, listening[0]), flush=True)

    with logging_to(log_format=effective.server.log_format):
        _run(server, announce)


@app.command
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
        print(authenticator.issue(user, username=username, roles=role, group_id=group, ttl=ttl))
    except (AuthConfigError, ValueError, OSError) as error:
        fail(str(error))


@app.command(name="config")
def show_config(*, config: ConfigFile = None, settings: Settings = []) -> None:  # noqa: B006
    """Print the effective configuration as TOML: every key, its meaning, and where its value is from.

    Secrets are masked. Save it as a file and edit it to begin with.
    """
    effective, sources = configuration_with_sources(config, settings)
    print(describe(effective, sources=sources), end="")


@app.command
def echo(
    *,
    port: Annotated[int, Parameter(help="Port to listen on; 0 takes any free one.")],
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    engine: Annotated[Literal["reference"], Parameter(help="WebSocket implementation.")] = "reference",
) -> None:
    """Run a WebSocket engine alone, echoing messages of up to 64 MiB, for conformance suites."""

    def announce(listening: list[Listening]) -> None:
        print(f"echoing on {listening[0].url('ws')}/", flush=True)

    with logging_to():
        _run(echo_server(host, port, engine), announce)


for command in (listen, publish, stats):
    app.command(command)


def main() -> None:
    """Run the command line."""
    app()


def _run(server: Server, announce: partial[None] | object) -> None:
    """Serve until the end; exit 0 then, 1 when it could not begin."""

    async def until_stopped() -> None:
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(partial(server.run, Stop(), signals=True))
            announce(listening)  # type: ignore[operator]

    tune_garbage_collector()
    try:
        trio.run(until_stopped)
    except* CannotListen as group:
        fail(str(group.exceptions[0]))


if __name__ == "__main__":
    main()
