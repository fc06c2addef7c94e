"""Commands of `tidings` in the test's own process, where a process of its own would show nothing more."""

import io
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
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
        work = partial(self._run, arguments, env, stdin, stdout)
        with trio.fail_after(PATIENCE):
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True)

    def _run(
        self, arguments: tuple[str, ...], env: Mapping[str, str], stdin: bytes, stdout: Path | None
    ) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code: object = 0
        with ExitStack() as files, self._monkeypatch.context() as patch:
            for name in os.environ.keys() - env.keys():
                patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            if stdout is not None:
                patch.setattr(sys, "stdout", files.enter_context(stdout.open("w")))
            try:
                app(list(arguments))
            except SystemExit as ended:
                code = ended.code
        out, err = self._capsys.readouterr()
        return code if isinstance(code, int) else int(code is not None), out, err
