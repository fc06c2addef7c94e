"""The `tidings` command."""

import sys
from importlib.metadata import version

from cyclopts import App, Parameter

__all__ = ["app", "main"]

app = App(
    name="tidings",
    help="A real-time push server: WebSocket fan-out to users, rooms, groups and everyone.",
    version=lambda: version("tidings"),
    version_flags=["--version"],
    default_parameter=Parameter(negative=()),
    help_epilogue="Start with: tidings serve --demo",
)

# Each is loaded when it is asked for: what one of them needs, the start of another should not wait for.
_COMMANDS = {
    "serve": "serve:serve",
    "listen": "client:listen",
    "publish": "client:publish",
    "stats": "client:stats",
    "backup": "backup:backup",
    "user": "user:app",
    "migrate": "migrate:migrate",
    "token": "token:token",
    "config": "show_config:show_config",
    "echo": "serve:echo",
}
for _name, _place in _COMMANDS.items():
    app.command(f"tidings.server.cli.{_place}", name=_name)
app.command(
    "tidings.bench.cli:app",
    name="bench",
    help="Benchmarks: thousands of simulated clients against a server on a core of its own.",
)


def main() -> None:
    """Run the command line."""
    if set(sys.argv[1:]) <= {"--help", "-h"}:
        # The list of the commands says of each what it does, in the command's own words.
        for name in _COMMANDS:
            app[name]
    app()
