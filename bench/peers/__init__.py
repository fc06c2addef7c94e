"""Other servers doing the same job: each prints `{"ready": true, "port": …}` and sends what one says to all.

A peer in another language is one more entry here: it is launched, pinned and measured from outside.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass


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
