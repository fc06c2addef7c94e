"""Who is online on this node, since when not, on which devices; people and services."""

from typing import Any, Literal

import msgspec
import pytest
import trio
from support.fakes import JSON, Listener
from trio.testing import MockClock

from tidings.protocol.channels import user_channel
from tidings.protocol.positions import Position
from tidings.server.auth import service_identity
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config.channels import ChannelRule
from tidings.server.delivery import presence as presence_module
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.presence import DeviceState, OnlineUser, Presence
from tidings.server.policies import Policies

START_MS = 1_800_000_000_000
BILLING = service_identity("billing")
SECONDS = 60.0


class Node:
    """A hub that is watched; its wall clock goes with trio's."""

    def __init__(self, **rules: ChannelRule) -> None:
        policies = Policies({f"{kind}:*": rule for kind, rule in rules.items()})
        self.hub = Hub()
        self.broker = MemoryBroker(self.hub.deliver, policies=policies, clock=lambda: self.now_ms() / 1000)
        self.hub.release = self.broker.release
        self.began = trio.current_time()
        self.presence = Presence(
            self.hub, self.broker, policies, grace=5, service_seconds=SECONDS, now_ms=self.now_ms
        )
        self.hub.watcher = self.presence

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return START_MS + round((trio.current_time() - self.began) * 1000)

    def connect(self, user_id: str, device: str = "", **more: Any) -> Listener:
        """A new connection."""
        listener = Listener(JSON, user_id)
        listener.device = device
        listener.identity = msgspec.structs.replace(listener.identity, **more)
        self.hub.connect(listener)
        self.hub.subscribe(listener, user_channel(user_id), Position("e", 0))
        return listener


@pytest.fixture
async def node(autojump_clock: MockClock) -> Node:
    """On virtual time."""
    return Node()


async def test_last_seen_is_when_the_last_connection_went(node: Node) -> None:
    """Now for who is online, then the end of the last connection; nothing for who never was here."""
    tab, phone = node.connect("alice"), node.connect("alice")
    assert node.presence.last_seen_ms("nobody") is None
    await trio.sleep(10)
    assert (node.presence.is_online("alice"), node.presence.last_seen_ms("alice")) == (
        True,
        START_MS + 10_000,
    )
    node.hub.disconnect(tab)
    await trio.sleep(10)
    assert node.presence.last_seen_ms("alice") == START_MS + 20_000
    node.hub.disconnect(phone)
    await trio.sleep(10)
    assert (node.presence.is_online("alice"), node.presence.last_seen_ms("alice")) == (
        False,
        START_MS + 20_000,
    )


