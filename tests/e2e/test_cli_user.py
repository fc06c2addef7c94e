"""`tidings user add` as an operator meets it: what it prints and what it refuses; that the user can log in."""

import io
import os
import select
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio
from support.accounts import CHEAP, OTHER, PASSWORD, accounts_config, accounts_site
from support.process import PATIENCE

from tidings.server.cli import app
from tidings.server.demo_users import DATABASE

Add = Callable[..., tuple[int, str, str]]

# As in the support file: what hashes cost is not tried here.
_CHEAP = (
    *("--set", f"accounts.hash_memory_kib={CHEAP['hash_memory_kib']}"),
    *("--set", f"accounts.hash_passes={CHEAP['hash_passes']}"),
)


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Add:
    """Runs `tidings user add` in an empty folder; exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            if stdin is not None:
                content = io.BytesIO(stdin.encode("utf-8", "surrogateescape"))
                patch.setattr(sys, "stdin", io.TextIOWrapper(content, "utf-8"))
            try:
                app(["user", "add", *arguments, *_CHEAP])
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return command


def test_a_temporary_password_alone_is_on_standard_output(add: Add, tmp_path: Path) -> None:
    """So that a shell can keep it, also where the tables were made first; who was added is told beside it."""
    code, out, err = add("carol", "--id", "c-1")
    assert code == 0
    assert [len(group) for group in out.rstrip("\n").split("-")] == [4, 4, 4, 4]
    assert "added carol, id c-1" in err
    assert "tables migrated" in err
    [password] = _column(tmp_path, "password")
    assert str(password).startswith("$argon2id$")
    assert out.strip() not in err


def test_it_says_that_the_app_has_to_be_named(add: Add) -> None:
    """A hint where the configuration does not run accounts, with what to write; none where it does."""
    code, _, err = add("carol")
    assert code == 0
    assert "--set 'server.apps=*,accounts'" in err
    code, _, err = add("dora", "--set", "server.apps=*,accounts")
    assert code == 0
    assert "server.apps" not in err


async def test_the_user_logs_in_at_the_server_that_runs(
    tmp_path: Path,
    postgresql_url: str,
) -> None:
    """Added by a process of its own to the database of a living server, with all that was given."""
    async with accounts_site(accounts_config(tmp_path, postgresql_url)) as site:
        done = await trio.run_process(
            [
                *(sys.executable, "-m", "tidings.server", "user", "add", "root", "--role", "admin", "--id", "0"),
                *("--email", "root@example.org", "--group", "7", "--password-stdin", *_CHEAP),
                *("--set", f"store.url={postgresql_url}"),
            ],
            stdin=f"{PASSWORD}\n".encode(), capture_stdout=True, capture_stderr=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        token = await site.login("root")
        [user] = (await site.ask("GET", "/api/admin/users", token)).json()["users"]
        assert (user["id"], user["roles"], user["email"]) == ("0", ["admin"], "root@example.org")
        assert user["group_id"] == "7"
        assert user["must_change_password"] is False


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["Carol"], None, "NAME: another user has this name, or one that looks the same: choose another"),
        (["dora", "--id", "c-1"], None, "--id: the id c-1 is taken, or was: ids are given once: choose another"),
        (["dora", "--id", "no blanks"], None, "--id: expected"),
        (["dora", "--role", "a/b"], None, "--role: expected 1 to 64 characters"),
        (["dora", "--group", "a/b"], None, "--group: Expected a group: 1 to 128 characters"),
        (["dora", "--email", "nowhere"], None, "--email: An e-mail address has one @"),
        (["do ra"], None, "NAME: A user name has letters"),
        (["d\udcff"], None, "NAME: not UTF-8"),
        (["dora", "--password-stdin"], "12345\n", "the password: This password is too short"),
        (["dora", "--password-stdin"], "password1\n", "the password: This password is too easy to guess"),
        (["dora", "--password-stdin"], "x" * 5000, "the password: "),
        (["dora", "--password-stdin"], "", "--password-stdin: there is no password"),
        (["dora", "--password-stdin"], "\n", "--password-stdin: there is no password"),
        (["dora", "--password-stdin"], "d\udcff\n", "--password-stdin: not UTF-8"),
        (["dora", "--demo"], None, "start one with `tidings serve --demo`"),
        (["dora", "--set", "store.url=mysql://u:canary@h/d"], None, "store.url: begins neither"),
        (["dora", "--set", "store.url=postgresql://u:canary@127.0.0.1:1/d"], None, "See that the server runs"),
        (["dora", "--set", "server.data_dir=/dev/null/x"], None, "Set server.data_dir or store.url"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_argument_and_the_cure(
    add: Add, tmp_path: Path, arguments: list[str], stdin: str | None, words: str
) -> None:
    """One line on standard error and exit 1; nobody was added, and no password is repeated."""
    assert add("carol", "--id", "c-1")[0] == 0
    code, out, err = add(*arguments, stdin=stdin)
    assert (code, out) == (1, "")
    assert err.startswith("tidings: ")
    assert words in err
    assert err.count("\n") == 1
    assert "canary" not in err
    assert _column(tmp_path, "id") == ["c-1"]


def test_a_password_line_may_end_as_on_any_system(add: Add, tmp_path: Path) -> None:
    """With a line break of either kind, or none; what stands below the first line is not read."""
    for name, line in (("a1", PASSWORD), ("a2", f"{PASSWORD}\n"), ("a3", f"{OTHER}\r\n{PASSWORD}\n")):
        code, out, _ = add(name, "--id", name, "--password-stdin", stdin=line)
        assert (code, out) == (0, "")
    from argon2 import PasswordHasher

    hashes = [str(value) for value in _column(tmp_path, "password")]
    for encoded, password in zip(hashes, (PASSWORD, PASSWORD, OTHER), strict=True):
        assert PasswordHasher().verify(encoded, password)


def test_on_a_terminal_the_password_is_not_shown(tmp_path: Path) -> None:
    """It is asked for, and nothing of what is typed comes back."""
    ours, theirs = os.openpty()
    with (
        os.fdopen(ours, "r+b", buffering=0) as terminal,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tidings.server", "user", "add", "carol", "--password-stdin", *_CHEAP),
            ],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        os.close(theirs)
        try:
            shown = b""
            while b"assword: " not in shown:
                assert select.select([terminal], [], [], PATIENCE)[0], "it does not ask"
                shown += terminal.read(1024)
            terminal.write(f"{PASSWORD}\n".encode())
            assert process.wait(timeout=PATIENCE) == 0
            shown += terminal.read(1024)
        finally:
            process.kill()
    assert _column(tmp_path, "username") == ["carol"]
    assert PASSWORD.encode() not in shown


def test_the_demo_has_a_database_of_its_own(add: Add, tmp_path: Path) -> None:
    """`--demo` adds to the demo's users and never to the configured ones."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / DATABASE).touch()
    code, _, err = add("carol", "--demo", "--set", "store.url=sqlite:///own.db")
    assert code == 0
    assert "server.apps" not in err
    assert _column(tmp_path, "username", DATABASE) == ["carol"]
    assert not (tmp_path / "own.db").exists()


def test_its_help_teaches(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option, how the first administrator is made, and how long a temporary password is good for."""
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = add("--help")
    assert code == 0
    for word in ("--role", "--email", "--id", "--password-stdin", "--demo", "--config", "--set"):
        assert word in out
    assert "tidings user add root --role admin" in out
    assert "3 days" in out
    assert "--no-" not in out


def _column(folder: Path, name: str, database: str = "records.db") -> list[object]:
    with closing(sqlite3.connect(folder / "data" / database)) as connection:
        return [value for (value,) in connection.execute(f"SELECT {name} FROM accounts_users ORDER BY id")]
