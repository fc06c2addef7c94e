"""Running a server until its end. Imported when one is to be run: it brings everything, and takes half a second."""

from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version

import trio

from tidings.protocol.messages.registry import NameConflict
from tidings.server.answers import Refused
from tidings.server.app import CannotListen, Listening, Server, echo_server
from tidings.server.auth import AuthConfigError
from tidings.server.cli.common import fail, say
from tidings.server.config import Config, ConfigError
from tidings.server.demo import demo_tokens, introduction, with_demo_secret
from tidings.server.demo_users import add_cast, add_group, with_demo_users
from tidings.server.extension import AppFailed
from tidings.server.logs import logging_to
from tidings.server.revocations import NotStored
from tidings.server.shutdown import Stop
from tidings.server.store.errors import StoreRefused, StoreUnavailable
from tidings.server.tuning import tune_garbage_collector


def run_server(config: Config, *, demo: bool) -> None:
    """Serve as configured. Exits with 1 and a reason where that cannot begin."""
    try:
        if demo:
            config = with_demo_users(with_demo_secret(config))
        server = Server(config)
        if demo:
            # Issued again below: here it is seen that they can be.
            demo_tokens(server.context.authenticator, config.auth.max_ttl)
    except AuthConfigError as error:
        fail(f"{error}; or try it out with `tidings serve --demo`")
    except (ConfigError, NameConflict, OSError) as error:
        fail(str(error))

    async def announce(listening: list[Listening]) -> None:
        print(f"Tidings {version('tidings')}", flush=True)
        for address in listening:
            print(f"  {address.url('http')}/   WebSocket: {address.url('ws')}/ws", flush=True)
        if demo:
            await introduce(listening[0])

    async def introduce(first: Listening) -> None:
        passwords = {}
        try:
            if server.accounts is not None:
                passwords = await add_cast(server.accounts, config.auth.secret)
        except Refused as refused:
            # A full disk, say: channels and tokens work all the same.
            say(f"the demo's users cannot log in: {refused.detail}")
        from tidings.server.apps.lines.service import lines_of  # noqa: PLC0415  heavy

        code = None
        try:
            code = await add_group(lines_of(server.context.push))
        except StoreUnavailable as error:
            say(f"the demo's line board has no group: {error}")
        tokens = demo_tokens(server.context.authenticator, config.auth.max_ttl)
        url = first.url("ws") + "/ws"
        told = introduction(config, tokens, first.url("http"), url, passwords, code)
        print("\n" + told, flush=True)

    with logging_to(log_format=config.server.log_format):
        _run(server, announce)


def run_echo(host: str, port: int, engine: str) -> None:
    """Serve echoes. Exits with 1 and a reason where that cannot begin."""

    async def announce(listening: list[Listening]) -> None:
        print(f"echoing on {listening[0].url('ws')}/", flush=True)

    with logging_to():
        _run(echo_server(host, port, engine), announce)


def _run(server: Server, announce: Callable[[list[Listening]], Awaitable[None]]) -> None:
    """Serve until the end; exit 0 then, 1 when it could not begin."""

    async def until_stopped() -> None:
        async with trio.open_nursery() as nursery:
            await announce(await nursery.start(partial(server.run, Stop(), signals=True)))

    tune_garbage_collector()
    try:
        trio.run(until_stopped)
    except* (CannotListen, AppFailed, StoreRefused, NotStored) as group:
        fail(str(group.exceptions[0]))
