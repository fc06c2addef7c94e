"""Records in PostgreSQL."""

from typing import TYPE_CHECKING, Any, ClassVar, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.databases import (
    LOCK_SECONDS,
    MIGRATION_LOCK_SECONDS,
    Database,
    Fault,
)

try:
    import psycopg
except ImportError:  # an extra
    if not TYPE_CHECKING:
        psycopg = None

# The one lock that keeps two nodes from migrating at once: "Tdngmigr", as a number.
_LOCK: Final = 0x54646E676D696772

# And, with its schema, the one of the server that a database belongs to: "Tdng".
_CLAIM: Final = 0x54646E67

# What the driver is told unless the URL says otherwise. A server that was unplugged is given up after some 20
# seconds; the kernel alone would wait for a quarter of an hour, and with it whoever writes.
_PARAMETERS: Final = {
    "application_name": "tidings",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}

# A statement takes milliseconds. What takes longer holds up all that write after it.
_STATEMENT_SECONDS: Final = 10

# A transaction that nobody goes on with: the process was stopped, or unplugged.
_IDLE_SECONDS: Final = 60

_NOT_ALLOWED: Final = "42501"

# Serialization failure and deadlock.
_AGAIN: Final = frozenset({"40001", "40P01"})

# Connections; resources, as a full disk; intervention, as a shutdown or a timeout; the system; locks not to be had;
# a standby that only reads; internal errors. https://www.postgresql.org/docs/current/errcodes-appendix.html
_DATABASE: Final = ("08", "53", "57", "58", "55P03", "25006", "XX")


class PostgreSQL(Database):
    """A database of a server's. Whoever made it has given our user the right to create tables."""

    # A backend remembers 64 savepoints; with more, every other transaction must ask the disk which are under way.
    most_in_group: ClassVar[int] = 60

    def __init__(self, url: str) -> None:
        """Take the URL. Raises StoreRefused where it cannot be understood, or the driver is not installed."""
        self._url = _parsed(url)
        if psycopg is None:
            raise StoreRefused(
                "store.url: PostgreSQL needs a driver that is not installed: pip install 'tidings[postgres]'"
            )

    @property
    def place(self) -> str:
        """The URL without its password and options."""
        return self._url.set(query={}, drivername="postgresql").render_as_string(hide_password=True)

    def exists(self) -> bool:
        """Always: a database is its administrator's to make."""
        return True

    def create(self) -> None:
        """Connect, and see that any text can be kept."""
        engine = self.migrator()
        try:
            with engine.connect() as connection:
                encoding = connection.scalar(text("SHOW server_encoding"))
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.ProgrammingError):
                # The driver's own words quote the option, which may be the rest of a password.
                raise StoreRefused(
                    f"{self.place}: what follows the ? in store.url are no options of a connection"
                ) from None
            raise self.refusal("cannot connect", error) from None
        finally:
            engine.dispose()
        if encoding != "UTF8":
            raise StoreRefused(
                f"{self.place}: its encoding is {encoding}, in which not every name can be written: make one with"
                " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )

    def claim(self, connection: Connection) -> bool:
        """By a lock of the session: it goes with the connection, also where the process was killed."""
        # Of the schema, since several may be several servers'.
        query = text("SELECT pg_try_advisory_lock(:key, hashtext(current_schema()))")
        taken = bool(connection.scalar(query, {"key": _CLAIM}))
        connection.commit()
        return taken

    def release(self) -> None:
        """Nothing is left to do."""

    def writer(self) -> Engine:
        """READ COMMITTED, whatever the database's default: operations lock what they decide on."""
        engine = create_engine(
            self._url, poolclass=NullPool, isolation_level="READ COMMITTED", hide_parameters=True
        )
        return _limited(engine, statement=_STATEMENT_SECONDS, lock=LOCK_SECONDS)

    def reader(self, connections: int) -> Engine:
        """A transaction's first statement is its snapshot."""
        engine = create_engine(
            self._url,
            pool_size=connections,
            max_overflow=0,
            isolation_level="REPEATABLE READ",
            hide_parameters=True,
        )
        limited = _limited(engine, statement=_STATEMENT_SECONDS, lock=LOCK_SECONDS)
        return limited.execution_options(postgresql_readonly=True)

    def migrator(self) -> Engine:
        """Statements may take their time."""
        engine = create_engine(
            self._url, poolclass=NullPool, isolation_level="READ COMMITTED", hide_parameters=True
        )
        return _limited(engine, statement=0, lock=MIGRATION_LOCK_SECONDS)

    def lock(self, connection: Connection) -> None:
        """Wait for another node that migrates, for as long as for any lock."""
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def check_migrated(self, connection: Connection) -> None:
        """Nothing to do: PostgreSQL checks itself."""

    def fault(self, error: BaseException) -> Fault:
        """By the code of the SQL standard."""
        if isinstance(error, DBAPIError):
            if error.connection_invalidated:
                return Fault.LOST
            error = error.orig or error
        if not isinstance(error, psycopg.Error):
            return Fault.OPERATION
        state = error.sqlstate
        if state in _AGAIN:
            return Fault.AGAIN
        if state is None:  # the driver's own: about the connection, or else about a parameter
            connecting = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            return Fault.DATABASE if connecting else Fault.OPERATION
        return Fault.DATABASE if state.startswith(_DATABASE) else Fault.OPERATION

    def cure(self, error: BaseException) -> str:
        """What an administrator has to see to."""
        state = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
        if state == _NOT_ALLOWED:
            return "Give its user the right to create tables: GRANT CREATE ON SCHEMA public TO …"
        if self.fault(error) is Fault.OPERATION:
            return ""
        return "See that the server runs, and that store.url names its host, user, password and database"


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # What exactly is wrong would be told in pieces of the URL: of a password that holds an @ or a slash.
        raise StoreRefused(
            "store.url: cannot be understood: write postgresql://user:password@host:5432/database, with / : @ ? #"
            " and % in the password as %2F %3A %40 %3F %23 %25"
        ) from None
    return parsed.set(drivername="postgresql+psycopg", query={**_PARAMETERS, **parsed.query})


def _limited(engine: Engine, *, statement: int, lock: int) -> Engine:
    """Give the connections of an engine their timeouts, in seconds.

    By SET, since a pooler between us and the server refuses them as options of the connection.
    """

    def connected(connection: "psycopg.Connection[Any]", _record: object) -> None:
        connection.autocommit = True
        connection.execute(
            f"SET statement_timeout = {statement * 1000}; SET lock_timeout = {lock * 1000};"
            f" SET idle_in_transaction_session_timeout = {_IDLE_SECONDS * 1000}"
        )
        connection.autocommit = False

    event.listen(engine, "connect", connected)
    return engine
