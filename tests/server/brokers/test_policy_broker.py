"""Which of two brokers gets what."""

from support.fakes import run_now

from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Durability, Member
from tidings.server.brokers.by_policy import PolicyBroker
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config.channels import ChannelRule
from tidings.server.policies import Policies

POLICIES = Policies({"room:kept-*": ChannelRule(durable=True), "user:guest-*": ChannelRule(durable=False)})


class OnDisk(MemoryBroker):
    """Stands for the durable one where only the way to it is looked at."""

    def durability(self, channel: str) -> Durability:  # noqa: ARG002
        """As the durable one says."""
        return "disk"


def nowhere(publication: Publication) -> None:
    """A hub that forgets."""


def test_each_channel_is_in_one_of_them() -> None:
    """Policies decide, channel by channel; what one has, the other has never heard of."""
    memory, disk = MemoryBroker(nowhere, policies=POLICIES), OnDisk(nowhere, policies=POLICIES)
    broker = PolicyBroker(memory, disk, POLICIES)
    for channel, home, other in (
        ("user:bob", disk, memory),
        ("room:kept-a", disk, memory),
        ("room:a", memory, disk),
        ("user:guest-a", memory, disk),
        ("all", memory, disk),
    ):
        assert broker.durability(channel) == home.durability(channel)
        run_now(broker.attach(channel, "phone"))
        assert run_now(broker.open(channel)).offset == 0
        receipt = run_now(
            broker.publish(channel, "news", b"{}", user_id="u", idempotency_key="k", excluded_session="s")
        )
        assert run_now(home.open(channel)) == receipt.position
        assert run_now(broker.history(channel, 0, limit=1, most_bytes=1)).publications
        assert run_now(broker.acknowledge(channel, "phone", 1)) == 1
        broker.detach(channel, "phone")
        assert [device.acknowledged for device in run_now(broker.devices(channel))] == [1]
        assert run_now(broker.clear(channel)) == receipt.position
        broker.release(channel)
        assert channel not in home._listened
        assert channel not in other._listened
        assert other._idle.find(channel) is None


def test_everything_that_is_said_is_handed_on() -> None:
    """Whom it is about, whom it is not for, the key, and when a device was last seen: to either broker."""
    now = 1000.0
    delivered: list[Publication] = []
    memory, disk = [
        kind(delivered.append, policies=POLICIES, clock=lambda: now) for kind in (MemoryBroker, OnDisk)
    ]
    broker = PolicyBroker(memory, disk, POLICIES)
    for channel in ("user:bob", "user:guest-a"):
        receipts = [
            run_now(
                broker.publish(
                    channel, "news", b"{}", user_id="u", idempotency_key="k", excluded_session="s"
                )
            )
            for _ in range(2)
        ]
        assert receipts[0] == receipts[1]
        [publication] = [each for each in delivered if each.channel == channel]
        assert (publication.user_id, publication.excluded_session) == ("u", "s")
        run_now(broker.attach(channel, "phone"))
        now += 7
        broker.detach(channel, "phone")
        [device] = run_now(broker.devices(channel))
        assert device.seen_ms == now * 1000


def test_without_a_durable_one_everything_is_in_memory() -> None:
    """And says so."""
    memory = MemoryBroker(nowhere, policies=POLICIES)
    broker = PolicyBroker(memory, None, POLICIES)
    receipt = run_now(broker.publish("user:bob", "news", b"{}"))
    assert (receipt.durability, broker.durability("user:bob")) == ("memory", "memory")
    assert (broker.forgotten_keys, broker.dropped_unacknowledged) == (0, 0)


def test_what_is_not_kept_goes_the_way_of_memory() -> None:
    """Presence, announcements and nodes, of durable channels too."""
    delivered: list[Publication] = []
    told: list[bytes] = []
    memory = MemoryBroker(delivered.append, told=lambda _, message: told.append(message))
    broker = PolicyBroker(memory, OnDisk(nowhere), POLICIES)
    assert run_now(broker.enter("room:kept-a", Member("bob", "Bob")))
    assert run_now(broker.presence("room:kept-a")) == [Member("bob", "Bob")]
    assert run_now(broker.leave("room:kept-a", "bob"))
    run_now(broker.announce("user:bob", "force_logout", b"{}", user_id="bob", excluded_session="s"))
    assert [(each.offset, each.user_id, each.excluded_session) for each in delivered] == [(0, "bob", "s")]
    run_now(broker.tell_nodes(b"x"))
    assert told == [b"x"]


def test_figures_are_of_both() -> None:
    """What either lost counts."""
    rules = Policies({"user:*": ChannelRule(history_size=1), "user:guest-*": ChannelRule(durable=False)})
    broker = PolicyBroker(MemoryBroker(nowhere, policies=rules), OnDisk(nowhere, policies=rules), rules)
    for channel in ("user:bob", "user:guest-a"):
        for _ in range(3):
            run_now(broker.publish(channel, "news", b"{}"))
    assert broker.dropped_unacknowledged == 4
    for each in (broker._memory, broker._durable):
        assert isinstance(each, MemoryBroker)
        each._keys.forgotten += 1
    assert broker.forgotten_keys == 2
