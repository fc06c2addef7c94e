"""Generated requests, right and wrong ones, get answers that `/openapi.json` describes, and never a fault."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from support.later import Later
from support.process import Running, running, serve
from support.site import SECRET

# With schemathesis behind it, which is used in another process.
generator = Later("support.generator")

KEY = "key-of-the-tests"

# Enough for what every operation has, on a busy machine; it is no measure of anything.
PATIENCE = 200

# What is right for some operations alone, with the reason.
CONFIG = Path(__file__).with_name("schemathesis.toml")

# On the other database, where only the statements are others: each of them shows what it is with the first values.
FEW = ("--max-examples", "1")

# Hashes that cost nothing, and limits that even a generator does not meet.
ACCOUNTS = (
    "server.apps=rooms,accounts",
    "accounts.hash_memory_kib=8",
    "accounts.hash_passes=1",
    "accounts.account_attempts=100000",
    "accounts.address_attempts=1000000",
)


async def _explore(
    server: Running, phases: str, *arguments: str, folder: Path, env: Mapping[str, str] = {}
) -> dict[str, set[int]]:
    """Run the generator in a process of its own: its warnings and its event loop are not ours.

    With every check there is: undocumented statuses, types and headers, bodies off their schema, wrong data that is
    taken, right data that is not, wrong credentials that are believed, missing Allow. Fails where one does; returns
    with which statuses each operation was answered.
    """
    url, har = f"http://127.0.0.1:{server.port}", folder / "exchanges"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{url}/openapi.json", "--checks", "all", "--phases", phases, "-n", "3"),
        *("--seed", "1", "--suppress-health-check", "all", "--continue-on-failure", "--no-color"),
        *("--report-har-path", str(har), *arguments),
    ]
    ours = {"GENERATOR_URL": url, "SCHEMATHESIS_HOOKS": "support.generator", "PYTHONPATH": _with_tests()}
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            command,
            cwd=folder,
            env={**os.environ, **ours, **env},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        async with httpx.AsyncClient(base_url=url, verify=False) as client:
            document = (await client.get("/openapi.json")).json()
    assert done.returncode == 0, done.stdout.decode()
    assert '"level":"error"' not in server.log
    return _statuses(document, json.loads(har.read_text()))


def _with_tests() -> str:
    given = os.environ.get("PYTHONPATH")
    tests = str(Path(__file__).parents[1])
    return tests if given is None else os.pathsep.join([tests, given])


def _statuses(document: Any, har: Any) -> dict[str, set[int]]:
    """The statuses that each operation was answered with, by its id."""
    # What a path names itself goes before what it leaves open.
    paths = sorted(document["paths"].items(), key=lambda item: item[0].count("{"))
    operations = [
        (method.upper(), re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path)), told["operationId"])
        for path, item in paths
        for method, told in item.items()
    ]
    found: dict[str, set[int]] = {}
    for entry in har["log"]["entries"]:
        path = urlsplit(entry["request"]["url"]).path
        for method, pattern, operation in operations:
            if method == entry["request"]["method"] and pattern.fullmatch(path):
                found.setdefault(operation, set()).add(entry["response"]["status"])
                break
    return found


def _never_done(statuses: Mapping[str, set[int]]) -> list[str]:
    """Operations of which nothing was seen but refusals: what the generator had to ask them with was no good."""
    return [operation for operation, each in statuses.items() if not any(200 <= s < 300 for s in each)]


@pytest.mark.slow
async def test_the_api_is_what_it_says_to_a_key(tmp_path: Path) -> None:
    """No request that can be made from the description, or against it, finds an answer that is not in it."""
    env = {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_AUTH_API_KEYS": KEY}
    async with running(*serve(), folder=tmp_path, env=env) as server:
        statuses = await _explore(server, "examples,fuzzing", folder=tmp_path, env={"GENERATOR_KEY": KEY})
    assert len(statuses) == 20
    assert _never_done(statuses) == []


@pytest.mark.slow
async def test_the_api_is_what_it_says_to_tokens(tmp_path: Path, records_url: str) -> None:
    """The same with users, on both databases: administrators ask, and users about themselves."""
    env = {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_STORE_URL": records_url}
    # What is in no table is the same on both, and so is what the description leaves open: once is enough.
    only = ("--include-tag", "accounts", *FEW) if records_url else ()
    phases = "examples,fuzzing" if records_url else "examples,coverage,fuzzing"
    async with running(*serve(*ACCOUNTS), folder=tmp_path, env=env) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(
            base_url=url, verify=False, headers=generator.administrator()
        ) as client:
            asked = {"username": generator.NAME, "password": generator.PASSWORD}
            (await client.post("/api/admin/users", json=asked)).raise_for_status()
        statuses = await _explore(server, phases, *only, folder=tmp_path)
    assert len(statuses) == (12 if records_url else 32)
    assert _never_done(statuses) == []


@pytest.mark.slow
async def test_apps_with_tables_are_what_they_say(tmp_path: Path, records_url: str) -> None:
    """The same for what other apps keep in tables, on both databases."""
    env = {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_STORE_URL": records_url}
    settings = ("server.apps=rooms,notifications,lines", "rooms.kept=true")
    only = [option for tag in ("rooms", "notifications", "lines") for option in ("--include-tag", tag)]
    # What the description leaves open is the same on both: once is enough.
    phases = "examples,fuzzing" if records_url else "examples,coverage,fuzzing"
    if records_url:
        only += FEW
    async with running(*serve(*settings), folder=tmp_path, env=env) as server:
        statuses = await _explore(server, phases, *only, folder=tmp_path)
    assert len(statuses) == 33
    assert _never_done(statuses) == []
