"""What was answered about accounts holds after kill -9, and what was to be told is told after it."""

import random
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio
from support.accounts import (
    OTHER,
    PASSWORD,
    AccountsSite,
    FrontEnd,
    accounts_config,
    accounts_process,
    accounts_records,
    accounts_site,
    insert_users,
)
from support.process import Running, run, serve
from support.site import SECRET
from support.web import Truncated, WebClient

from tidings.server.apps.accounts import users
from tidings.server.auth import Authenticator
from tidings.server.config import Auth
from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.outbox import last_event


async def kill(process: Running) -> None:
    """End it as a power cut does."""
    process.process.kill()
    await process.process.wait()


async def prepare(folder: Path, url: str, *names: str) -> None:
    """Users and the administrator root, where no server has run yet."""
    async with accounts_records(folder / "data", url) as records:
        await insert_users(records, *names)
        await insert_users(records, "root", roles=("admin",))


async def test_killed_right_after_its_answers(tmp_path: Path, records_url: str) -> None:
    """Login, changed password, deleted user, all answered with 200: after the restart the old tokens are dead."""
    await prepare(tmp_path, records_url, "alice", "bob", "carol")
    async with accounts_process(tmp_path, records_url, logins="single") as (front, process):
        dead = [await front.login(name) for name in ("alice", "bob", "carol")]
        root = await front.login("root")
        alive = [root]
        changer = await front.login("bob")
        await front.change_password(changer)
        alive.append(changer)
        assert await front.done("DELETE", "/api/admin/users/carol", root)
        alive.append(await front.login("alice"))
        await kill(process)
    async with accounts_process(tmp_path, records_url, logins="single") as (front, _):
        assert [await front.is_live(token) for token in dead] == [False, False, False]
        assert [await front.is_live(token) for token in alive] == [True, True, True]
        gone = {"username": "carol", "password": OTHER}
        assert (await front.ask("POST", "/api/auth/login", json=gone)).status_code == 401
        # The one login that lives is ended by the next, as if nothing had happened.
        await front.login("alice")
        assert not await front.is_live(alive[-1])
        assert await front.is_live(await front.login("bob", OTHER))


@pytest.mark.slow
async def test_killed_at_any_moment(tmp_path: Path, records_url: str) -> None:
    """Whatever is under way at the kill: of each user at most one login lives then, and every answer holds."""
    names = [f"user-{number}" for number in range(20)]
    await prepare(tmp_path, records_url, *names)
    rng = random.Random(9)
    tokens: dict[str, list[str]] = {name: [] for name in names}
    for _ in range(1 if records_url else 2):
        async with accounts_process(tmp_path, records_url, logins="single") as (front, process):
            await _storm(front, process, tokens, answers=rng.randrange(20, 120))
        async with accounts_process(tmp_path, records_url, logins="single") as (front, process):
            for of_user in tokens.values():
                living = [await front.is_live(token) for token in of_user]
                # The answer to the last one may have been lost; then none of these lives.
                assert sum(living) <= 1, living
                assert not any(living[:-1]), living
            await kill(process)


async def _storm(front: FrontEnd, process: Running, tokens: dict[str, list[str]], *, answers: int) -> None:
    """Users log in again and again, each one login after another, until so many were answered; then the kill."""
    left = answers

    async def go_on(name: str) -> None:
        nonlocal left
        client = WebClient(await front.open())
        body = msgspec.json.encode({"username": name, "password": PASSWORD})
        while True:
            try:
                answer = await client.post(body, "Content-Type: application/json", target="/api/auth/login")
            except (Truncated, trio.BrokenResourceError):
                return
            assert answer.status == 200, answer.body
            tokens[name].append(answer.json["token"])
            left -= 1
            if not left:
                process.process.kill()

    async with trio.open_nursery() as nursery:
        for name in tokens:
            nursery.start_soon(go_on, name)
    await process.process.wait()


