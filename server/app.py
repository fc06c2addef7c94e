"""The composition root: the one place that knows all the parts."""

import errno
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from tidings.protocol.catalogues import CATALOGUES
from tidings.protocol.deflate import DeflateOptions
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.dialects.ginforge import GinForgeDialect
from tidings.protocol.dialects.knowledge import KnowledgeDialect
from tidings.protocol.dialects.line_board import LineBoardDialect
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.dialects.single_login import SingleLoginDialect
from tidings.protocol.messages.builtin import core_registry
from tidings.protocol.messages.registry import Registry
from tidings.server.api.application import Parts, application, own_routes, package_version
from tidings.server.api.messages import About
from tidings.server.api.service import Service
from tidings.server.api.static import REDIRECTS, static_files
from tidings.server.auth import Authenticator, new_secret
from tidings.server.choosing import (
    check_left_behind,
    choose_apps,
    keeps_accounts,
    may_have_left,
    migrations_of,
    rules_of_rooms,
)
from tidings.server.config import Auth, Compression, Config, ConfigError, Heartbeat, History, Limits
from tidings.server.edge.calls import app_handlers, many_handlers
from tidings.server.edge.commands import Commands
from tidings.server.edge.context import Context
from tidings.server.edge.dispatch import Dispatcher, MessageHandler
from tidings.server.edge.echo import ECHO_MESSAGE_BYTES, Echo
from tidings.server.edge.endpoints import check_path, is_template, served
from tidings.server.edge.engines.native import NativeEngine
from tidings.server.edge.engines.seam import Engine
from tidings.server.edge.front import Front, open_listeners
from tidings.server.edge.guests import entrances
from tidings.server.extension import App, AppFailed
from tidings.server.extension.routes import check_built, check_routes, handlers_of
from tidings.server.extension.running import RunningApps
from tidings.server.limits import Admission, connections_total
from tidings.server.logins import Logins
from tidings.server.messaging import messaging
from tidings.server.metrics import Metrics
from tidings.server.permissions import Permissions
from tidings.server.shutdown import Stop, drain, watch_signals
from tidings.server.tables import Tables

if TYPE_CHECKING:
    # Loaded where an app has tables: SQLAlchemy alone takes a tenth of a second.
    from tidings.server.apps.accounts.service import Accounts
    from tidings.server.relay import Relay
    from tidings.server.store.records.records import Migrations, Records

_log = structlog.get_logger("tidings.server")

# With room for fewer connections than this, something is wrong with the descriptor limit.
SMALL = 100

ENGINES: dict[str, Callable[[Compression], Engine]] = {
    "native": lambda compression: NativeEngine(_deflate_options(compression)),
    "reference": lambda _compression: _reference_engine(),
}


