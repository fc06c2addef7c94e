"""Checks of presence, and of what nodes tell each other."""

from support.broker_contract.case import Case, promise
from tidings.server.brokers.base import Member


@promise("whole")
async def a_user_enters_once(case: Case) -> None:
    """The first time is told; again is no error; everybody is listed once, by user id."""
    for user, is_first in (("bob", True), ("alice", True), ("bob", False)):
        assert await case.broker.enter("room:a", Member(user, user.title())) is is_first
    service = Member("service:mail", "mail", "service")
    assert await case.broker.enter("room:a", service)
    assert list(await case.broker.presence("room:a")) == [
        Member("alice", "Alice"),
        Member("bob", "Bob"),
        service,
    ]
    assert list(await case.broker.presence("room:b")) == []


@promise("whole")
async def who_has_left_may_come_back(case: Case) -> None:
    """Leaving tells that nobody else has the user, as often as it is asked; coming back is coming first."""
    await case.broker.enter("room:a", Member("bob", "Bob"))
    await case.broker.enter("room:b", Member("bob", "Bob"))
    assert await case.broker.leave("room:a", "bob") is True
    assert await case.broker.leave("room:a", "bob") is True
    assert list(await case.broker.presence("room:a")) == []
    assert [member.user_id for member in await case.broker.presence("room:b")] == ["bob"]
    assert await case.broker.enter("room:a", Member("bob", "Bob")) is True


@promise("whole")
async def a_node_hears_itself(case: Case) -> None:
    """Every message once, in the sender's order, from one sender."""
    messages = [b"%d" % number for number in range(20)]
    for message in messages:
        await case.broker.tell_nodes(message)
    await case.node.until(lambda: len(case.node.told) >= len(messages))
    assert [message for _, message in case.node.told] == messages
    assert len({sender for sender, _ in case.node.told}) == 1


@promise()
async def figures_begin_at_nothing(case: Case) -> None:
    """Nothing is forgotten or dropped before anything happens."""
    await case.publish("room:a")
    assert (case.broker.forgotten_keys, case.broker.dropped_unacknowledged) == (0, 0)
