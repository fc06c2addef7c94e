"""Start a measured or measuring program: `python -m tidings.bench.launch PARENT CORE PROGRAM …`.

Binds the process to one core, lets it have all the descriptors that it may have, sees to it that the kernel
kills it with its parent (a stopped one, too), and becomes the program. So a server in any language runs under
the same conditions.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Prepare this process and replace it."""
    parent, core, *program = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != int(parent):
        raise SystemExit("the parent has gone already")
    os.sched_setaffinity(0, {int(core)})
    # As the product raises it for itself: a peer and the load need as many.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