class Listening(msgspec.Struct, frozen=True):
    """Where a server listens."""

    host: str
    port: int
    secure: bool

    def url(self, scheme: str) -> str:
        """Its address, with the secure form of `http` or `ws` where it speaks TLS."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}{'s' if self.secure else ''}://{host}:{self.port}"


class CannotListen(Exception):
    """The configured address cannot be listened on; the message says why."""


class Server:
    """One server: its parts put together, and the nursery tree in which they run."""

    def __init__(
        self,
        config: Config,
        *,
        apps: Sequence[App] | None = None,
        messages: Callable[[Context], MessageHandler] | None = None,
    ) -> None:
        """Put the parts together. Raises AuthConfigError, ConfigError, NameConflict, OSError (TLS files).

        `apps` run beside rooms, in place of those that `server.apps` names.
        """
        self._config = config
        registry = core_registry()
        self.apps = choose_apps(config, apps)
        for app in self.apps:
            app.register(registry)
        dialects = _dialects(registry)
        _check_endpoints(config, dialects)
        authenticator = Authenticator(config.auth)
        self.messaging = messaging(config, registry, authenticator.revocations)
        parts = self.messaging
        self.context = Context(
            config=config,
            registry=registry,
            dialects=dialects,
            engine=ENGINES[config.server.engine](config.compression),
            authenticator=authenticator,
            permissions=Permissions(parts.policies, rooms_open=config.auth.open_rooms),
            hub=parts.hub,
            broker=parts.broker,
            admission=Admission(
                total=connections_total(config.limits.connections_total),
                per_address=config.limits.connections_per_address,
            ),
            push=parts.push,
            policies=parts.policies,
            histories=parts.histories,
            inboxes=parts.inboxes,
            presence=parts.presence,
            doors=entrances(self.apps, dialects),
        )
        self._metrics = Metrics(
            parts.hub,
            self.context.refusals,
            broker=parts.broker,
            histories=parts.histories,
            recoveries=self.context.recoveries,
        )
        self.logins = Logins(authenticator, parts.revoker, parts.hub, parts.broker)
        parts.listeners.append(self.logins.told)
        self.accounts: Accounts | None = None
        """The users that this server keeps itself; None where it keeps none."""
        self._records: Records | None = None
        self._relay: Relay | None = None
        migrations = migrations_of(config, self.apps)
        if migrations:
            self._keep_records(migrations)
        self.context.permissions.rooms = rules_of_rooms(self.apps)
        self._tls = _tls_context(config)
        self._service = self._http()
        self.front = Front(
            self.context,
            messages=(messages or self._dispatcher)(self.context),
            http=self._service,
            tls=self._tls,
        )

    async def run(
        self,
        stop: Stop,
        *,
        signals: bool = False,
        http_at_once: bool = True,
        task_status: trio.TaskStatus[list[Listening]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and serve until `stop`, then drain. Reports where it listens once it does.

        Without `http_at_once` the first request waits for the routes of HTTP to be put together, some tens of
        milliseconds: many a server of a test is never asked for one. Those of apps are in any case, to be checked.

        Raises CannotListen, AppFailed, StoreRefused, NotStored. Cancelled, it resets every connection and ends.
        """
        listeners: list[socket.socket] = []
        try:
            # First: while a large database is checked, a port that is open would only let people wait.
            await self.messaging.prepare()
            if may_have_left(self._config):
                await trio.to_thread.run_sync(check_left_behind, self._config)
            if self._records is not None:
                await self._records.prepare()
            listeners += self._listen()
            if http_at_once:
                self._service.prepare()
            self._log_capacity()
            await self._run(listeners, stop, task_status, signals=signals)
        finally:
            self.messaging.close()
            if self._records is not None:
                self._records.close()
            for listener in listeners:
                listener.close()

    def _listen(self) -> list[socket.socket]:
        section = self._config.server
        try:
            return open_listeners(section.host, section.port, self.front.tune)
        except OSError as error:
            hint = " Is another server there? Try --port" if error.errno == errno.EADDRINUSE else ""
            raise CannotListen(f"cannot listen on {section.host}:{section.port}: {error}.{hint}") from error

    async def _run(
        self,
        listeners: list[socket.socket],
        stop: Stop,
        task_status: trio.TaskStatus[list[Listening]],
        *,
        signals: bool,
    ) -> None:
        running = RunningApps(self.apps, self.context.push)
        failed: AppFailed | None = AppFailed("stopped before its apps had begun")
        with stop.abort:
            async with trio.open_nursery() as services:
                await self.messaging.keep(services)
                self.start_parts(services)
                if self._records is not None and self._relay is not None:
                    await services.start(self._records.run)
                    services.start_soon(self._relay.run, name="relay")
                services.start_soon(self._metrics.watch_lag, name="loop lag")
                if signals:
                    await services.start(watch_signals, stop, self._reload_certificate)
                try:
                    with trio.CancelScope() as beginning:
                        services.start_soon(_cancel_at, stop, beginning)
                        failed = await services.start(running.run)
                    if failed is None:
                        await self._serve(listeners, stop, task_status)
                finally:
                    # Only now: what the apps hold outlives the last connection.
                    running.end()
                await running.wait_left()
                await self.messaging.settle()
                # The store, too: it commits first what it was given before.
                services.cancel_scope.cancel()
        if failed is not None:
            raise failed

    def start_parts(self, nursery: trio.Nursery) -> None:
        """Start the tasks without which no connection lives; `run` does. They end when cancelled."""
        self.messaging.start(nursery)
        nursery.start_soon(self.logins.run, name="logins")
        nursery.start_soon(self.context.alarms.run, name="alarms")
        nursery.start_soon(self.context.endings.run, name="endings")

    async def _serve(
        self, listeners: list[socket.socket], stop: Stop, task_status: trio.TaskStatus[list[Listening]]
    ) -> None:
        # The handlers' nursery stands outside the listeners': closing the door ends nobody.
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as listening:
                for listener in listeners:
                    listening.start_soon(self.front.listen, listener, connections, name="listener")
                task_status.started([_listening(sock, secure=self._tls is not None) for sock in listeners])
                await stop.wait()
                await drain(self.context, self.front)
                listening.cancel_scope.cancel()
            connections.cancel_scope.cancel()

    def _keep_records(self, migrations: "Sequence[Migrations]") -> None:
        """Keep tables. Raises AuthConfigError as `_keep_accounts`, where those are among them."""
        from tidings.server.relay import Relay  # noqa: PLC0415  heavy, as what follows
        from tidings.server.store.records.records import Records  # noqa: PLC0415

        config, push = self._config, self.context.push
        records = Records(config.store.url, Path(config.server.data_dir), migrations, alone=True)
        relay = Relay(records, push)
        self._records, self._relay = records, relay
        push.tables = Tables(records, relay.wake)
        if keeps_accounts(config):
            self._keep_accounts(records, relay)

    def _keep_accounts(self, records: "Records", relay: "Relay") -> None:
        """Add the app of accounts. Raises AuthConfigError where this server cannot issue the tokens of logins."""
        from tidings.server.apps.accounts.app import accounts_app  # noqa: PLC0415
        from tidings.server.apps.accounts.service import Accounts  # noqa: PLC0415

        config = self._config
        self.context.authenticator.check_issues_logins()
        self.accounts = Accounts(
            config.accounts, longest=config.auth.max_ttl, records=records, relay=relay, logins=self.logins
        )
        self.context.push.users = self.accounts
        self.apps.append(accounts_app(self.accounts, users_page=config.accounts.users_page))

    def _http(self) -> Service:
        context = self.context
        endpoints = served(self._config.endpoints, context.dialects, context.doors)
        parts = Parts(
            http=self._config.http,
            push=context.push,
            hub=context.hub,
            presence=context.presence,
            authenticator=context.authenticator,
            revoker=self.messaging.revoker,
            history_page=self._config.history.page_limit,
            metrics=self._metrics,
            version=package_version(),
            started=time.monotonic(),
            about=About(package_version(), sorted(app.name for app in self.apps), endpoints),
        )
        handlers = handlers_of(self.apps)
        if handlers:
            exact = filterfalse(is_template, endpoints)
            pages = {"/healthz", "/readyz", "/openapi.json", *REDIRECTS, *static_files(), *exact}
            owners = check_routes(self.apps, ours=own_routes(parts), pages=pages)
            parts = replace(parts, owners=owners)
        origins = self._config.auth.origins
        try:
            return Service(parts, origins=origins, is_ready=lambda: not context.draining, handlers=handlers)
        except Exception:
            check_built(self.apps, partial(application, parts))
            raise  # it was no app's fault

    def _dispatcher(self, context: Context) -> MessageHandler:
        handlers = {**Commands(context).handlers, **app_handlers(context, self.apps)}
        seconds = context.config.heartbeat.handler_timeout
        return Dispatcher(
            handlers,
            handler_timeout=seconds,
            many=many_handlers(context, self.apps),
            refusals=context.refusals,
        )

    def _log_capacity(self) -> None:
        total, configured = self.context.admission.total, self._config.limits.connections_total
        log = _log.warning if total < max(configured, SMALL) else _log.info
        log("listening", connections_total=total, configured=configured or None)
        _log.info("apps", names=[app.name for app in self.apps])

    def _reload_certificate(self) -> None:
        """Read certificate and key again: new connections get them, old ones keep what they have."""
        tls = self._config.tls
        if self._tls is None:
            _log.info("nothing to reload: this port does not speak TLS")
            return
        try:
            self._tls.load_cert_chain(tls.cert, tls.key)
        except (OSError, ssl.SSLError) as error:
            _log.error("certificate not reloaded, the old one stays", error=str(error))
        else:
            _log.info("certificate reloaded")


