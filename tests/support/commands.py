"""Commands of `tidings` in the test's own process, where a process of its own would show nothing more."""

import io
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from support.process import PATIENCE
from tidings.server.cli import app


class Commands:
    """Runs commands that end by themselves, one at a time, in a thread: the test may serve them meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    async def __call__(
        self, *arguments: str, env: Mapping[str, str], stdin: bytes = b"", stdout: Path | None = None
    ) -> tuple[int, str, str]:
        """Exit code, standard output and standard error. Of the environment nothing is there but `env`.

        `stdout` is a file that is written in its place. It raises what closing that raises: as at the end of a
        process, nothing may be left that cannot be written.
        """
        self._capsys.readouterr()
        # Here and not in the thread: one that does not end would leave all of it to the tests behind this one.
        with ExitStack() as files, self._monkeypatch.context() as patch:
            for name in os.environ.keys() - env.keys():
                patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            if stdout is not None:
                patch.setattr(sys, "stdout", files.enter_context(stdout.open("w")))
            with trio.fail_after(PATIENCE):
                code = await trio.to_thread.run_sync(_exit_code, arguments, abandon_on_cancel=True)
        out, err = self._capsys.readouterr()
        return code, out, err


def _exit_code(arguments: tuple[str, ...]) -> int:
    try:
        app(list(arguments))
    except SystemExit as ended:
        code: object = ended.code
        return code if isinstance(code, int) else int(code is not None)
    return 0
