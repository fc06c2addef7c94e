"""Child processes answer, and never stay behind."""

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from tidings.bench.processes import ChildFailed, running
from tidings.bench.replies import Done

CORE = min(os.sched_getaffinity(0))

PARROT = """
import sys
print('{"ready": true, "port": 7}', flush=True)
for line in sys.stdin:
    if "fail" in line:
        print('{"error": "as asked"}', flush=True)
    elif "die" in line:
        sys.exit("the last words")
    else:
        print('{"done": true}', flush=True)
"""


def parrot() -> list[str]:
    return [sys.executable, "-c", PARROT]


async def test_a_child_answers_refuses_and_dies_with_its_last_words(tmp_path: Path) -> None:
    """Each in its own way, so that a benchmark says why it failed."""
    with trio.fail_after(30):
        async with running("parrot", parrot(), core=CORE, directory=tmp_path) as child:
            assert child.ready.port == 7
            assert (await child.ask(Done, "something")).done
            with pytest.raises(ChildFailed, match="as asked"):
                await child.ask(Done, "fail")
            with pytest.raises(ChildFailed, match="the last words"):
                await child.ask(Done, "die")
            assert await child.wait(10) == 1


async def test_a_child_runs_on_its_core(tmp_path: Path) -> None:
    """Nothing else is a measurement of one core."""
    with trio.fail_after(30):
        async with running("parrot", parrot(), core=CORE, directory=tmp_path) as child:
            assert os.sched_getaffinity(child.pid) == {CORE}


async def test_a_stopped_child_is_gone_when_the_block_is_left_by_an_exception(tmp_path: Path) -> None:
    """A benchmark that was interrupted leaves nothing behind, not even what it had stopped."""
    pids = []

    async def interrupted() -> None:
        async with running("parrot", parrot(), core=CORE, directory=tmp_path) as child:
            pids.append(child.pid)
            child.signal(signal.SIGSTOP)
            raise RuntimeError

    with trio.fail_after(30), pytest.raises(RuntimeError):
        await interrupted()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
