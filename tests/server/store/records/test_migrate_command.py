"""The command that brings tables to this version."""

from pathlib import Path

import pytest

from tidings.server.cli.migrate import migrate


def test_the_command_tells_what_it_did_and_what_there_is_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check changes nothing and exits with 1 where there is something; done, there is nothing more."""
    settings = [f"server.data_dir={tmp_path / 'data'}", 'server.apps=["*", "accounts"]']
    with pytest.raises(SystemExit) as caught:
        migrate(check=True, settings=settings)
    assert caught.value.code == 1
    assert not (tmp_path / "data").exists()
    to_do = capsys.readouterr().out
    assert "records: no tables -> 0001\naccounts: no tables -> 00" in to_do
    migrate(settings=settings)
    assert capsys.readouterr().out == to_do
    for check in (True, False):
        migrate(check=check, settings=settings)
        assert capsys.readouterr() == ("nothing to do\n", "")


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, with exit code 1; where no app has tables, no database is asked for."""
    settings = [f"server.data_dir={tmp_path / 'data'}", "store.url=mysql://root:hunter2@localhost/x"]
    migrate(settings=settings)
    assert capsys.readouterr().out == "nothing to do\n"
    with pytest.raises(SystemExit) as caught:
        migrate(settings=[*settings, 'server.apps=["*", "accounts"]'])
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("tidings: store.url: begins neither with")
    assert said.count("\n") == 1
