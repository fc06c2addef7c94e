"""The commands that talk to a running server: `listen`, `publish`, `stats`."""

import os
import sys
import time
from typing import Annotated, Any, Self

import httpx
import msgspec
import trio
from cyclopts import Parameter
from rich.live import Live

from tidings.client import (
    Client,
    CommandRefused,
    Disconnected,
    Overflow,
    Publisher,
    PublishFailed,
    PublishRefused,
    ServerStats,
    Subscription,
    connect,
)
from tidings.client.endings import CERTIFICATE, TLS
from tidings.client.publishing import RETRIED_STATUSES
from tidings.protocol.channels import user_channel
from tidings.protocol.messages.fields import DEVICE_CHARS
from tidings.server.cli.access import Access, find_access
from tidings.server.cli.common import ConfigFile, Json, Settings, ending_well, fail, say, utf8
from tidings.server.cli.output import LinePrinter, Lines, StatusLines, stats_table, visible

Url = Annotated[
    str | None,
    Parameter(
        help="The server, as http://host:8000 or wss://host/ws. TIDINGS_URL, else this machine's port of "
        "the configuration."
    ),
]
Token = Annotated[
    str | None,
    Parameter(
        help="TIDINGS_TOKEN, else signed with the configured secret, else with that of a demo run here."
    ),
]
ApiKey = Annotated[str | None, Parameter(help="In place of a token. TIDINGS_API_KEY.")]
Demo = Annotated[
    bool,
    Parameter(
        help="Sign with the secret of the demo that was run here, whatever else is configured.",
        show_default=False,
    ),
]

# What may wait to be printed: more than any inbox holds.
LISTEN_QUEUE = 10_000

# Between two looks at the figures: short enough to see a burst, long enough to read.
WATCH_SECONDS = 2.0


