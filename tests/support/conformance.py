"""Autobahn's cases: how many there are, how kosoku runs them, and what to make of what it says."""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

_FUZZ = Path(__file__).parents[1] / "conformance" / "fuzz.py"

SECTIONS: Final = {
    "1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1, "12": 90, "13": 126,
}  # fmt: skip
"""How many cases each section has; there is no 8, and 11 was never written."""

PROTOCOL: Final = ("1", "2", "3", "4", "5", "6", "7", "10")
"""The sections about RFC 6455 itself. 9 is limits and speed, 12 and 13 are `permessage-deflate`."""

TITLES: Final = {
    "1": "framing", "2": "pings and pongs", "3": "reserved bits", "4": "opcodes", "5": "fragmentation",
    "6": "UTF-8", "7": "closing", "9": "limits and speed", "10": "auto-fragmentation",
    "12": "compression of kinds of data", "13": "compression by parameters",
}  # fmt: skip

AT_ONCE: Final = {"9": 2, "12": 2, "13": 2}
"""Cases at once where they take the processors; the others mostly wait: for a second, in section 6.4."""
_AT_ONCE_ELSE = 8

#: Autobahn's words for what is allowed. NON-STRICT is late, yet right; INFORMATIONAL has no right answer.
ALLOWED: Final = ("OK", "NON-STRICT", "INFORMATIONAL")
UNIMPLEMENTED: Final = "UNIMPLEMENTED"
FAILED: Final = "FAILED"
KINDS: Final = (*ALLOWED, UNIMPLEMENTED, FAILED)

# From here on a message of Autobahn's JSON file is long enough to shrink under every set of parameters.
_SHRINKS_FROM = 4


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What kosoku says of one case."""

    case: str
    behavior: str
    """Of the messages; one of Autobahn's words."""
    close: str
    """Of the closing handshake, likewise."""
    said: str
    said_of_close: str
    code: int | None
    """With which the server closed."""
    seconds: float
    compressed_to: float | None
    """What the server sent, as a share of what it meant; sections 12 and 13 only."""

    @property
    def section(self) -> str:
        """The number before the first dot."""
        return self.case.partition(".")[0]

    @property
    def kind(self) -> str:
        """One of KINDS: a word that is not known, or a closing handshake that is not allowed, is a failure."""
        if self.behavior == UNIMPLEMENTED:
            return UNIMPLEMENTED
        if self.behavior not in ALLOWED or self.close not in ALLOWED or self._never_compressed:
            return FAILED
        return self.behavior

    @property
    def _never_compressed(self) -> bool:
        # Autobahn is content with a server that negotiates compression and then never compresses.
        data, _, size = self.case.rpartition(".")
        shrinks = (data == "12.1" or data.startswith("13.")) and int(size) >= _SHRINKS_FROM
        return shrinks and not (self.compressed_to is not None and self.compressed_to < 1)

    def __str__(self) -> str:
        """One line: the case and all that is known of it."""
        ratio = "" if self.compressed_to is None else f", its messages came at {self.compressed_to:.0%}"
        return (
            f"case {self.case}: {self.behavior} ({self.said}); close {self.close} ({self.said_of_close}), "
            f"code {self.code}{ratio}"
        )


class CannotRun(Exception):
    """The process that runs the cases broke down; its last words."""


async def run_cases(
    address: str,
    cases: Sequence[str],
    *,
    at_once: int = _AT_ONCE_ELSE,
    told: Callable[[Verdict], None] = lambda _verdict: None,
) -> list[Verdict]:
    """Run cases (ids, or globs such as `9.*`) against a server; `told` hears of each as it ends.

    Raises CannotRun. Cancelling ends the process.
    """
    verdicts: list[Verdict] = []
    with tempfile.TemporaryFile() as errors:
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    [sys.executable, str(_FUZZ), address, str(at_once), *cases],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    check=False,
                    env=_environment(),
                )
            )
            assert process.stdout is not None
            buffer = b""
            async for data in process.stdout:
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    verdict = msgspec.json.decode(line, type=Verdict)
                    verdicts.append(verdict)
                    told(verdict)
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip()
    if process.returncode:
        raise CannotRun(words or f"exit code {process.returncode}")
    return verdicts


def _environment() -> dict[str, str]:
    # Warnings that are errors in our tests are not ours to mend in code of Python 2's day.
    return {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}


async def run_sections(
    address: str, sections: Iterable[str], *, told: Callable[[Verdict], None] = lambda _verdict: None
) -> list[Verdict]:
    """As `run_cases`, whole sections: all that mostly wait together, each of the others by itself."""
    chosen = tuple(sections)
    light = [f"{section}.*" for section in chosen if section not in AT_ONCE]
    verdicts = await run_cases(address, light, told=told) if light else []
    for section in chosen:
        if section in AT_ONCE:
            cases = [f"{section}.*"]
            verdicts += await run_cases(address, cases, at_once=AT_ONCE[section], told=told)
    return verdicts


def objections(verdicts: Sequence[Verdict], expected: Mapping[str, int]) -> list[str]:
    """What is wrong, in words: cases that are not allowed, and sections of which too few or too many ran."""
    found = [str(verdict) for verdict in verdicts if verdict.kind not in ALLOWED]
    ran = Counter(verdict.section for verdict in verdicts)
    found += [
        f"section {section}: {ran[section]} cases ran of {expected.get(section, 0)}"
        for section in sorted({*ran, *expected}, key=int)
        if ran[section] != expected.get(section, 0)
    ]
    twice = [case for case, times in Counter(verdict.case for verdict in verdicts).items() if times > 1]
    return found + [f"case {case} ran more than once" for case in twice]


def faults(log: str) -> list[str]:
    """Lines of a server's log that tell of a fault of its own: whatever a peer sends, there is none."""
    entries = [line for line in log.splitlines() if line]
    return [line for line in entries if not line.startswith("{") or _level(line) not in ("info", "debug")]


def _level(line: str) -> str:
    entry: dict[str, object] = msgspec.json.decode(line)
    return str(entry.get("level"))
