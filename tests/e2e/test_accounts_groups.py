"""Groups of users over real sockets: who hears a group's channel, from when on, and who hears it no more."""

import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from support.accounts import OTHER, AccountsSite, accounts_config, accounts_site, error, events
from support.client import RawClient

from tidings.protocol.channels import group_channel
from tidings.server.apps.accounts import service, users
from tidings.server.identity import Identity

USERS = "/api/admin/users"
ALICE = f"{USERS}/alice"


@pytest.fixture(autouse=True)
def nobody_is_closed_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a disk or a thread lets a second pass, the server closes whoever has not been told why yet."""
    monkeypatch.setattr(service, "_TOLD_SECONDS", 20.0)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[AccountsSite]:
    """A server with alice, of the group 7, with bob, of none, and the administrator root."""
    with trio.fail_after(60):
        async with accounts_site(accounts_config(tmp_path)) as at:
            await at.add_all("alice", group_id="7")
            await at.add_all("bob")
            await at.add_all("root", roles=("admin",))
            yield at


def group_of(at: AccountsSite, token: str) -> str | None:
    """The group that a token says, which must be good."""
    identity = at.site.server.context.authenticator.verify(token)
    assert isinstance(identity, Identity), identity
    return identity.group_id


async def publish(at: AccountsSite, *groups: str) -> None:
    """Say something to each group, which is its id."""
    for group in groups:
        await at.site.server.context.push.to_group(group, "note", {"group": group})


async def notes(at: AccountsSite, client: RawClient, user: str) -> list[str]:
    """Which groups have spoken to a connection until now; the inbox may tell changes of the user again."""
    heard = [message for message in await at.heard(client, user) if message["type"] == "note"]
    assert all(message["channel"] == group_channel(message["data"]["group"]) for message in heard), heard
    return [message["data"]["group"] for message in heard]


def profile(name: str, group: str | None) -> tuple[str, dict[str, Any]]:
    """`user:updated` of a user without anything else."""
    return "user:updated", {"id": name, "username": name, "email": None, "roles": [], "group_id": group}


@pytest.mark.parametrize("group", ["8", None])
async def test_whose_group_changes_hears_the_old_one_no_more(at: AccountsSite, group: str | None) -> None:
    """Told, closed with 3500, and let in by a new login alone, which hears the new group, or none."""
    alice, root = await at.login("alice"), await at.login("root")
    client, manager = await at.connect(alice), await at.connect(root)
    await publish(at, "7", "8")
    assert await notes(at, client, "alice") == ["7"]
    answer = await at.done("PUT", ALICE, root, json={"group_id": group})
    assert answer["group_id"] == group
    # Answered when it is in force: nothing of the old group goes out from here on.
    await publish(at, "7")
    messages, closed = await client.until_closed()
    assert (closed.code, closed.reason) == (3500, "group changed")
    *told, goodbye = events(messages)
    assert told == [profile("alice", group)]
    assert goodbye == (
        "disconnect",
        {"code": 3500, "reason": "group changed", "reconnect": False, "delay": 0.0},
    )
    assert events(await at.heard(manager, "root")) == [profile("alice", group)]
    assert not await at.is_live(alice)
    assert (await at.ask("POST", "/api/auth/refresh", alice)).status_code == 401
    again = await at.login("alice")
    assert group_of(at, again) == group
    client = await at.connect(again)
    await publish(at, "7", "8")
    assert await notes(at, client, "alice") == ([group] if group else [])


async def test_a_first_group_is_heard_from_the_next_token_on(at: AccountsSite) -> None:
    """Nobody is closed: a connection hears it once it is given that token, another one by coming with it."""
    bob, root = await at.login("bob"), await at.login("root")
    client = await at.connect(bob)
    await at.done("PUT", f"{USERS}/bob", root, json={"group_id": "7"})
    assert events(await at.heard(client, "bob")) == [profile("bob", "7")]
    await publish(at, "7")
    assert await notes(at, client, "bob") == []
    assert await at.is_live(bob)
    newer = await at.refreshed(bob)
    assert (group_of(at, bob), group_of(at, newer)) == (None, "7")
    other = await at.connect(newer)
    assert (await client.command("refresh", {"token": newer}))["type"] == "refreshed"
    await publish(at, "7")
    for connection in (client, other):
        assert await notes(at, connection, "bob") == ["7"]


async def test_the_group_that_a_user_has_ends_nothing(at: AccountsSite) -> None:
    """The same once more, and changes of all else, with or without it: the connection and its group go on."""
    alice, root = await at.login("alice"), await at.login("root")
    client = await at.connect(alice)
    await at.done("PUT", ALICE, root, json={"group_id": "7"})
    assert await at.heard(client, "alice") == []
    for change in ({"email": "a@example.org"}, {"email": None, "group_id": "7"}):
        assert (await at.done("PUT", ALICE, root, json=change))["group_id"] == "7"
        [(event, told)] = events(await at.heard(client, "alice"))
        assert (event, told["group_id"]) == ("user:updated", "7")
    await publish(at, "7")
    assert await notes(at, client, "alice") == ["7"]
    newer = await at.refreshed(alice)
    assert (group_of(at, alice), group_of(at, newer)) == ("7", "7")


async def test_a_user_is_created_with_a_group(at: AccountsSite) -> None:
    """In the answer, in the list, in one's own record and in the token; null, or nothing, is none."""
    root = await at.login("root")
    for name, given, group in (
        ("carol", {"group_id": "team:a.b-c_9"}, "team:a.b-c_9"),
        ("dora", {"group_id": None}, None),
        ("eve", {}, None),
    ):
        asked = {"username": name, "password": OTHER, **given}
        assert (await at.done("POST", USERS, root, json=asked))["user"]["group_id"] == group
        page = await at.done("GET", USERS, root, params={"search": name})
        assert [user["group_id"] for user in page["users"]] == [group]
        token = await at.login(name, OTHER)
        assert (await at.done("GET", "/api/users/me", token))["group_id"] == group
        assert group_of(at, token) == group


