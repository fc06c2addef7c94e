"""A process of its own that publishes to a durable broker: to be killed, or to run out of disk.

`python -m support.durable_child MODE DIRECTORY`; it prints one line for each thing that happens, at once.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from tidings.protocol.publications import Publication
from tidings.server.brokers.base import BrokerUnavailable, Device
from tidings.server.brokers.durable import DurableBroker, open_durable
from tidings.server.config.channels import ChannelRule
from tidings.server.policies import Policies

_EVERYTHING = ChannelRule(durable=True, history_size=1_000_000)
POLICIES = Policies({"*": _EVERYTHING, "user:*": _EVERYTHING})
CHANNELS = ("room:0", "room:1", "user:2")
PUBLISHERS = 16
BIG = b'{"text":"%s"}' % (b"x" * 8000)
FILLER = "filler"


def say(*words: object) -> None:
    """One line, in one write: a kill leaves whole lines."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def deliver(publication: Publication) -> None:
    """What reaches the hub."""
    say(
        "delivered",
        publication.channel,
        publication.epoch,
        publication.offset,
        publication.payload.decode(),
    )


async def publish(broker: DurableBroker, number: int) -> None:
    """Publish for ever."""
    channel = CHANNELS[number % len(CHANNELS)]
    count = 0
    while True:
        count += 1
        name = f"{os.getpid()}.{number}.{count}"
        payload = f'{{"n":"{name}"}}'
        receipt = await broker.publish(channel, "news", payload.encode(), idempotency_key=name)
        say("acknowledged", channel, receipt.epoch, receipt.offset, payload)


async def endless(directory: Path) -> None:
    """Sixteen publishers, until killed."""
    async with open_durable(directory, POLICIES, deliver) as broker, trio.open_nursery() as nursery:
        for number in range(PUBLISHERS):
            nursery.start_soon(publish, broker, number)


async def newcomers(broker: DurableBroker, directory: Path) -> Device:
    """Not a byte is left: who comes is let in, and what is promised to be on the disk is refused."""
    with suppress(OSError), (directory / "rest").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 256)
    for _ in range(200):  # what the log still had room for
        try:
            await broker.publish("room:1", "news", b"{}")
        except BrokerUnavailable:
            break
    assert (await broker.open("room:new")).offset == 0
    attached = await broker.attach("user:new", "phone")
    assert (attached.position.offset, attached.acknowledged) == (0, 0)
    assert await broker.attach("user:new", "phone") == attached
    broker.detach("user:new", "phone")
    for refused in (
        lambda: broker.publish("room:1", "news", b"{}"),
        lambda: broker.acknowledge("user:new", "phone", 0),
    ):
        try:
            await refused()
        except BrokerUnavailable as error:
            say("unavailable", error)
        else:
            raise AssertionError("there was no room for it")
    (directory / "rest").unlink()
    [device] = await broker.devices("user:new")
    return device


async def fill(directory: Path) -> None:
    """Publish until the disk is full, make room, and go on; check what is there at the end."""
    delivered: list[int] = []
    acknowledged: list[int] = []

    def note(publication: Publication) -> None:
        if publication.channel == "room:0":
            delivered.append(publication.offset)

    async with open_durable(directory, POLICIES, note) as broker:
        await broker.open("room:0")
        refused = 0
        for _ in range(2000):
            try:
                acknowledged.append((await broker.publish("room:0", "news", BIG)).offset)
            except BrokerUnavailable as error:
                refused += 1
                say("refused", error)
                if refused == 20:
                    break
        assert refused == 20, "it stays full"
        assert acknowledged, "there was some room"
        assert acknowledged == delivered == list(range(1, len(acknowledged) + 1))
        device = await newcomers(broker, directory)
        (directory / FILLER).unlink()
        # Together, in one group: what failed before has not spoiled the way to it.
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(broker.publish, "room:0", "news", BIG)
        acknowledged += range(acknowledged[-1] + 1, acknowledged[-1] + 21)
        history = await broker.history("room:0", 0, limit=10_000, most_bytes=1 << 30)
        kept = [publication.offset for publication in history.publications]
        assert kept == acknowledged == delivered == list(range(1, len(acknowledged) + 1))
        assert await broker.devices("user:new") == [device]
        begun = await broker.open("user:new")
    async with open_durable(directory, POLICIES, lambda _: None) as broker:
        assert await broker.open("user:new") == begun
        assert [each.name for each in await broker.devices("user:new")] == ["phone"]
        after = await broker.history("room:0", 0, limit=10_000, most_bytes=1 << 30)
        assert after == history
    say("recovered", len(acknowledged))


def child(mode: str, directory: Path) -> list[str]:
    """The command of such a process."""
    return [sys.executable, "-m", "support.durable_child", mode, str(directory)]


def environment() -> dict[str, str]:
    """It finds this package beside what is installed."""
    paths = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def publishing(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that publishes there without end, and is killed with the block."""
    with subprocess.Popen(
        child("endless", directory), stdout=subprocess.PIPE, env=environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def whole_history(directory: Path) -> dict[str, list[Publication]]:
    """Everything that a new process finds, by channel."""
    found = {}
    async with open_durable(directory, POLICIES, lambda _: None) as broker:
        for channel in CHANNELS:
            history = await broker.history(channel, 0, limit=1_000_000, most_bytes=1 << 30)
            found[channel] = list(history.publications)
    return found


def main() -> None:
    """Run as asked."""
    mode, directory = sys.argv[1], Path(sys.argv[2])
    trio.run(partial({"endless": endless, "fill": fill}[mode], directory))


if __name__ == "__main__":
    main()
