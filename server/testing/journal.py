"""What a server under test logs: to the standard library's logging, and its faults to the test."""

import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
import structlog.testing

# Faults kept for the message; a server that fails this often has made its point.
KEPT_FAULTS = 100

_lock = threading.Lock()
_readers = 0


class ServerFaults(AssertionError):
    """The server has logged errors: it answered `internal`, or swallowed a fault, where no client could see it."""


class Journal:
    """The faults of one server. Lines of several servers of one process cannot be told apart."""

    def __init__(self) -> None:
        self.faults: list[dict[str, Any]] = []
        """Its lines of level error and above. Clear it in a test that provokes them."""

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Take note, as a structlog processor."""
        if method in {"error", "critical", "exception"} and len(self.faults) < KEPT_FAULTS:
            fault = dict(event)
            if fault.get("exc_info") is True:
                fault["exc_info"] = sys.exception()
            self.faults.append(fault)
        return event

    def check(self) -> None:
        """Raise ServerFaults if there were any."""
        if not self.faults:
            return
        lines = [
            f"  {fault['event']}: "
            + ", ".join(f"{key}={value!r}" for key, value in fault.items() if key != "event")
            for fault in self.faults
        ]
        causes = [
            fault["exc_info"] for fault in self.faults if isinstance(fault.get("exc_info"), BaseException)
        ]
        raise ServerFaults("the server has logged\n" + "\n".join(lines)) from (
            causes[0] if causes else None
        )


@contextmanager
def journal() -> Iterator[Journal]:
    """Note faults within the block, and send log lines to `logging` unless structlog sends them elsewhere already.

    There pytest shows them with the test that failed. structlog's own default prints to the standard
    output of the moment in which it was imported, which a test may have captured and closed since.
    """
    kept = Journal()
    processors = _begin()
    processors.insert(0, kept)
    try:
        yield kept
    finally:
        # Only our own one: servers may end in another order than they began.
        if kept in processors:
            processors.remove(kept)
        _end()


_ours: list[Any] = []
_before: dict[str, Any] | None = None
"""The configuration that we have put aside; None where there was none, or we left it alone."""


def _begin() -> list[Any]:
    global _readers, _before  # noqa: PLW0603  structlog's configuration is as global
    with _lock:
        _readers += 1
        if _prints():
            _before = structlog.get_config() if structlog.is_configured() else None
            _ours[:] = [
                structlog.stdlib.add_log_level,
                structlog.processors.format_exc_info,
                structlog.dev.ConsoleRenderer(
                    colors=False, exception_formatter=structlog.dev.plain_traceback
                ),
            ]
            structlog.configure(
                processors=_ours,
                wrapper_class=structlog.make_filtering_bound_logger("info"),
                logger_factory=structlog.stdlib.LoggerFactory(),
                cache_logger_on_first_use=False,
            )
        current: list[Any] = structlog.get_config()["processors"]
        return current


def _prints() -> bool:
    """Whether lines would go to a standard output, and nobody captures them."""
    config = structlog.get_config()
    return isinstance(config["logger_factory"], structlog.PrintLoggerFactory) and not any(
        isinstance(processor, structlog.testing.LogCapture) for processor in config["processors"]
    )


def _end() -> None:
    global _readers  # noqa: PLW0603
    with _lock:
        _readers -= 1
        if _readers or structlog.get_config()["processors"] is not _ours:
            return
        # `is_configured` stays what it was: who asks for it decides by it whether to configure.
        structlog.reset_defaults()
        if _before is not None:
            structlog.configure(**_before)
