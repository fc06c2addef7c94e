"""Where the receiving half of loopback TCP is worked off."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidings.bench.processes import ChildFailed

_STEERING = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")


@contextmanager
def receiving_on(core: int | None) -> Iterator[None]:
    """Have the kernel do the receivers' half of TCP on a core (receive packet steering); None changes nothing.

    On loopback the sender's own `send` otherwise carries every segment up into the receiver's socket,
    which with remote clients is their machines' work. Needs root; what was set before is set again.

    Raises ChildFailed where that cannot be set.
    """
    if core is None:
        yield
        return
    try:
        before = _STEERING.read_text()
        _STEERING.write_text(f"{1 << core:x}")
    except OSError as error:
        raise ChildFailed(f"--steer needs root, and a kernel that can steer: {error}") from error
    try:
        yield
    finally:
        _STEERING.write_text(before)
