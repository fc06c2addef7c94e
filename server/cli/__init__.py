"""The `tidings` command."""

from importlib.metadata import version

from cyclopts import App, Parameter

from tidings.server.cli.backup import backup
from tidings.server.cli.client import listen, publish, stats
from tidings.server.cli.offline import show_config, token
from tidings.server.cli.serve import echo, serve

__all__ = ["app", "main"]

app = App(
    name="tidings",
    help="A real-time push server: WebSocket fan-out to users, rooms, groups and everyone.",
    version=lambda: version("tidings"),
    version_flags=["--version"],
    default_parameter=Parameter(negative=()),
    help_epilogue="Start with: tidings serve --demo",
)

app.command(serve)
app.command(listen)
app.command(publish)
app.command(stats)
app.command(backup)
app.command(token)
app.command(show_config, name="config")
app.command(echo)
# Loaded when it is asked for: the benchmarks are nothing that a server's start should wait for.
app.command("tidings.bench.cli:app", name="bench")


def main() -> None:
    """Run the command line."""
    app()