async def test_administrators_alone_say_who_belongs_where(at: AccountsSite) -> None:
    """Users may not, of themselves as little as of others; an administrator may, of their own account too."""
    bob, root = await at.login("bob"), await at.login("root")
    mine = await at.ask("PUT", "/api/users/me", bob, json={"group_id": "7"})
    assert error(mine) == (
        400,
        "invalid_data",
        "Object contains unknown field `group_id` - at `$`",
    )
    for path in (f"{USERS}/bob", ALICE):
        answer = await at.ask("PUT", path, bob, json={"group_id": "8"})
        assert error(answer)[:2] == (403, "forbidden")
    page = await at.done("GET", USERS, root)
    assert [user["group_id"] for user in page["users"]] == ["7", None, None]
    for group in ("1", "2"):
        assert (await at.done("PUT", f"{USERS}/root", root, json={"group_id": group}))["group_id"] == group
    # The second was another group than the token said: an administrator logs in again like anybody.
    assert not await at.is_live(root)
    assert group_of(at, await at.login("root")) == "2"


async def test_a_change_that_was_not_heard_of_is_in_force_with_its_event(at: AccountsSite) -> None:
    """As where the word of its commit was lost: the old group falls silent when the change is told."""
    alice = await at.login("alice")
    client = await at.connect(alice)
    records, relay = at.site.server._records, at.site.server._relay
    assert records is not None
    assert relay is not None
    change = partial(users.update, user_id="alice", name=None, email=msgspec.UNSET, roles=None)
    await records.write(partial(change, group_id="8", now_ms=int(time.time() * 1000)))
    relay.wake()
    messages, closed = await client.until_closed()
    assert events(messages)[0] == profile("alice", "8")
    assert (closed.code, closed.reason) == (3500, "group changed")
    assert not await at.is_live(alice)
