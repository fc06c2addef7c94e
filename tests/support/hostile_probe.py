"""As `sitecustomize` of a server's process: on SIGUSR2 it writes the names of the living tasks, in one line.

The server's own code is as its owner runs it; this only looks at trio's tree of tasks, between two of
Python's instructions.
"""

import os
import signal

HEAD = "tasks"
BETWEEN = "\t"


def tell(*_: object) -> None:
    """Write one line to standard output."""
    import trio

    names = [HEAD]
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        names.append(task.name)
        for nursery in list(task.child_nurseries):
            waiting += list(nursery.child_tasks)
    os.write(1, (BETWEEN.join(names) + "\n").encode())


if __name__ == "sitecustomize":
    signal.signal(signal.SIGUSR2, tell)
