"""Tables brought to a version: each owner's as a whole or not at all, by one process at a time."""

import json
import sqlite3
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from sqlalchemy import text
from support.records import differences, open_records
from support.records_app import things_app
from support.revisions import write_revision

from tidings.server.store.errors import StoreRefused
from tidings.server.store.records import outbox
from tidings.server.store.records.files import NAME
from tidings.server.store.records.migrating import (
    OURS,
    Migrated,
    Migrations,
    migrate,
    pending,
    revisions_in,
)

CREATE = (
    'op.create_table("parents", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))'
)
CHILDREN = """
op.create_table(
    "children",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent", sa.Integer, sa.ForeignKey("parents.id", ondelete="CASCADE"), nullable=False),
)
op.execute("INSERT INTO parents VALUES (1, 'Ada')")
op.execute("INSERT INTO children VALUES (10, 1)")
"""
NARROW = """
with op.batch_alter_table("parents") as batch:
    batch.alter_column("name", type_=sa.String(40), nullable=False, existing_type=sa.Text)
    batch.add_column(sa.Column("born", sa.Integer))
"""


async def test_the_servers_own_tables_are_those_that_it_declares(records_url: str, tmp_path: Path) -> None:
    """The migrations of the outbox have forgotten nothing."""
    async with open_records(records_url, tmp_path) as records:
        assert await records.read(lambda connection: differences(connection, outbox.metadata)) == []


def test_each_owner_is_brought_forward_and_told_once(records_url: str, tmp_path: Path) -> None:
    """First the server's own, then the apps' in order; what is there already is left; a look changes nothing."""
    family = write_revision(tmp_path, "family", CREATE)
    things = things_app(tmp_path)
    steps = [
        Migrated("records", None, "0001"),
        Migrated("family", None, "0001"),
        Migrated("things", None, "0001"),
    ]
    assert pending(records_url, tmp_path, [family, things]) == steps
    assert pending(records_url, tmp_path, [family, things]) == steps
    assert migrate(records_url, tmp_path, [family, things]) == steps
    assert migrate(records_url, tmp_path, [family, things]) == []
    write_revision(tmp_path, "family", CHILDREN)
    write_revision(tmp_path, "family", NARROW)
    assert pending(records_url, tmp_path, [family, things]) == [Migrated("family", "0001", "0003")]
    assert migrate(records_url, tmp_path, [family, things]) == [Migrated("family", "0001", "0003")]
    assert pending(records_url, tmp_path, [family, things]) == []


def test_a_look_makes_no_file(tmp_path: Path) -> None:
    """Where there is no database, everything is still to be done."""
    assert pending("", tmp_path / "data", []) == [Migrated("records", None, "0001")]
    assert not (tmp_path / "data").exists()


async def test_a_changed_table_keeps_its_rows_and_those_that_refer_to_them(
    records_url: str, tmp_path: Path
) -> None:
    """SQLite changes it by a copy, and with foreign keys at work the original would take its children along."""
    family = write_revision(tmp_path, "family", CREATE)
    for step in (CHILDREN, NARROW):
        write_revision(tmp_path, "family", step)
    rows = text("SELECT parents.name, children.id, born FROM parents JOIN children ON parent = parents.id")
    async with open_records(records_url, tmp_path, [family]) as records:
        [row] = await records.read(lambda connection: connection.execute(rows).all())
        assert tuple(row) == ("Ada", 10, None)
        await records.write(lambda connection: connection.execute(text("DELETE FROM parents")).rowcount)
        assert not await records.read(
            lambda connection: connection.execute(text("SELECT * FROM children")).all()
        )


def test_a_migration_that_fails_leaves_its_owner_as_it_was(records_url: str, tmp_path: Path) -> None:
    """All of its steps are undone; those of owners before it are kept; and mended, it goes through."""
    family = write_revision(tmp_path, "family", CREATE)
    things = write_revision(tmp_path, "things", CREATE.replace("parents", "things"))
    broken = write_revision(tmp_path, "things", 'op.execute("UPDATE things SET nothing = 1")')
    with pytest.raises(StoreRefused, match=r"cannot migrate things: .*nothing"):
        migrate(records_url, tmp_path, [family, things])
    assert pending(records_url, tmp_path, [family, things]) == [Migrated("things", None, "0002")]
    (broken.directory / "r0002_step.py").unlink()
    assert migrate(records_url, tmp_path, [family, things]) == [Migrated("things", None, "0001")]


@pytest.mark.parametrize("body", ["raise RuntimeError('no luck')", "def ("], ids=["raises", "no Python"])
def test_a_migration_that_is_wrong_is_named(tmp_path: Path, body: str) -> None:
    """Whose it is and where: the cures of a database would lead astray."""
    family = write_revision(tmp_path, "family", body)
    with pytest.raises(StoreRefused, match="the migration of family is at fault") as refused:
        migrate("", tmp_path, [family])
    assert str(family.directory) in str(refused.value)
    assert "data_dir" not in str(refused.value)


