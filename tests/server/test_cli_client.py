"""What `listen`, `publish` and `stats` print, and where they take server and credential from."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.site import SECRET

from tidings.client import (
    CommandRefused,
    Connected,
    Gap,
    NotAcknowledged,
    Notice,
    Publication,
    Reconnecting,
    Recovered,
    Resubscribed,
    ServerStats,
)
from tidings.server.auth import Authenticator
from tidings.server.cli import app
from tidings.server.cli.access import Access, find_access
from tidings.server.cli.output import StatusLines, human_line, json_line, stats_table, visible
from tidings.server.config import Auth
from tidings.server.demo import SECRET_FILE
from tidings.server.identity import Identity

CLIENT_VARIABLES = (
    "TIDINGS_URL",
    "TIDINGS_TOKEN",
    "TIDINGS_API_KEY",
    "TIDINGS_AUTH_SECRET",
    "JWT_SECRET",
    "PORT",
)


@pytest.fixture(autouse=True)
def _empty_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where no .env and no demo lies about
    for name in CLIENT_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def _find(**given: Any) -> Access:
    options: dict[str, Any] = {
        "url": None,
        "token": None,
        "config": None,
        "settings": [],
        "takes_key": True,
    }
    return find_access(**(options | given))


def _who(access: Access, secret: str = SECRET) -> Identity:
    assert callable(access.token)
    identity = Authenticator(Auth(secret=secret)).verify(access.token())
    assert isinstance(identity, Identity)
    return identity


def test_where_the_credential_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Option, environment, configuration, demo: the first that is there, in this order."""
    (tmp_path / "data").mkdir()
    demo_secret = "d" * 64
    (tmp_path / "data" / SECRET_FILE).write_text(demo_secret)
    found = _find()
    assert found.url == "http://127.0.0.1:8000"
    assert _who(found, demo_secret).user_id == "tidings-cli"
    monkeypatch.setenv("TIDINGS_AUTH_SECRET", SECRET)
    assert _who(_find()).is_admin
    monkeypatch.setenv("TIDINGS_API_KEY", "key")
    assert _find() == Access("http://127.0.0.1:8000", None, "key")
    assert callable(_find(takes_key=False).token)
    monkeypatch.setenv("TIDINGS_TOKEN", "from-the-environment")
    assert _find().token == "from-the-environment"
    assert _find(api_key="k").api_key == "k"
    assert _find(token="given") == Access("http://127.0.0.1:8000", "given")
    assert _who(_find(demo=True), demo_secret).is_admin, "whatever else is there"


def test_where_the_url_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Option, environment, the configuration's port; a broken configuration is not asked when it is not needed."""
    (tmp_path / "tidings.toml").write_text("[server]\nport = 8123\n")
    assert _find(token="t", config=tmp_path / "tidings.toml").url == "http://127.0.0.1:8123"
    monkeypatch.setenv("TIDINGS_URL", "wss://h/ws")
    assert _find(token="t", config=tmp_path / "tidings.toml").url == "wss://h/ws"
    assert _find(token="t", url="http://g", config=tmp_path / "nowhere.toml").url == "http://g"


