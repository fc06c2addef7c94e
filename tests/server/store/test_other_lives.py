"""Channels that went on without the database: by another policy, or with nothing kept on disk at all."""

from pathlib import Path

import pytest
from support.store import DURABLE, Open, append, do, store_at

from tidings.protocol.messages.registry import Registry
from tidings.protocol.positions import Position
from tidings.server.config import Config, Server
from tidings.server.config.channels import ChannelRule, History
from tidings.server.messaging import messaging
from tidings.server.policies import Policies
from tidings.server.revocations import Revocations
from tidings.server.store.database import NAME, retire
from tidings.server.store.errors import StoreRefused
from tidings.server.store.store import Store


def started(directory: Path, policies: Policies) -> Position:
    """Where room:a stands for a server with these policies, which ends at once."""
    store = Store(directory, policies)
    store.open()
    [position] = do(store, Open("room:a"))
    store.close()
    assert isinstance(position, Position)
    return position


def test_a_channel_that_was_not_durable_meanwhile_begins_a_new_epoch(tmp_path: Path) -> None:
    """What was published to it then had other positions of its own; the others go on."""
    store = store_at(tmp_path)
    before, other = append(store, "room:a").position, append(store, "room:b").position
    store.close()
    assert started(tmp_path, DURABLE) == before
    memory = Policies({"*": ChannelRule(durable=True), "room:a": ChannelRule(durable=False)})
    started(tmp_path, memory)
    after = started(tmp_path, DURABLE)
    assert (after.offset, after.epoch != before.epoch) == (1, True)
    started(tmp_path, memory)
    again = started(tmp_path, DURABLE)
    assert len({before.epoch, after.epoch, again.epoch}) == 3
    store = store_at(tmp_path)
    assert do(store, Open("room:b")) == [other]
    store.close()


def test_a_database_that_a_server_ran_without_begins_new_epochs(tmp_path: Path) -> None:
    """Marked as often as that was; what is in it is kept, and it goes on as usual behind that."""
    store = store_at(tmp_path)
    before = append(store, "room:a").position
    store.close()
    assert retire(tmp_path)
    assert retire(tmp_path)
    after = started(tmp_path, DURABLE)
    assert (after.offset, after.epoch != before.epoch) == (1, True)
    assert started(tmp_path, DURABLE) == after


def test_where_there_is_none_nothing_is_made(tmp_path: Path) -> None:
    """Not even the directory."""
    assert not retire(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_database_in_use_is_refused(tmp_path: Path) -> None:
    """Its server goes on publishing to it."""
    store = store_at(tmp_path)
    with pytest.raises(StoreRefused, match="in use by process"):
        retire(tmp_path)
    store.close()


@pytest.mark.parametrize("content", [b"Dear diary, " * 100, b"SQLite format 3\0" + b"\xff" * 5000, b""])
def test_what_cannot_be_gone_on_with_anyway_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """A server that keeps nothing on disk starts beside it, and does not touch it."""
    (tmp_path / NAME).write_bytes(content)
    assert retire(tmp_path)
    assert (tmp_path / NAME).read_bytes() == content


async def test_a_server_that_keeps_nothing_on_disk_marks_what_is_there(tmp_path: Path) -> None:
    """As the configuration says it: history.log is none, and the directory is the one of before."""
    store = store_at(tmp_path)
    before = append(store, "room:a").position
    store.close()
    config = Config(server=Server(data_dir=str(tmp_path)), history=History(log="none"))
    await messaging(config, Registry(), Revocations()).prepare()
    assert started(tmp_path, DURABLE).epoch != before.epoch
