"""What anybody may have a server with accounts do, and how often: judging passwords, changes, names of services."""

import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import zxcvbn  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from support.accounts import CHEAP, PASSWORD, accounts_config, accounts_records, accounts_site, error
from trio.testing import wait_all_tasks_blocked
from zxcvbn import matching

from tidings.protocol.errors import ErrorCode
from tidings.server.answers import Refused
from tidings.server.apps.accounts import passwords as judging
from tidings.server.apps.accounts import registration, service
from tidings.server.apps.accounts.bodies import CreateUser
from tidings.server.apps.accounts.hashing import Hasher
from tidings.server.apps.accounts.passwords import judge_password
from tidings.server.apps.accounts.registration import Passwords, create_user
from tidings.server.cli import app
from tidings.server.config import Accounts

SIGNS = sorted({sign for signs in matching.L33T_TABLE.values() for sign in signs})

SLOW = [
    '4@8({[<3369!1|0$57+%2"*2',
    "i1|!1lI" * 5,
    "4@8({[<36910!|$57+%2" * 2,
    "4@8({[<36910!|$57+%2abcdefghijklmnopqrst",
]


def readings(text: str) -> int:
    """In how many ways zxcvbn reads a text."""
    return len(matching.enumerate_l33t_subs(matching.relevant_l33t_subtable(text, matching.L33T_TABLE)))


# --- judging passwords -------------------------------------------------------------------------------


