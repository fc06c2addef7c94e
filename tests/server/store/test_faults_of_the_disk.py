"""Killed processes and full disks: what was acknowledged is there, and what is not was refused."""

import shutil
from collections import defaultdict
from pathlib import Path

import pytest
import trio
from support import durable_child
from support.durable_child import child, environment, publishing, whole_history
from support.store import append, appending, do, store_at

from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.brokers.durable import open_durable
from tidings.server.store.store import Store


async def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed twice while it publishes: each time all that was said is there, in one epoch, without a hole."""
    epochs: dict[str, str] = {}
    for lines_before in (300, 500):
        with publishing(tmp_path) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(lines_before)]
            process.kill()
            lines += process.stdout.readlines()
        said = defaultdict(set)
        for line in lines:
            kind, *rest = line.decode().split()
            said[kind].add(tuple(rest))
        assert len(said["acknowledged"]) > 50
        assert said["acknowledged"] <= said["delivered"], "the hub has it first"
        with trio.fail_after(30):
            history = await whole_history(tmp_path)
        kept = {
            (channel, each.epoch, str(each.offset), each.payload.decode())
            for channel, publications in history.items()
            for each in publications
        }
        assert said["delivered"] <= kept, "durable before anybody gets it"
        for channel, publications in history.items():
            assert [each.offset for each in publications] == list(range(1, len(publications) + 1))
            assert {each.epoch for each in publications} == {
                epochs.setdefault(channel, publications[0].epoch)
            }


async def test_a_full_disk_is_an_error_until_there_is_room(tmp_path: Path) -> None:
    """On a real file system of 3 MiB: every publication is there, delivered and acknowledged, or else refused.

    Meanwhile newcomers are let in.
    """
    namespaces = ["unshare", "--user", "--map-root-user", "--mount"]
    may = shutil.which("unshare") and await trio.run_process([*namespaces, "true"], check=False)
    if not may or may.returncode:
        pytest.skip("mounting a small file system needs unshare and its permission")
    script = 'mount -t tmpfs -o size=3m tmpfs "$0" && head -c 2m /dev/zero > "$0/filler" && exec "$@"'
    command = [*namespaces, "sh", "-c", script, str(tmp_path)]
    with trio.fail_after(60):
        done = await trio.run_process(
            [*command, *child("fill", tmp_path)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(),
        )
    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    assert "refused cannot store: database or disk is full" in output
    assert output.count("unavailable cannot store: database or disk is full") == 2
    assert "recovered" in output


async def test_a_full_database_fails_its_group_only(tmp_path: Path) -> None:
    """Those who publish then are refused, nothing of it is delivered, and offsets go on without a hole."""
    delivered: list[int] = []
    store = Store(tmp_path, durable_child.POLICIES)
    store.open()
    with trio.fail_after(30):
        async with open_durable(
            tmp_path, durable_child.POLICIES, lambda each: delivered.append(each.offset), store=store
        ) as broker:
            before = await broker.publish("room:0", "news", b"{}")
            assert store._connection is not None
            store._connection.execute("PRAGMA max_page_count = 1")  # as many as there are
            outcomes: list[object] = []

            async def publish() -> None:
                try:
                    outcomes.append(await broker.publish("room:0", "news", durable_child.BIG))
                except BrokerUnavailable as error:
                    outcomes.append(str(error))

            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(publish)
            assert outcomes == ["cannot store: database or disk is full"] * 10
            assert delivered == [1]
            store._connection.execute("PRAGMA max_page_count = 1000000")
            after = await broker.publish("room:0", "news", durable_child.BIG)
            assert (after.epoch, after.offset) == (before.epoch, 2)
            assert delivered == [1, 2]


def test_a_commit_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """What the writer knew of the group's channels is read again: no offset is skipped, none given twice."""
    store = store_at(tmp_path)
    append(store, "room:a", key="k")
    assert store._connection is not None
    store._connection.execute("PRAGMA max_page_count = 1")
    for _ in range(3):
        with pytest.raises(Exception, match="full"):
            do(store, appending("room:a", b"x" * 100_000, key="new"), appending("room:b"))
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert append(store, "room:a", key="new").position.offset == 2
    assert append(store, "room:b").position.offset == 1
    store.close()