def test_a_migration_must_not_leave_rows_that_refer_to_nothing(tmp_path: Path) -> None:
    """SQLite does not look while tables are changed; this does, and keeps nothing of it."""
    family = write_revision(tmp_path, "family", CREATE)
    write_revision(tmp_path, "family", CHILDREN)
    write_revision(tmp_path, "family", 'op.execute("DELETE FROM parents")')
    with pytest.raises(StoreRefused, match="rows of children that refer to no parents"):
        migrate("", tmp_path, [family])
    assert pending("", tmp_path, [family]) == [Migrated("family", None, "0003")]


# Processes, as servers are: of two threads one, that closes the file, would let go of what the other has locked.
_NODE = """
import json, sys
from pathlib import Path
from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.migrating import Migrations, migrate
url, data_dir, owner, directory = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
try:
    print(json.dumps([list(step) for step in migrate(url, Path(data_dir), [Migrations(owner, Path(directory))])]))
except StoreRefused as error:
    print(json.dumps(str(error)))
"""


def test_servers_that_start_at_once_migrate_one_after_the_other(records_url: str, tmp_path: Path) -> None:
    """Each finds the tables ready, and one of them has made them."""
    family = write_revision(tmp_path, "family", CREATE)
    given = [records_url, str(tmp_path / "data"), family.owner, str(family.directory)]
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                Popen([sys.executable, "-c", _NODE, *given], stdin=PIPE, stdout=PIPE, text=True)
            )
            for _ in range(2)
        ]
        for node in nodes:
            assert node.stdout is not None
            assert node.stdout.readline() == "ready\n"
        for node in nodes:
            assert node.stdin is not None
            node.stdin.write("\n")
            node.stdin.flush()
        said = [json.loads(node.communicate(timeout=20)[0]) for node in nodes]
    # A refusal is a text.
    assert all(isinstance(steps, list) for steps in said), said
    assert sorted((owner, after) for steps in said for owner, _, after in steps) == [
        ("family", "0001"),
        ("records", "0001"),
    ]


def test_tables_of_a_newer_program_are_left_alone(records_url: str, tmp_path: Path) -> None:
    """It refuses to start, says whose, and has changed nothing, also of others."""
    family = write_revision(tmp_path, "family", CREATE)
    migrate(records_url, tmp_path, [family])
    newer = write_revision(tmp_path / "newer", "family", CREATE)
    write_revision(tmp_path / "newer", "family", CHILDREN)
    migrate(records_url, tmp_path, [newer])
    things = things_app(tmp_path)
    for work in (migrate, pending):
        with pytest.raises(StoreRefused, match=r"newer .*\(family: revision 0002; this one knows 0001\)"):
            work(records_url, tmp_path, [things, family])
    assert migrate(records_url, tmp_path, [things, newer]) == [Migrated("things", None, "0001")]


def test_alembic_is_loaded_only_where_something_is_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start on tables that are ready does not wait for it."""
    family = write_revision(tmp_path, "family", CREATE)
    migrate("", tmp_path, [family])
    for name in [name for name in sys.modules if name.partition(".")[0] == "alembic"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "alembic", None)
    assert migrate("", tmp_path, [family]) == []
    write_revision(tmp_path, "family", CHILDREN)
    with pytest.raises(StoreRefused, match="alembic"):
        migrate("", tmp_path, [family])


def test_revisions_are_a_line_and_owners_have_names_of_their_own(tmp_path: Path) -> None:
    """A missing number, a strange name, a number that the file itself contradicts, an owner twice: told at once."""
    family = write_revision(tmp_path, "family", CREATE)
    for owners in ([family, family], [Migrations("Family", family.directory)], [OURS]):
        with pytest.raises(StoreRefused, match="owner"):
            migrate("", tmp_path, owners)
    first = family.directory / "r0001_step.py"
    (family.directory / "__init__.py").write_text("")
    assert revisions_in(family.directory) == ["0001"]
    (family.directory / "r0003_later.py").write_text(first.read_text())
    with pytest.raises(StoreRefused, match=r"r0001_step\.py, r0003_later\.py"):
        migrate("", tmp_path, [family])
    (family.directory / "r0003_later.py").rename(family.directory / "later.py")
    with pytest.raises(StoreRefused, match=r"later\.py"):
        migrate("", tmp_path, [family])
    (family.directory / "later.py").unlink()
    first.write_text(first.read_text().replace("0001", "9999"))
    with pytest.raises(StoreRefused, match=r"migrated to 9999, and 0001 is the last"):
        migrate("", tmp_path, [family])


def test_nothing_is_printed(
    records_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What was done is the caller's to tell."""
    migrate(records_url, tmp_path, [write_revision(tmp_path, "family", CREATE)])
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_the_file_is_nobody_elses_to_read(tmp_path: Path) -> None:
    """Nor what SQLite puts beside it; it is marked as ours, and its commits reach the disk."""
    migrate("", tmp_path / "data", [])
    file = tmp_path / "data" / NAME
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("SELECT * FROM tidings_outbox")
        assert {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {
            NAME: 0o600,
            f"{NAME}-wal": 0o600,
            f"{NAME}-shm": 0o600,
        }
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
