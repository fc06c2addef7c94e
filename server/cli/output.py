"""What the commands that talk to a server print."""

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidings.client import (
    Connected,
    Event,
    Gap,
    NotAcknowledged,
    Publication,
    Reconnecting,
    Resubscribed,
    SendFailed,
    ServerStats,
    TokenExpiring,
)
from tidings.protocol.close_codes import CloseCode
from tidings.server.cli.common import say


class StatusLines:
    """Tells on standard error what becomes of the connection."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._connected = False
        self.user_id = ""
        """Whom the server takes us for; empty before it has said so."""
        self._lost_at: float | None = None

    def say(self, line: str) -> None:
        """One line, at once."""
        say(visible(line))

    def event(self, event: Event) -> None:
        """An event of the client's."""
        match event:
            case Connected() if self._lost_at is not None and self._connected:
                self.say(f"back after {self._clock() - self._lost_at:.1f} s")
                self._lost_at = None
            case Connected():
                self._connected, self._lost_at = True, None
                self.user_id = event.user_id
                self.say(f"connected to {self._url} as {event.user_id}")
            case Reconnecting():
                if self._lost_at is None:
                    self._lost_at = self._clock()
                    what = "lost the server" if self._connected else f"cannot reach {self._url}"
                else:
                    what = "still away"
                self.say(f"{what}: {event.why} ({event.code}); trying again in {event.delay:.1f} s")
            case Resubscribed():
                for found in event.recovered:
                    told = _missed(found.from_offset, found.to_offset)
                    self.say(f"{found.channel}: recovered {told}")
            case NotAcknowledged():
                self.say(f"not acknowledged, it comes again: {event.error}")
            case TokenExpiring() | SendFailed():
                pass
            case _:
                self.say(f"the server says {event.type}")

    def gap(self, gap: Gap) -> None:
        """Publications were missed."""
        if gap.to_offset is None:
            self.say(f"{gap.channel}: began anew; what was published meanwhile was missed")
        else:
            self.say(f"{gap.channel}: missed {_missed(gap.from_offset, gap.to_offset)}")


def _missed(first: int, last: int) -> str:
    count = last - first + 1
    return f"{count} publication{'' if count == 1 else 's'} ({first} to {last})"


class Lines(Console):
    """A console whose broken pipe is the caller's to handle: rich itself would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Raises BrokenPipeError."""
        raise BrokenPipeError


class LinePrinter:
    """Prints publications, one a line, at once; in colour on a terminal.

    A reader that does not read holds up a thread and not the connection: meanwhile the subscription's
    queue fills, and its overflow is told.
    """

    def __init__(self, *, as_json: bool, status: StatusLines) -> None:
        self.status = status
        self._as_json = as_json
        self._console = Lines(soft_wrap=True, highlight=False)
        self._lock = trio.Lock()

    async def print(self, item: Publication | Gap) -> None:
        """Print an item. Raises BrokenPipeError when nobody reads any more. Cancelled, it may be printed or not."""
        if isinstance(item, Gap):
            self.status.gap(item)
            if not self._as_json:
                return
        if self._as_json:
            line = json_line(item) + "\n"
        else:
            assert isinstance(item, Publication)
            with self._console.capture() as printed:
                self._console.print(human_line(item))
            line = printed.get()
        data = line.encode(sys.stdout.encoding, sys.stdout.errors or "strict")
        async with self._lock:
            await trio.to_thread.run_sync(_write, data, abandon_on_cancel=True)


def _write(data: bytes) -> None:
    # Past sys.stdout, whose lock Python wants at its end: it aborts where a thread that nobody waits for has it.
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def json_line(item: Publication | Gap) -> str:
    """A publication, or a gap, as one JSON object."""
    if isinstance(item, Gap):
        gap = {name: getattr(item, name) for name in ("channel", "from_offset", "to_offset", "epoch")}
        return msgspec.json.encode({"gap": gap}).decode()
    fields = {
        "channel": item.channel,
        "event": item.event,
        "payload": msgspec.Raw(item.raw),
        "offset": item.offset,
        "epoch": item.epoch,
        "timestamp": item.timestamp,
        "user_id": item.user_id,
    }
    return msgspec.json.encode(fields).decode()


def human_line(item: Publication) -> Text:
    """Local time, channel, event and payload."""
    at = item.timestamp or datetime.now(UTC)
    return Text.assemble(
        (f"{at.astimezone():%H:%M:%S}.{at.microsecond // 1000:03d}", "dim"),
        "  ",
        (visible(item.channel), "cyan"),
        "  ",
        (visible(item.event), "bold"),
        "  ",
        visible(item.raw.decode()),
    )


def visible(text: str) -> str:
    """Text that cannot command a terminal: whatever is not printable is escaped."""
    return (
        text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    )


# Figures that only ever grow, so that their rate means something.
_COUNTERS = ("publications", "deliveries", "encodings", "bytes_sent")


def stats_table(now: ServerStats, before: ServerStats | None = None, seconds: float = 0.0) -> Table:
    """The figures, and the counters' rates since `before`, which lies `seconds` back."""
    rates = before is not None and seconds > 0 and now.uptime_seconds >= before.uptime_seconds
    table = Table(box=None, show_header=bool(rates), pad_edge=False)
    table.add_column("")
    table.add_column("total", justify="right")
    if rates:
        table.add_column("per second", justify="right")
    figures = msgspec.structs.asdict(now)
    closes = figures.pop("closes")
    version, uptime = figures.pop("version"), figures.pop("uptime_seconds")
    table.add_row("version", version or "-")
    table.add_row("uptime", _duration(uptime))
    for name, value in figures.items():
        row = [name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)]
        if rates and name in _COUNTERS:
            row.append(f"{(value - getattr(before, name)) / seconds:,.1f}")
        table.add_row(*row)
    for code, count in sorted(closes.items()):
        table.add_row(f"closed {code} {_name_of(code)}".rstrip(), f"{count:,}")
    return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return " ".join([*parts, f"{rest} s"])


def _name_of(code: str) -> str:
    try:
        return CloseCode(int(code)).name.lower().replace("_", " ")
    except ValueError:
        return ""
