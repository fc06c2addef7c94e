"""Generated requests, right and wrong ones, get answers that `/openapi.json` describes, and never a fault."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support.process import running, serve
from support.site import SECRET
from support.tokens import forged

KEY = "key-of-the-tests"

# Enough for what every operation has, on a busy machine; it is no measure of anything.
PATIENCE = 120


async def _explore(*arguments: str, port: int, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the generator in a process of its own: its warnings and its event loop are not ours."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json"),
        *("--seed", "1", "--suppress-health-check", "all", "--continue-on-failure", "--no-color"),
        *arguments,
    ]
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            command, cwd=folder, capture_stdout=True, stderr=subprocess.STDOUT, check=False
        )


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        # Every check there is: undocumented statuses, types and headers, bodies off their schema, wrong data
        # that is taken, right data that is not, wrong credentials that are believed, missing Allow.
        (
            ("--checks", "all", "--phases", "examples,coverage,fuzzing", "-n", "4"),
            f"Authorization: Bearer {forged(sub='root', roles=['admin'])}",
        ),
        # A key stands beside whatever Authorization the generator makes up, as behind a proxy with a login
        # of its own: that is believed, on purpose.
        (
            (
                "--checks",
                "all",
                "--exclude-checks",
                "ignored_auth",
                "--phases",
                "examples,fuzzing",
                "-n",
                "4",
            ),
            f"X-API-Key: {KEY}",
        ),
    ],
    ids=["token", "key"],
)
async def test_the_api_is_what_it_says(tmp_path: Path, arguments: tuple[str, ...], header: str) -> None:
    """No request that can be made from the description, or against it, finds an answer that is not in it."""
    env = {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_AUTH_API_KEYS": KEY}
    async with running(*serve(), folder=tmp_path, env=env) as server:
        done = await _explore(*arguments, "-H", header, port=server.port, folder=tmp_path)
        said = done.stdout.decode()
        assert done.returncode == 0, said
        assert "Tested: 17" in said, said
        assert '"level": "error"' not in server.log
