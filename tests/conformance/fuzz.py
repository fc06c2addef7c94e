"""A process that runs Autobahn's cases against a server: one JSON line for each, as it ends.

A process of its own, since kosoku's cases are of Python 2's day: importing them puts stand-ins of old
packages on the path and patches the standard library. `support.conformance` starts it and reads it.

    python fuzz.py ADDRESS AT_ONCE CASE…
"""
# ruff: noqa: T201  standard output is how it tells

import asyncio
import json
import os
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import kosoku
from kosoku.cases import CASES


def _mend(case: Any) -> None:
    """Let a case of sections 12 and 13 take messages that were not compressed, which a server may mix in.

    RFC 7692 section 6 lets it, and for what does not shrink it should. kosoku gives a case the bytes of a
    message that was compressed, but text of any other, as Python 2 had it; these cases hash it.
    """
    hear: Callable[[Any, bytes, bool], None] = case.onMessage

    def on_message(self: Any, message: str | bytes, binary: bool) -> None:
        if isinstance(message, str):
            message = message.encode("latin-1" if binary else "utf-8")
        hear(self, message, binary)

    case.onMessage = on_message


async def main(address: str, at_once: int, patterns: list[str]) -> None:
    """Run the cases that match, and say what became of each."""
    chosen = [case for case in CASES if any(fnmatchcase(case, pattern) for pattern in patterns)]
    for case in chosen:
        if case.startswith(("12.", "13.")):
            _mend(CASES[case])
    room = asyncio.Semaphore(at_once)

    # One run for each case: kosoku tells what it found only at the end of a run.
    async def one(case: str) -> None:
        async with room:
            try:
                results = await kosoku.run_fuzzingclient(address, [case])
            except kosoku.FailureError as failure:
                results = failure.results
        for result in results:
            traffic = result.traffic_stats
            verdict = {
                "case": result.case_id,
                "behavior": result.behavior.value,
                "close": result.behavior_close.value,
                "said": result.result,
                "said_of_close": result.result_close,
                "code": result.remote_close_code,
                "seconds": result.duration / 1000,
                "compressed_to": traffic and traffic.__json__()["incomingCompressionRatio"],
            }
            print(json.dumps(verdict), flush=True)

    async with asyncio.TaskGroup() as group:
        for case in chosen:
            group.create_task(one(case))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
    # kosoku's threads may touch the interpreter while it is taken down, which then aborts: one run in ten.
    os._exit(0)
