"""The log: readable by people or machines, never blocking, never forged."""

import io
import json
import threading
from typing import Any

import msgspec
import pytest
import structlog

from tidings.server.logs import GATHERED_LINES, QUEUED_LINES, LineWriter, logging_to


class _Stuck(io.StringIO):
    """A terminal that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.go.wait(10)
        return super().write(text)


def test_lines_are_json_where_nobody_watches() -> None:
    """Into a pipe or a file each event is one JSON object with its level and time."""
    stream = io.StringIO()
    with logging_to(stream):
        structlog.get_logger().info("connected", user="alice", held=0, peer=None)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["user"], line["level"]) == ("connected", "alice", "info")
    assert not {"held", "peer"} & line.keys()


def test_control_characters_cannot_forge_a_line() -> None:
    """Line breaks and escapes in a peer's words come out escaped, for people too."""
    for log_format in ("human", "json"):
        stream = io.StringIO()
        with logging_to(stream, log_format):
            structlog.get_logger().info("refused", peer="x\r\nforged \x1b[31m\u2028\x85")
        assert stream.getvalue().count("\n") == 1
        assert not set("\r\x1b\u2028\x85") & set(stream.getvalue())


def test_a_traceback_shows_no_local_variable() -> None:
    """Locals may be tokens: a logged exception has its lines, and nothing of its frames' values."""
    for log_format in ("human", "json"):
        stream = io.StringIO()
        with logging_to(stream, log_format):
            canary = "-".join(("canary", "of", "a", "token"))
            try:
                int(f"{len(canary)} is no number")
            except ValueError:
                structlog.get_logger().exception("failed")
        assert "ValueError" in stream.getvalue()
        assert "canary-of" not in stream.getvalue()


def test_a_stuck_terminal_stops_nobody_and_what_it_missed_is_counted() -> None:
    """`put` never blocks; lines beyond the queue are dropped, and their number is told when it drains."""
    stream = _Stuck()
    writer = LineWriter(stream)
    writer.start()
    for number in range(QUEUED_LINES + GATHERED_LINES + 100):
        writer.put(f"{number}\n")
    dropped = writer.dropped
    # The writer has some lines in hand, as many as it found when it was woken.
    assert 100 <= dropped <= GATHERED_LINES + 100
    stream.go.set()
    while not writer._lines.empty():
        threading.Event().wait(0.001)
    writer.put("after\n")
    writer.stop()
    assert f"[{dropped} log lines were dropped here]\nafter\n" in stream.getvalue()


class _Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")


class _Masked(msgspec.Struct):
    token: str

    def __repr__(self) -> str:
        return "_Masked(token=***)"


def _within_itself() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("grün, 漢, \U0001f600", "grün, 漢, \U0001f600"),
        ("half a pair \ud800", "half a pair \ud800"),
        (["nested \ud800", {"deep": "\udfff"}], ["nested \ud800", {"deep": "\udfff"}]),
        (10**400, 10**400),
        (1.5, 1.5),
        (b"bytes", "b'bytes'"),
        (_Masked("canary"), "_Masked(token=***)"),
        ({1: "a", (2, 3): "b"}, {"1": "a"}),
        (_Unspeakable(), None),
        (_within_itself(), None),
    ],
)
def test_whatever_is_logged_gives_one_line_of_ascii(value: Any, shown: Any) -> None:
    """What no encoding can carry costs at most its own value: a line that reports a fault never becomes one."""
    stream = io.StringIO()
    with logging_to(stream, "json"):
        structlog.get_logger().error("failed", what=value, peer="192.0.2.1")
        try:
            raise ValueError("unknown name \ud800")  # noqa: TRY301  what an app may raise
        except ValueError:
            structlog.get_logger().exception("failed again")
    first, second = stream.getvalue().splitlines()
    assert stream.getvalue().isascii()
    assert "canary" not in first
    line = json.loads(first)
    assert (line["event"], line["peer"], line.get("what")) == ("failed", "192.0.2.1", shown)
    assert "unknown name" in json.loads(second)["exception"]
