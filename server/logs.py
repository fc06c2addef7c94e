"""Logging: human on a terminal, JSON lines otherwise; never blocking the loop, never saying a secret."""

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, TextIO

import msgspec
import structlog

# Lines that wait for a slow terminal or a full pipe; some 2 MB. Past it, lines are dropped and counted:
# a log that nobody reads must not stop the server.
QUEUED_LINES = 10_000

# C0 and C1 controls and the two Unicode line separators: a peer's words must not forge a line.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}

# Lines of this time are written together. A thread that woke for each would take the interpreter from the
# loop once for each: at a thousand connections a second that is a tenth of the loop's time.
GATHERING_SECONDS = 0.02
GATHERED_LINES = 1_000

# Values that mean the same to every encoder.
_PLAIN = frozenset({str, int, bool, type(None), float})

_END = None


class LineWriter:
    """Writes lines to a stream from a thread of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUED_LINES)
        self._thread = threading.Thread(target=self._write, name="tidings-log", daemon=True)
        self.dropped = 0
        """Lines that found the queue full, since the last that did not."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """Write what waits, for at most `seconds`: a stuck terminal must not keep the process."""
        try:
            self._lines.put(_END, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def put(self, line: str) -> None:
        """Queue a line. Never blocks."""
        try:
            if self.dropped:
                self._lines.put_nowait(f"[{self.dropped} log lines were dropped here]\n")
                self.dropped = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def _write(self) -> None:
        last = False
        while not last:
            lines, last = self._take()
            for line in lines:
                try:
                    self._stream.write(line)
                except (OSError, ValueError):
                    # The terminal has gone. There is nowhere left to say so.
                    continue
            with suppress(OSError, ValueError):
                self._stream.flush()
            if not last:
                time.sleep(GATHERING_SECONDS)

    def _take(self) -> tuple[list[str], bool]:
        """Wait for a line; those that are there, and whether there will be no more."""
        lines: list[str] = []
        line = self._lines.get()
        while line is not _END:
            lines.append(line)
            if len(lines) == GATHERED_LINES:
                return lines, False
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return lines, False
        return lines, True


class _Logger:
    """What structlog hands rendered lines to."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def msg(self, message: str) -> None:
        self._writer.put(message + "\n")

    debug = info = warning = error = critical = exception = fatal = log = warn = msg


@contextmanager
def logging_to(
    stream: TextIO | None = None, log_format: Literal["auto", "human", "json"] = "auto"
) -> Iterator[LineWriter]:
    """Set structlog up for the whole process, until the block ends."""
    stream = stream or sys.stderr
    human = log_format == "human" or (log_format == "auto" and stream.isatty())
    writer = LineWriter(stream)
    # Tracebacks are plain: the pretty ones print local variables, and a local may be a token.
    render: list[Any]
    if human:
        render = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    else:
        render = [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _render_json,
        ]
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, _name_logger, _escape_controls, *render],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=lambda *_names: _Logger(writer),
        cache_logger_on_first_use=False,
    )
    writer.start()
    try:
        yield writer
    finally:
        structlog.reset_defaults()
        writer.stop()


def _name_logger(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop the empty fields: `held=0` and `user=None` say nothing."""
    return {
        key: value
        for key, value in event.items()
        if value is not None and not (key == "held" and not value)
    }


def _escape_controls(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        # All that is escaped is not printable, and nearly all that is said is.
        if isinstance(value, str) and not value.isprintable():
            event[key] = value.translate(_ESCAPES)
    return event


_encode = msgspec.json.Encoder().encode


def _render_json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """One line of ASCII, whatever the stream's encoding. Never raises: what reports a fault must not be one.

    Two lines for every connection are worth a quick way, which takes what lines are nearly always made of.
    """
    if all(type(value) in _PLAIN for value in event.values()):
        try:
            line = _encode(event)
        except UnicodeEncodeError:
            pass  # half a surrogate pair, as Python's decoders can leave it
        else:
            if line.isascii():
                return line.decode()
    try:
        return json.dumps(event, default=repr, skipkeys=True)
    except Exception as error:
        # A repr that raises, or a list within itself.
        said = {key: value for key, value in event.items() if type(value) in _PLAIN}
        return json.dumps(said | {"not_shown": type(error).__name__})