def test_the_tokens_live_is_bounded_by_the_configuration() -> None:
    """A signed token is short-lived, and never longer than `auth.max_ttl`."""
    found = _find(settings=[f"auth.secret={SECRET}", "auth.max_ttl=60"])
    assert _who(found).expires_at - datetime.now(UTC).timestamp() <= 61


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "TIDINGS_TOKEN"),
        ({"token": "a", "api_key": "b"}, "not both"),
        ({"url": "h:1", "token": "a"}, "--url"),
        ({"url": "ws://h/ws?token=secret", "token": "a"}, "logs"),
        ({"settings": ["auth.secret=short"]}, "32"),
        ({"demo": True}, "serve --demo"),
        ({"demo": True, "token": "a"}, "not two"),
        ({"demo": True, "api_key": "a"}, "not two"),
        ({"token": ""}, "--token: empty"),
        ({"token": "token=secret\n"}, "--token: ends with"),
        ({"api_key": "token=secret é"}, "--api-key: "),
        ({"url": "http://\udcff", "token": "a"}, "--url: not UTF-8"),
        ({"settings": [f"auth.secret={SECRET}", "auth.algorithms=RS256"]}, "HS256"),
    ],
)
def test_what_is_missing_is_told(
    given: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with the cure on standard error, and no secret in it."""
    with pytest.raises(SystemExit) as ended:
        _find(**given)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    assert words in err
    assert "token=secret" not in err
    assert SECRET not in err


@pytest.mark.parametrize("variable", ["TIDINGS_TOKEN", "TIDINGS_API_KEY"])
def test_a_variable_that_is_no_credential_is_told(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line break, as a file brings it, is told by the variable's name; an empty variable is none."""
    monkeypatch.setenv(variable, "canary\n")
    with pytest.raises(SystemExit):
        _find()
    err = capsys.readouterr().err
    assert variable in err
    assert "canary" not in err
    monkeypatch.setenv(variable, "")
    assert callable(_find(settings=[f"auth.secret={SECRET}"]).token)


def test_a_demos_tokens_are_what_the_configuration_asks_for(tmp_path: Path) -> None:
    """A token for a demo has the issuer, the claims and the bounded life that its server checks."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SECRET_FILE).write_text("d" * 64)
    found = _find(settings=["auth.issuer=me", 'auth.user_claims=["uid"]', "auth.max_ttl=60"])
    assert callable(found.token)
    auth = Auth(secret="d" * 64, issuer="me", user_claims=("uid",), max_ttl=60)
    assert isinstance(Authenticator(auth).verify(found.token()), Identity)


def _publication(raw: bytes = b'{"text":"hi"}') -> Publication:
    at = datetime(2026, 11, 21, 20, 10, 0, 123_000, tzinfo=UTC)
    return Publication("room:x", "news", {}, 7, "e", at, raw=raw)


def test_a_line_for_people() -> None:
    """Time, channel, event, payload; nothing in it can command a terminal, whoever wrote it."""
    assert human_line(_publication()).plain.endswith('.123  room:x  news  {"text":"hi"}')
    hostile = '{"text":"\x9b31m\u202e\x7f"}'
    assert human_line(_publication(hostile.encode())).plain.isprintable()
    assert visible("é 漢\x1b[2J") == "é 漢\\u001b[2J"


def test_a_line_for_programs() -> None:
    """One JSON object with the payload as it was published; a gap is one too."""
    line = json.loads(json_line(_publication()))
    assert line["payload"] == {"text": "hi"}
    assert (line["channel"], line["event"], line["offset"], line["epoch"]) == ("room:x", "news", 7, "e")
    assert line["timestamp"].startswith("2026-11-21T20:10:00.123")
    gap = json.loads(json_line(Gap("room:x", 3, None, "f")))
    assert gap == {"gap": {"channel": "room:x", "from_offset": 3, "to_offset": None, "epoch": "f"}}


def test_what_becomes_of_the_connection(capsys: pytest.CaptureFixture[str]) -> None:
    """Connected, lost and why, in how long again, back after how long, and what was missed."""
    now = 0.0
    status = StatusLines("http://h", clock=lambda: now)
    here = Connected("1", "tidings-cli", "x", 0, 1)
    status.event(Reconnecting(1, 0.25, 1006, "Connection refused"))
    status.event(here)
    status.event(Reconnecting(1, 0.5, 1006, "connection lost"))
    now = 2.0
    status.event(Reconnecting(2, 0.5, 503, "shutting down"))
    now = 3.24
    status.event(here)
    status.event(Notice("weather", None, {}))
    status.event(NotAcknowledged(7, CommandRefused("forbidden", "not yours")))
    status.event(Resubscribed(("room:x",), (), (Recovered("room:x", 2, 4),)))
    status.gap(Gap("room:x", 4, 4, "e"))
    status.gap(Gap("room:x", 4, 6, "e"))
    status.gap(Gap("room:x", 4, None, "e"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "tidings: cannot reach http://h: Connection refused (1006); trying again in 0.2 s",
        "tidings: connected to http://h as tidings-cli",
        "tidings: lost the server: connection lost (1006); trying again in 0.5 s",
        "tidings: still away: shutting down (503); trying again in 0.5 s",
        "tidings: back after 3.2 s",
        "tidings: the server says weather",
        "tidings: not acknowledged, it comes again: forbidden: not yours",
        "tidings: room:x: recovered 3 publications (2 to 4)",
        "tidings: room:x: missed 1 publication (4 to 4)",
        "tidings: room:x: missed 3 publications (4 to 6)",
        "tidings: room:x: began anew; what was published meanwhile was missed",
    ]


def _figures(publications: int, uptime: float) -> ServerStats:
    return ServerStats(
        connections=1, users=1, channels=2, subscriptions=3, publications=publications, deliveries=0,
        encodings=0, outbox_bytes=0, bytes_sent=1_234_567, closes={"1006": 2, "9999": 1},
        uptime_seconds=uptime, version="0.1.0",
    )  # fmt: skip


def _text(*given: Any) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(stats_table(*given))
    return capture.get()


def test_a_table_of_figures() -> None:
    """Every figure with its name, the closes by theirs; rates only where there are two looks at one server."""
    text = _text(_figures(10, 93_784.0))
    assert "1,234,567" in text
    assert "1 d 2 h 3 min 4 s" in text
    assert "closed 1006 abnormal" in text
    assert "closed 9999" in text
    assert "per second" not in text
    assert "2.5" in _text(_figures(20, 104), _figures(10, 100), 4.0)
    # The server was started again in between: a rate would be nonsense.
    assert "per second" not in _text(_figures(1, 2), _figures(10, 100), 4.0)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "listen",
            [
                "--url",
                "--token",
                "--demo",
                "--json",
                "--config",
                "--set",
                "--device",
                "Ctrl-C",
                "tidings listen all",
            ],
        ),
        (
            "publish",
            ["--event", "--data", "--token", "--api-key", "--idempotency-key", "tidings publish all"],
        ),
        ("stats", ["--watch", "--json", "--api-key", "tidings stats --watch"]),
    ],
)
def test_help_teaches(
    command: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--help` names every option and shows an example."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        app([command, "--help"])
    assert not ended.value.code
    out = capsys.readouterr().out
    for word in words:
        assert word in out
