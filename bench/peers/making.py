"""What the makers of peers have in common: a stamp for what is whole, and programs that are run to their end."""

import hashlib
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from tidings.bench.peers.peer import Peer

# Nothing that is downloaded or compiled here takes longer on a machine that works.
MAKE_SECONDS = 600

Say = Callable[[str], None]


class CannotMake(Exception):
    """Why a peer is not to be had, and the cure."""


class Stamp(msgspec.Struct, frozen=True):
    """Written when all is made: what is half made has none."""

    made_from: str
    """A digest of what it was made from."""
    version: str


class Maker(Protocol):
    """Makes a peer, and knows whether it is there."""

    def peer(self, directory: Path) -> Peer:
        """How to start it, once it is there."""

    def stamp(self, directory: Path) -> Stamp | None:
        """What is there and up to date; None otherwise."""

    def lacking(self) -> str:
        """What must be there before it can be made or run, and the cure; empty when all is."""

    def make(self, directory: Path, say: Say) -> None:
        """Make it, in place of what there is. Raises CannotMake, OSError. Idempotent."""


def run(
    command: Sequence[str | Path], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end; returns what it printed. Raises CannotMake with its last words."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=MAKE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotMake(f"{command[0]}: not done in {MAKE_SECONDS} s") from None
    except OSError as error:
        raise CannotMake(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise CannotMake(f"{command[0]}: exit status {done.returncode}: {' / '.join(said[-3:])}")
    return done.stdout


def missing_programs(*names: str, packages: str) -> str:
    """Which programs are missing, and the cure."""
    missing = [name for name in names if shutil.which(name) is None]
    if not missing:
        return ""
    return f"needs {' and '.join(missing)}, in Debian: apt-get install {packages}"


@dataclass(frozen=True)
class Stamped(ABC):
    """What the peers that are made have in common: a home, and a stamp in it once they are whole."""

    name: str
    title: str

    def home(self, directory: Path) -> Path:
        """Where it is made."""
        return directory.absolute() / self.name

    @abstractmethod
    def sources(self) -> Sequence[bytes]:
        """All that, changed, makes another peer."""

    @abstractmethod
    def peer(self, directory: Path) -> Peer:
        """How to start it."""

    def stamp(self, directory: Path) -> Stamp | None:
        """The stamp, if it is of these sources, and the program has not gone since."""
        try:
            stamp = msgspec.json.decode(self._stamp(directory).read_bytes(), type=Stamp)
        except (OSError, msgspec.DecodeError):
            return None
        can_run = shutil.which(self.peer(directory).program[0]) is not None
        return stamp if can_run and stamp.made_from == self._digest() else None

    def _stamp(self, directory: Path) -> Path:
        return self.home(directory) / f".made-{self.name}.json"

    def _digest(self) -> str:
        return hashlib.sha256(b"\0".join(self.sources())).hexdigest()

    def _begin(self, directory: Path) -> Path:
        """An empty home."""
        home = self.home(directory)
        if home.exists():
            shutil.rmtree(home)
        home.mkdir(parents=True)
        return home

    def _finish(self, directory: Path, version_: str) -> None:
        path = self._stamp(directory)
        whole = path.with_suffix(".new")
        whole.write_bytes(msgspec.json.encode(Stamp(self._digest(), version_)))
        whole.replace(path)