async def test_the_longest_gone_are_forgotten(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of those who left is bounded; who came again and left is young."""
    monkeypatch.setattr(presence_module, "REMEMBERED", 3)
    for user in ("a", "b", "c", "a", "d"):
        node.hub.disconnect(node.connect(user))
    remembered = [user for user in "abcd" if node.presence.last_seen_ms(user) is not None]
    assert remembered == ["a", "c", "d"]


async def test_a_service_is_online_for_a_while_after_it_called(node: Node) -> None:
    """A request counts for so many seconds, by a clock that nobody sets; then it was last seen at the request."""
    service = BILLING.user_id
    assert (node.presence.is_online(service), node.presence.last_seen_ms(service)) == (False, None)
    node.presence.called(BILLING)
    await trio.sleep(SECONDS - 1)
    assert node.presence.is_online(service)
    node.presence.called(BILLING)
    await trio.sleep(SECONDS - 1)
    assert await node.presence.online(most=10) == ([OnlineUser(service, "billing", "service", 0, [])], None)
    await trio.sleep(1)
    assert await node.presence.online(most=10) == ([], None)
    assert node.presence.last_seen_ms(service) == START_MS + int(SECONDS - 1) * 1000


async def test_a_service_is_online_while_it_is_connected(node: Node) -> None:
    """However long ago it called; it is listed once, and last seen when the later of the two ended."""
    node.presence.called(BILLING)
    connection = node.connect(BILLING.user_id, username="billing", kind="service")
    await trio.sleep(10 * SECONDS)
    users, _ = await node.presence.online(most=10)
    assert users == [OnlineUser("service:billing", "billing", "service", 1, [])]
    node.hub.disconnect(connection)
    assert not node.presence.is_online(BILLING.user_id)
    await trio.sleep(1)
    assert node.presence.last_seen_ms(BILLING.user_id) == START_MS + int(10 * SECONDS) * 1000
    node.presence.called(BILLING)
    assert node.presence.last_seen_ms(BILLING.user_id) == node.now_ms()


async def test_users_are_listed_page_by_page(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, by user id, with all connections and the devices' names; however many turns the listing takes."""
    monkeypatch.setattr(presence_module, "USERS_PER_TURN", 3)
    names = [f"u{number:02}" for number in range(25)]
    for name in reversed(names):
        node.connect(name, "phone")
        node.connect(name, "desk")
        node.connect(name)
    node.presence.called(BILLING)
    found: list[OnlineUser] = []
    after: str | None = ""
    while after is not None:
        users, after = await node.presence.online(prefix="u", after=after, most=10)
        found += users
    assert found == [OnlineUser(name, name, "user", 3, ["desk", "phone"]) for name in names]
    assert await node.presence.online(prefix="u", most=25) == (found, None)
    assert (await node.presence.online(prefix="u", most=24))[1] == "u23"


@pytest.mark.parametrize("kind", ["user", "device", "service"])
async def test_users_are_listed_by_kind(node: Node, kind: Literal["user", "device", "service"]) -> None:
    """The newest connection says what somebody is."""
    node.connect("alice")
    node.connect("display-7", kind="device")
    node.connect("was-a-device", kind="device")
    node.connect("was-a-device")
    node.presence.called(BILLING)
    users, _ = await node.presence.online(kind=kind, most=10)
    assert [user.user_id for user in users] == {
        "user": ["alice", "was-a-device"],
        "device": ["display-7"],
        "service": ["service:billing"],
    }[kind]


async def test_who_goes_while_the_list_is_made_is_left_out(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page may be shorter for it, and still leads to the next one."""
    listeners = [node.connect(f"u{number}") for number in range(6)]
    online_users = node.hub.online_users

    def then_one_goes() -> list[str]:
        found = online_users()
        node.hub.disconnect(listeners[0])
        return found

    monkeypatch.setattr(node.hub, "online_users", then_one_goes)
    users, following = await node.presence.online(most=4)
    assert [user.user_id for user in users] == ["u1", "u2", "u3"]
    assert following == "u3"


async def test_devices_are_connected_or_known_to_the_inbox(node: Node) -> None:
    """Each with when it was last there and what it has; connections without a name are one."""
    channel = user_channel("alice")
    for name in ("phone", "desk"):
        await node.broker.attach(channel, name)
    await node.broker.publish(channel, "news", b"{}")
    await node.broker.acknowledge(channel, "desk", 1)
    seen = node.now_ms()
    for name in ("phone", "desk"):
        node.broker.detach(channel, name)
    await trio.sleep(10)
    node.connect("alice", "desk")
    node.connect("alice")
    now = START_MS + 10_000
    assert await node.presence.known_devices("alice") == [
        DeviceState("", True, now, None),
        DeviceState("desk", True, now, 1),
        DeviceState("phone", False, seen, 0),
    ]
    assert node.presence.devices("alice") == ["", "desk"]
    assert await node.presence.known_devices("nobody") == []


async def test_devices_without_an_inbox_are_those_connected(autojump_clock: MockClock) -> None:
    """Where users' channels keep nothing, nobody has acknowledged anything."""
    node = Node(user=ChannelRule(history_size=0))
    node.connect("alice", "desk")
    assert await node.presence.known_devices("alice") == [DeviceState("desk", True, START_MS, None)]
