"""Other servers doing the same job: each prints `{"ready": true, "port": …}` and sends what one says to all.

A peer in another language is one more entry here: it is launched, pinned and measured from outside.
"""

import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

REQUIREMENTS = HERE / "requirements.txt"


@dataclass(frozen=True)
class Peer:
    """How to start one."""

    title: str
    program: Sequence[str]


PEERS = {
    "trio-websocket": Peer(
        "trio-websocket, send_message per connection",
        (sys.executable, "-m", "tidings.bench.peers.trio_websocket"),
    ),
    "send-loop": Peer(
        "the floor: a bare loop of send()",
        (sys.executable, "-m", "tidings.bench.peers.send_loop"),
    ),
}


def fastapi(environment: Path) -> Peer | None:
    """FastAPI under uvicorn, with the Python of an environment that `install` made; None without one."""
    # Not resolved: the link inside the environment is what tells Python that it is in one.
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        return None
    return Peer("FastAPI, uvicorn[standard]", (str(python), str(HERE / "fastapi_app.py")))


def install(environment: Path) -> None:
    """Make an environment for the peers that need one. Raises CalledProcessError, OSError."""
    venv.create(environment, with_pip=True)
    subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True
    )


def listing(environment: Path) -> str:
    """The peers, a line each."""
    return str(environment)
