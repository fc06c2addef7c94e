"""A PostgreSQL of a test process's own: made when a test asks first, gone with the process, however that ends."""

import functools
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Nobody's data: nothing need be on the disk, and little in memory.
_SETTINGS = """
listen_addresses = ''
max_connections = 60
shared_buffers = 16MB
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
wal_level = minimal
max_wal_senders = 0
"""

# Runs beside the server. The line that it waits for comes when a test stops the server to start it again; the end
# of its input, when the test process has gone, also by SIGKILL: then nothing is left of either.
_KEEPER = """
pg_ctl start --silent -w -t 30 -D "$0/data" -l "$0/log" && echo ready
if read -r _; then pg_ctl stop --silent -D "$0/data" -m fast
else pg_ctl stop --silent -D "$0/data" -m immediate; rm -rf "$0"; fi
"""

_USER = "tidings"


class Cluster:
    """A server and its files, in a folder that is short enough for the path of a socket."""

    def __init__(self) -> None:
        """Make the files and start. Skips the test where there is no PostgreSQL to be had."""
        self._environment, self._identity = _binaries(), _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="tidings-pg-", dir="/tmp"))
        if self._identity:
            shutil.chown(self.folder, self._identity["user"], self._identity["group"])
        command = [
            "initdb",
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            f"--username={_USER}",
        ]
        try:
            self._run([*command, f"--pgdata={self.folder}/data"])
        except PermissionError as error:
            self.folder.rmdir()
            pytest.skip(f"no PostgreSQL: it refuses root, and another user cannot be taken on: {error}")
        with (self.folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(f"{_SETTINGS}unix_socket_directories = '{self.folder}'\n")
        self.start()

    def start(self) -> None:
        """Start; it takes connections when this returns."""
        self._keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.folder,
            env=self._environment,
            **self._identity,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"ready\n", (self.folder / "log").read_text()

    def stop(self) -> None:
        """Stop, ending all sessions; `start` begins again with the same databases."""
        self._keeper.communicate(b"\n", timeout=30)

    def close(self) -> None:
        """Stop for good, and remove the files; where nobody calls it, the end of the process does the same."""
        if self._keeper.poll() is None:
            self._keeper.communicate(timeout=30)

    def url(self, database: str) -> str:
        """Of a database, as `store.url`."""
        return f"postgresql://{_USER}@/{database}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement outside of a transaction; its rows."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder), user=_USER, dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, command: list[str]) -> None:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            cwd=self.folder,
            env=self._environment,
            **self._identity,
        )


@functools.cache
def cluster() -> Cluster:
    """The one of this process. Skips the test where there is none."""
    import atexit

    made = Cluster()
    atexit.register(made.close)
    return made


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of an empty database, which goes with the block.

    It is a schema, which costs 5 ms where a database costs 100: nobody who connects by the URL can tell.
    """
    server, name = cluster(), f"test_{next(_numbers)}"
    server.execute(f"CREATE SCHEMA {name}")
    try:
        yield f"{server.url('postgres')}&options=-csearch_path%3D{name}"
    finally:
        server.execute(f"DROP SCHEMA {name} CASCADE")


_numbers = itertools.count(1)


def _binaries() -> dict[str, str]:
    """The environment in which PostgreSQL's commands are found: on PATH, or where Debian puts them."""
    places = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *places])
    for name in ("initdb", "pg_ctl", "postgres"):
        if shutil.which(name, path=path) is None:
            pytest.skip(f"no PostgreSQL: {name} is neither on PATH nor in /usr/lib/postgresql")
    # What the surroundings say about another server must not reach this one.
    return {"PATH": path, "LC_ALL": "C"}


def _unprivileged() -> dict[str, Any]:
    """Whom to run it as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("no PostgreSQL: it refuses root, and there is neither a user postgres nor nobody")