def listen(
    channels: Annotated[
        list[str],
        Parameter(
            help="all, room:NAME, user:ID, group:ID or role:NAME; one or more. With --device none is your own."
        ),
    ] = [],  # noqa: B006  read only
    /,
    *,
    device: Annotated[
        str | None,
        Parameter(
            help="What this device is called, as laptop. What waits for it on the user's own channel is "
            "printed, and not printed again: it is acknowledged once it was printed."
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    demo: Demo = False,
    json: Json = False,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Print what is published to channels, until Ctrl-C.

    Comes back by itself when the server was away, and goes on where it was. What happens to the connection,
    what was recovered and what is lost is told on standard error; with --json a gap is also a line
    {"gap": {...}}. Without --device nothing is acknowledged: what is on the user's own channel stays there.

    Example: tidings listen all room:lobby

    Example: tidings listen --device laptop
    """
    if not channels and device is None:
        fail("name at least one channel, as in: tidings listen all")
    if device is not None and not 1 <= len(utf8(device, "--device")) <= DEVICE_CHARS:
        fail(f"--device: 1 to {DEVICE_CHARS} characters")
    channels = [utf8(channel, "channel") for channel in channels]
    access = find_access(url=url, token=token, config=config, settings=settings, demo=demo)
    status = StatusLines(access.url)
    printer = LinePrinter(as_json=json, status=status)

    async def main() -> None:
        async with connect(
            access.url,
            token=access.token,
            device=device,
            # Whoever only looks takes nothing away from the user's devices.
            acknowledge="manual" if device is None else "auto",
            on_event=status.event,
            queue=LISTEN_QUEUE,
        ) as client:
            await _listen(
                client, channels or [user_channel(status.user_id)], printer, keeps=device is not None
            )

    def run() -> None:
        failures: list[str] = []
        try:
            trio.run(main)
        except* Disconnected as group:
            failures.append(_ended(_first(group)))
        except* (CommandRefused, _TooSlow) as group:
            failures.append(str(_first(group)))
        if failures:
            fail(failures[0])

    ending_well(run)


def publish(
    channel: Annotated[str, Parameter(help="all, room:NAME, user:ID, group:ID or role:NAME.")],
    /,
    *,
    event: Annotated[str, Parameter(help="The type that subscribers see.")] = "message",
    data: Annotated[
        str,
        Parameter(help="The payload, a JSON object; - reads standard input.", allow_leading_hyphen=True),
    ] = "{}",
    url: Url = None,
    token: Token = None,
    api_key: ApiKey = None,
    demo: Demo = False,
    idempotency_key: Annotated[
        str | None, Parameter(help="The same key and payload within 5 minutes publish once.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Publish one event over HTTP; prints its channel and offset.

    A server that is busy or away for a moment is tried again, and still publishes once.

    Example: tidings publish all --event news --data '{"text": "hello"}'
    """
    payload = _payload(data)
    channel, event = utf8(channel, "channel"), utf8(event, "--event")
    idempotency_key = None if idempotency_key is None else utf8(idempotency_key, "--idempotency-key")
    access = find_access(
        url=url, token=token, api_key=api_key, takes_key=True, config=config, settings=settings, demo=demo
    )

    def run() -> None:
        with _publisher(access) as publisher:
            try:
                done = publisher.publish(channel, event, payload, idempotency_key=idempotency_key)
            except (PublishRefused, PublishFailed) as error:
                fail(_explained(error, access))
        print(f"{done.channel} {done.offset}")

    ending_well(run)


def stats(
    *,
    watch: Annotated[
        list[float] | None,
        Parameter(
            help=f"Look again every so many seconds ({WATCH_SECONDS:g} when left out), with rates per second.",
            consume_multiple=(0, 1),
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    api_key: ApiKey = None,
    demo: Demo = False,
    json: Json = False,
    config: ConfigFile = None,
    settings: Settings = [],  # noqa: B006  read only
) -> None:
    """Show a server's figures: connections, channels, publications, deliveries, bytes, closes.

    Example: tidings stats --watch 5
    """
    seconds = None if watch is None else (watch or [WATCH_SECONDS])[0]
    if seconds is not None and not 0.1 <= seconds <= 86400:
        fail("--watch: 0.1 to 86400 seconds")
    access = find_access(
        url=url, token=token, api_key=api_key, takes_key=True, config=config, settings=settings, demo=demo
    )

    def run() -> None:
        if seconds is None:
            _show(_figures(access), as_json=json)
        else:
            _watch(access, seconds, as_json=json)

    ending_well(run)


# --- listening -------------------------------------------------------------------------------------------


class _TooSlow(Exception):
    """More came of an inbox than could be printed."""


async def _listen(client: Client, channels: list[str], printer: LinePrinter, *, keeps: bool) -> None:
    subscriptions = [await client.subscribe(channel) for channel in dict.fromkeys(channels)]
    printer.status.say(f"listening to {', '.join(item.channel for item in subscriptions)}")
    own = user_channel(printer.status.user_id) if keeps else None
    async with trio.open_nursery() as nursery:
        for subscription in subscriptions:
            nursery.start_soon(_print_all, subscription, printer, subscription.channel == own)


async def _print_all(subscription: Subscription, printer: LinePrinter, keeps: bool) -> None:
    while True:
        try:
            async for item in subscription:
                await printer.print(item)
        except Overflow as overflow:
            if keeps:
                # Going on would acknowledge what nobody has read.
                raise _TooSlow(
                    f"{subscription.channel}: {overflow.dropped} not printed: the output is too slow; they wait"
                    " for this device: listen again"
                ) from None
            printer.status.say(
                f"{subscription.channel}: {overflow.dropped} not printed: the output is too slow"
            )
        else:
            return


def _ended(end: Exception) -> str:
    hint = "; is the token the server's? (--token, TIDINGS_TOKEN)" if _is_unauthorized(end) else ""
    return f"the server ended it: {end}{hint}"


def _is_unauthorized(end: Exception) -> bool:
    return isinstance(end, Disconnected) and end.code == 401


def _first(group: BaseExceptionGroup[Any]) -> Exception:
    """The first error in a group of groups."""
    error: Any = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    found: Exception = error
    return found


# --- publishing and figures ------------------------------------------------------------------------------


def _payload(data: str) -> dict[str, Any]:
    try:
        # The bytes as they were given: what is no UTF-8 is refused with the rest.
        content = _standard_input() if data == "-" else os.fsencode(data)
        payload = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        fail(f"--data: not JSON: {error}")
    except OSError as error:
        fail(f"--data: cannot read standard input: {error.strerror or error}")
    if not isinstance(payload, dict):
        fail('--data: expected a JSON object, as in --data \'{"text": "hello"}\'')
    return payload


def _standard_input() -> bytes:
    if sys.stdin is None:
        fail("--data: standard input is closed")
    return sys.stdin.buffer.read()


def _publisher(access: Access) -> Publisher:
    token = access.token() if callable(access.token) else access.token
    try:
        return Publisher(access.url, token=token, api_key=access.api_key)
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
        # Also of the environment: SSL_CERT_FILE that is none, a proxy of a kind that httpx cannot use.
        fail(visible(str(error)))


def _figures(access: Access) -> ServerStats:
    with _publisher(access) as publisher:
        try:
            return publisher.stats()
        except (PublishRefused, PublishFailed) as error:
            fail(_explained(error, access))


def _watch(access: Access, seconds: float, *, as_json: bool) -> None:
    """Look again and again. A server that is away is told, and looked for again."""
    console = Lines()
    before: ServerStats | None = None
    looked = 0.0
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not as_json else _NoLive()
    with live:
        while True:
            try:
                with _publisher(access) as publisher:
                    now = publisher.stats()
            except (PublishRefused, PublishFailed) as error:
                if isinstance(error, PublishRefused) and error.status not in RETRIED_STATUSES:
                    fail(_explained(error, access))
                say(_explained(error, access))
            else:
                at = time.monotonic()
                if as_json:
                    _show(now, as_json=True)
                else:
                    live.update(stats_table(now, before, at - looked), refresh=True)
                before, looked = now, at
            time.sleep(seconds)


class _NoLive:
    """Where output is no terminal: one table below the other."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, table: Any, *, refresh: bool) -> None:  # noqa: ARG002  as `Live` has it
        Lines().print(table)


def _show(figures: ServerStats, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(figures).decode(), flush=True)
    else:
        Lines().print(stats_table(figures))


def _explained(error: PublishRefused | PublishFailed, access: Access) -> str:
    words = visible(str(error))
    if isinstance(error, PublishRefused):
        # Not with 403: that says itself what is missing, and it need not be a role.
        wants = "; is the token the server's? (--token, --api-key)" if error.status == 401 else ""
        return f"{words}{wants}"
    if error.why.startswith(CERTIFICATE):
        hint = ""
    elif error.why.startswith(TLS):
        hint = "; does the server speak TLS, or is it http://? (--url, TIDINGS_URL)"
    elif access.url.startswith(("https:", "wss:")):
        hint = "; is the server running? (--url, TIDINGS_URL)"
    else:
        hint = "; is the server running, and without TLS? (--url, TIDINGS_URL)"
    return f"{access.url}: {words}{hint}"