async def leave_unpublished(folder: Path, url: str) -> None:
    """What a server leaves that died between its commits and its publications."""
    async with accounts_records(folder, url) as records:
        update = partial(users.update, user_id="alice", name=None, roles=None)
        await records.write(partial(update, email="one@example.org", now_ms=1))
        await records.write(partial(update, email="two@example.org", now_ms=2))


async def test_a_commit_that_was_not_published_is_published_later(
    tmp_path: Path,
    records_url: str,
) -> None:
    """What lies in the database and was told to nobody is told by the next server, in order, and not by a third."""
    config = accounts_config(tmp_path, records_url)
    async with accounts_site(config) as at:
        await at.add_all("alice")
        token = await at.login("alice", device="phone")
        await (await at.connect(token)).aclose()
    await leave_unpublished(tmp_path, records_url)
    async with accounts_site(config) as at:
        await until_told(at)
        client = await at.connect(token)
        heard = await at.heard(client, "alice")
        assert [message["data"]["email"] for message in heard] == ["one@example.org", "two@example.org"]
        await client.command("ack", {"channel": "user:alice", "offset": heard[-1]["offset"] + 1})
    async with accounts_site(config) as at:
        await until_told(at)
        assert await at.heard(await at.connect(token), "alice") == []


async def until_told(at: AccountsSite) -> None:
    """Wait until all that commits have left is out."""
    records, relay = at.site.server._records, at.site.server._relay
    assert records is not None
    assert relay is not None
    last = await records.read(partial(last_event, channel="user:alice"))
    if last is not None:
        with trio.fail_after(20):
            await relay.wait_passed(last)


async def test_a_password_changed_by_a_server_that_died_ends_the_logins(
    tmp_path: Path,
    records_url: str,
) -> None:
    """Its commit is all there is: the next server refuses the older tokens from its first moment on."""
    config = accounts_config(tmp_path, records_url)
    async with accounts_site(config) as at:
        await at.add_all("alice", "bob")
        token, other = await at.login("alice"), await at.login("bob")
    issued_ms = Authenticator(Auth(secret=SECRET)).verify(token).logged_in_ms  # type: ignore[union-attr]
    async with accounts_records(tmp_path, records_url) as records:
        change = partial(users.set_password, user_id="alice", password="none", until_ms=None, by="alice")
        await records.write(partial(change, now_ms=issued_ms))
    async with accounts_site(config) as at:
        assert not await at.is_live(token)
        assert await at.is_live(other)


async def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """On one data_dir the second process says who is there and ends; the first one goes on."""
    with trio.fail_after(60):
        async with accounts_site(accounts_config(tmp_path / "data")) as at:
            await at.add_all("alice")
            token = await at.login("alice")
            settings = serve('server.apps=["*","accounts"]', f"server.data_dir={tmp_path / 'data'}")
            second = await run(*settings, folder=tmp_path, env={"TIDINGS_AUTH_SECRET": SECRET})
            assert second.returncode != 0
            assert str(tmp_path / "data") in second.stderr.replace("\n", "")
            assert await at.is_live(token)


async def test_two_servers_on_one_database(tmp_path: Path, records_url: str) -> None:
    """With a `data_dir` each, the second refuses to start, or what has ended at one has ended at both."""
    url = records_url or f"sqlite:///{tmp_path / 'shared.db'}"
    here, there = (accounts_config(tmp_path / name, url, logins="single") for name in ("here", "there"))
    async with accounts_site(here) as at:
        await at.add_all("alice")
        token = await at.login("alice")
        try:
            async with accounts_site(there) as other:
                newer = await other.login("alice")
                assert not await other.is_live(token)
                with trio.move_on_after(2):
                    while await at.is_live(token):
                        await trio.lowlevel.checkpoint()
                assert not await at.is_live(token)
                assert await at.is_live(newer)
        except* StoreRefused:
            assert await at.is_live(token)