@pytest.mark.parametrize("password", SLOW)
def test_no_password_has_many_readings(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of its signs may stand for letters: each reading is looked up in all dictionaries."""
    read: list[str] = []
    translate = matching.translate

    def counted(text: str, signs: dict[str, str]) -> str:
        read.append(text)
        result: str = translate(text, signs)
        return result

    monkeypatch.setattr(matching, "translate", counted)
    assert judge_password(password, least=8, score=2, inputs=[]) is None
    # Where it repeats, what is repeated is read, too.
    assert 0 < len(read) <= 2 * judging._MOST_READINGS


@given(st.text(st.sampled_from([*SIGNS, *"ailotsx~"]), max_size=40))
def test_what_is_shown_to_the_judge_has_few_readings(password: str) -> None:
    """Only signs are left out, each of them everywhere, and none where the password has few readings anyhow."""
    shown = judging._readable(password, matching.L33T_TABLE)
    assert readings(shown) <= judging._MOST_READINGS
    left_out = set(password) - set(shown)
    assert left_out <= set(SIGNS)
    assert shown == "".join(sign for sign in password if sign not in left_out)
    if len(set(password) & set(SIGNS)) <= 6:
        assert shown == password


@pytest.mark.parametrize("password", ["p@55w0rd!", "P4$$w0rd1", "0123456789", "1l0v3y0u!", "l3tm31n$"])
def test_what_has_few_readings_is_judged_whole(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A common password is one in any of its spellings: nothing of it is hidden from the judge."""
    seen: list[str] = []
    judged = zxcvbn.zxcvbn

    def watched(text: str, inputs: list[str]) -> Any:
        seen.append(text)
        return judged(text, inputs)

    monkeypatch.setattr(zxcvbn, "zxcvbn", watched)
    assert judge_password(password, least=4, score=2, inputs=[]) is not None
    assert seen == [password]


@pytest.fixture
async def hasher() -> AsyncIterator[Hasher]:
    """One thread, for which one may wait."""
    with trio.fail_after(20):
        async with Hasher(memory_kib=8, passes=1, waiting=1, threads=1) as hasher:
            yield hasher


async def test_judging_waits_in_the_queue_of_hashes(
    hasher: Hasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done where hashes are made, after those that came before; where too many wait the server is busy."""
    where: list[str] = []

    def judge(*arguments: Any, **more: Any) -> str | None:
        where.append(threading.current_thread().name)
        return judge_password(*arguments, **more)

    monkeypatch.setattr(registration, "judge_password", judge)
    passwords, go = Passwords(Accounts(**CHEAP), hasher), threading.Event()
    hashed = partial(passwords.hashed, PASSWORD, [], field="password")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hasher.run, lambda: go.wait(20))
            await wait_all_tasks_blocked()
            nursery.start_soon(hashed)
            await wait_all_tasks_blocked()
            assert (hasher.waiting, where) == (1, [])
            with pytest.raises(Refused, match="too many passwords wait") as refused:
                await hashed()
            assert refused.value.code is ErrorCode.UNAVAILABLE
            go.set()
    finally:
        go.set()
    assert where == ["tidings-hash-0"]
    with pytest.raises(Refused, match=r"easy to guess.* at `\$\.password`"):
        await passwords.hashed("password1", [], field="password")


async def test_work_that_fails_is_its_own(hasher: Hasher) -> None:
    """Whoever asked for it gets the exception, and the thread goes on."""

    def fail() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        await hasher.run(fail)
    assert await hasher.run(lambda: 5) == 5


# --- changes of one's own account --------------------------------------------------------------------


async def test_users_change_themselves_at_a_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change is told to many, so that a user is told to wait; administrators and other users are not."""
    monkeypatch.setattr(service, "_CHANGES", 2)
    monkeypatch.setattr(service, "_CHANGE_SECONDS", 600.0)
    with trio.fail_after(20):
        async with accounts_site(accounts_config(tmp_path)) as at:
            await at.add_all("alice", "bob")
            await at.add_all("root", roles=("admin",))
            alice, bob, root = await at.login("alice"), await at.login("bob"), await at.login("root")

            async def change(token: str, path: str = "/api/users/me", *, number: int) -> Any:
                return await at.ask("PUT", path, token, json={"email": f"a{number}@example.org"})

            assert [(await change(alice, number=number)).status_code for number in range(2)] == [200, 200]
            # By whichever login.
            for token in (alice, await at.login("alice")):
                refused = await change(token, number=9)
                assert error(refused)[:2] == (429, "rate_limited")
                assert 500 < int(refused.headers["Retry-After"]) <= 600
            assert (await at.done("GET", "/api/users/me", alice))["email"] == "a1@example.org"
            assert (await change(bob, number=5)).status_code == 200
            for number in range(4):
                answer = await change(root, "/api/admin/users/alice", number=number)
                assert answer.status_code == 200


# --- ids of services ---------------------------------------------------------------------------------


@pytest.mark.parametrize("user_id", ["service", "service:", "service:billing", "device:1.2"])
async def test_no_user_has_the_id_of_a_service(tmp_path: Path, user_id: str) -> None:
    """Whoever holds a key is known by it, and would be taken for the user."""
    async with accounts_records(tmp_path) as records, Hasher(memory_kib=8, passes=1, waiting=9) as hasher:
        create = partial(create_user, records, Passwords(Accounts(**CHEAP), hasher))
        with pytest.raises(Refused, match=r"those of services and devices - at `\$\.id`") as refused:
            await create(CreateUser(username="alice"), user_id=user_id)
        assert refused.value.code is ErrorCode.INVALID_DATA
        user, _ = await create(CreateUser(username="alice"), user_id="services")
        assert user.id == "services"


@pytest.mark.parametrize("user_id", ["service", "service:billing"])
def test_the_command_refuses_the_id_of_a_service(
    user_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And names the argument that has to be another."""
    monkeypatch.chdir(tmp_path)
    cheap = [
        part for name in ("hash_memory_kib", "hash_passes") for part in ("--set", f"accounts.{name}=8")
    ]
    with pytest.raises(SystemExit) as ended:
        app(["user", "add", "carol", "--id", user_id, *cheap])
    assert ended.value.code not in {0, None}
    told = capsys.readouterr()
    assert f"{user_id}: such ids are those of services" in " ".join(told.err.split())
    assert "--id" in told.err
    assert told.out == ""