def echo_server(host: str, port: int, engine: str) -> Server:
    """A server that echoes what anybody sends, with limits that a conformance suite does not meet."""
    never = 1e9
    config = Config(
        auth=Auth(secret=new_secret(), origins=("*",)),
        limits=Limits(
            message_bytes=ECHO_MESSAGE_BYTES,
            outbox_bytes=4 * ECHO_MESSAGE_BYTES,
            command_rate=never,
            command_burst=int(never),
            fragments_per_message=int(never),
            connections_per_address=100_000,
        ),
        heartbeat=Heartbeat(ping_interval=never, authenticate_timeout=never),
        endpoints={"/": "native"},
        history=History(log="none"),
        # Every message, so that the suites' small ones are compressed too.
        compression=Compression(enabled=engine == "native", threshold=0, client_context=True),
    )
    server: Any = msgspec.structs.replace(config.server, host=host, port=port, engine=engine)
    return Server(msgspec.structs.replace(config, server=server), messages=lambda _context: Echo())


def _reference_engine() -> Engine:
    # Only where it is asked for: trio-websocket and wsproto take a twentieth of a server's start.
    from tidings.server.edge.engines.reference import ReferenceEngine  # noqa: PLC0415

    return ReferenceEngine()


def _deflate_options(compression: Compression) -> DeflateOptions | None:
    if not compression.enabled:
        return None
    return DeflateOptions(
        threshold=compression.threshold,
        level=compression.level,
        window=compression.window_bits,
        client_takeover=compression.client_context,
    )


async def _cancel_at(stop: Stop, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


def _listening(listener: socket.socket, *, secure: bool) -> Listening:
    host, port = listener.getsockname()[:2]
    return Listening(host, port, secure)


def _dialects(registry: Registry) -> dict[str, Dialect]:
    dialects: list[Dialect] = [
        NativeDialect(registry),
        NativeDialect(registry, binary=True),
        *map(SingleLoginDialect, CATALOGUES.values()),
        KnowledgeDialect(registry),
        GinForgeDialect(registry),
        LineBoardDialect(devices=True),
        LineBoardDialect(devices=False),
    ]
    return {dialect.name: dialect for dialect in dialects}


def _check_endpoints(config: Config, dialects: Mapping[str, Dialect]) -> None:
    for path, name in config.endpoints.items():
        check_path(path)
        if name not in dialects:
            near = get_close_matches(name, dialects, n=1, cutoff=0.4) or list(dialects)
            raise ConfigError(f"endpoints: {path}: no dialect {name!r}; did you mean {near[0]!r}?")


def _tls_context(config: Config) -> ssl.SSLContext | None:
    if not config.tls.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tls.cert, config.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls.cert {config.tls.cert} and tls.key {config.tls.key}: not a certificate and its"
            f" unencrypted key in PEM form: {error}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context
