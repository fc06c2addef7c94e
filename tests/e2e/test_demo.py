"""Demo mode: its tokens open the demo and nothing else."""

import json
import re
import shlex
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from support.line_board import Device, line_board, lines_config
from support.process import PATIENCE, Running, demo, running
from support.site import SECRET

from tidings.server.apps.lines.service import lines_of
from tidings.server.auth import Authenticator, TokenRefusal
from tidings.server.config import Auth, Config, Server, load
from tidings.server.demo import SECRET_FILE, demo_tokens, introduction, kept_secret, with_demo_secret
from tidings.server.demo_users import DATABASE, GROUP, add_group, demo_password, with_demo_users
from tidings.server.identity import Identity


def _token_of(banner: str, name: str) -> str:
    lines = [line.strip() for line in banner.splitlines()]
    return lines[lines.index(name) + 1]


async def test_a_configured_secret_signs_no_demo_token(tmp_path: Path) -> None:
    """Where a real secret is configured, a demo's admin is nobody to the real server, nor the real admin to it."""
    env = {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_AUTH_PREVIOUS_SECRET": SECRET[::-1]}
    real = Authenticator(Auth(secret=SECRET, previous_secret=SECRET[::-1]))
    async with running(*demo(), folder=tmp_path, env=env) as served:
        banner = await served.printed("Ctrl-C")
        for name in ("alice", "bob", "admin"):
            token = _token_of(banner, name)
            assert isinstance(real.verify(token), TokenRefusal)
            await (await served.connect(token)).aclose()
        client = await served.open()
        assert (await client.handshake(token=real.issue("admin", roles=["admin"], ttl=60)))[0] == 401
        await client.aclose()


@pytest.mark.parametrize("name", ["TIDINGS_AUTH_SECRET", "JWT_SECRET"])
def test_a_secret_of_the_environment_is_not_the_demos(tmp_path: Path, name: str) -> None:
    """Under each of its names: neither takes the tokens of the other."""
    config = load(environ={name: SECRET}, overrides=[f"server.data_dir={tmp_path}"])
    assert config.auth.secret == SECRET
    real, ours = Authenticator(config.auth), Authenticator(with_demo_secret(config).auth)
    for token in demo_tokens(ours, config.auth.max_ttl).values():
        assert isinstance(ours.verify(token), Identity)
        assert isinstance(real.verify(token), TokenRefusal)
    assert isinstance(ours.verify(real.issue("admin", roles=["admin"], ttl=60)), TokenRefusal)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param((), marks=pytest.mark.slow),
        ("server.data_dir=a folder", "auth.issuer=me", "auth.max_ttl=60", 'auth.user_claims=["uid"]'),
    ],
)
async def test_the_printed_commands_work_as_they_stand(tmp_path: Path, settings: tuple[str, ...]) -> None:
    """Whatever secret, token and settings the environment, `.env` and the server's options hold."""
    (tmp_path / ".env").write_text(f"JWT_SECRET={SECRET}\n")
    async with running(*demo(*settings), folder=tmp_path, env={}) as served:
        banner = await served.printed("Ctrl-C")
        (line,) = [line for line in banner.splitlines() if " publish room:lobby " in line]
        (listen,) = [line for line in banner.splitlines() if " listen room:lobby " in line]
        assert shlex.split(listen)[3:] == shlex.split(line)[7:], "the same options"
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(
                ["/bin/sh", "-c", line],
                capture_stdout=True,
                cwd=tmp_path,
                env={
                    "TIDINGS_AUTH_SECRET": SECRET[::-1],
                    "TIDINGS_TOKEN": "a.b.c",
                    "PATH": "/usr/bin:/bin",
                },
            )
        assert done.stdout == b"room:lobby 1\n"


@pytest.mark.parametrize(
    ("max_ttl", "words"),
    [(10**6, "8 hours"), (3600, "1 hour"), (5400, "90 minutes"), (60, "1 minute"), (61, "61 seconds")],
)
def test_the_lifetime_that_is_printed_is_the_tokens(max_ttl: int, words: str) -> None:
    """A day's work, or `auth.max_ttl` where that is shorter."""
    config = Config(auth=Auth(max_ttl=max_ttl))
    tokens = {"alice": "a", "bob": "b", "admin": "c"}
    assert f"are good for {words}." in introduction(config, tokens, "http://h", "ws://h/ws")


async def test_a_demo_keeps_its_secret_to_itself_and_through_a_restart(tmp_path: Path) -> None:
    """Tokens printed by one demo open the next one on the same `data_dir`; only the owner may read the secret.

    A `max_ttl` shorter than a demo's day shortens its tokens and does not stop it.
    """
    settings = ("server.data_dir=kept", "auth.max_ttl=3600")
    arguments = demo(*settings)
    async with running(*arguments, folder=tmp_path, env={}) as first:
        banner = await first.printed("Ctrl-C")
        assert "are good for 1 hour." in banner
        await (await first.connect(_token_of(banner, "bob"))).aclose()
        token = _token_of(banner, "alice")
    async with running(*arguments, folder=tmp_path, env={}) as second:
        await (await second.connect(token)).aclose()
    path = tmp_path / "kept" / SECRET_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() not in first.banner


async def test_whatever_was_done_to_them_the_printed_users_log_in(tmp_path: Path) -> None:
    """After a restart, too: one was deleted, one has another password, one lost a role; the policy is single.

    In a database of the demo's own, whichever is configured.
    """
    arguments = demo("accounts.logins=single", "store.url=sqlite:///own.db")
    async with running(*arguments, folder=tmp_path, env={}) as first:
        banner = await first.printed("Ctrl-C")
        passwords = _passwords_of(banner)
        admin = (await _ask(first, "POST", "auth/login", **_login("admin", passwords)))["token"]
        bob = (await _ask(first, "POST", "auth/login", **_login("bob", passwords)))["token"]
        changed = {"old_password": passwords["bob"], "new_password": "seven quiet harbours 90"}
        await _ask(first, "PUT", "users/password", token=bob, json=changed)
        assert await _ask(first, "DELETE", "admin/users/alice", token=admin) == {
            "id": "alice",
            "username": "alice",
        }
        # An administrator who is none any more, since there is another.
        await _ask(first, "PUT", "admin/users/bob", token=admin, json={"roles": ["admin"]})
        await _ask(first, "PUT", "admin/users/admin", token=admin, json={"roles": []})
    async with running(*arguments, folder=tmp_path, env={}) as second:
        banner = await second.printed("Ctrl-C")
        assert _passwords_of(banner) == passwords
        tokens = {}
        for name in passwords:
            await (await second.connect(_token_of(banner, name))).aclose()
            tokens[name] = (await _ask(second, "POST", "auth/login", **_login(name, passwords)))["token"]
        users = (await _ask(second, "GET", "admin/users", token=tokens["admin"]))["users"]
        assert {user["username"]: user["roles"] for user in users} == {
            "admin": ["admin"],
            "alice": [],
            "bob": ["admin"],
        }
        (line,) = [line for line in banner.splitlines() if "/api/auth/login" in line]
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(["/bin/sh", "-c", f"{line} -s -f"], capture_stdout=True)
        assert done.stdout.startswith(b'{"token":')
        assert passwords["bob"] not in second.log
    assert (tmp_path / "data" / DATABASE).exists()
    assert not (tmp_path / "own.db").exists()


async def test_what_the_printed_device_says_the_printed_dashboard_shows(tmp_path: Path) -> None:
    """Both commands open the line board, every line to type is answered as it should be, and shown."""
    async with running(*demo(), folder=tmp_path, env={}) as served:
        banner = await served.printed("Ctrl-C")
        board, device = (
            re.search(rf'"ws://127.0.0.1:{served.port}(/ws/{path}\?[^"]+)"\n((?:  {{.*\n)*)', banner)
            for path in ("dashboard", "device")
        )
        assert board is not None
        assert device is not None
        shown, reporting = await served.open(), Device(await served.open())
        assert (await shown.handshake(board[1]))[0] == 101
        assert (await reporting.client.handshake(device[1]))[0] == 101
        with trio.fail_after(PATIENCE):
            assert (await reporting.next())["type"] == "auth_success"
            answers = []
            for line in device[2].splitlines():
                await reporting.client.send_json(json.loads(line))
                answers.append((await reporting.next())["type"])
            assert answers == ["sync_result", "incoming_received", "heartbeat_ack"]
            message: Any = {}
            while message.get("type") != "incoming":
                message = await shown.receive_json()
        assert message["data"]["line_account_id"] == "front-desk"
        await shown.aclose()
        await reporting.client.aclose()


async def test_the_demos_group_is_made_once_and_always_has_a_code(tmp_path: Path) -> None:
    """A second start finds the group and its code; where the code was disabled, it has another one."""
    async with line_board(lines_config(tmp_path)) as board:
        lines = lines_of(board.site.server.context.push)
        code = await add_group(lines)
        assert await add_group(lines) == code
        [group] = lines.groups()
        assert (group.name, group.code) == (GROUP, code)
        assert group.code_id is not None
        await lines.disable_code(group.id, group.code_id)
        again = await add_group(lines)
        assert again != code
        assert [each.code for each in lines.groups()] == [again]


def test_demo_users_need_the_demos_secret(tmp_path: Path) -> None:
    """Passwords are each user's own and follow from the secret alone; the app is named once, beside the others."""
    secret = "s" * 64
    made = {demo_password(secret, "alice"), demo_password(secret, "bob"), demo_password("t" * 64, "alice")}
    assert len(made) == 3
    assert all(re.fullmatch("[a-z2-7]{16}", password) for password in made)
    config = with_demo_users(Config(server=Server(data_dir=str(tmp_path), apps=("polls",))))
    assert config.server.apps == ("polls", "accounts", "notifications", "lines")
    assert config.store.url == f"sqlite:///{tmp_path / DATABASE}"
    assert with_demo_users(config) == config


def _passwords_of(banner: str) -> dict[str, str]:
    found = dict(re.findall(r"^  (\w+) +([a-z2-7]{16})$", banner, re.MULTILINE))
    assert set(found) == {"alice", "bob", "admin"}
    return found


def _login(name: str, passwords: dict[str, str]) -> dict[str, Any]:
    return {"json": {"username": name, "password": passwords[name]}}


async def _ask(server: Running, method: str, path: str, token: str | None = None, **more: Any) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(verify=False, timeout=PATIENCE) as client:
        url = f"http://127.0.0.1:{server.port}/api/{path}"
        answer = await client.request(method, url, headers=headers, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("broken", ["", "short", "x" * 500, "é" * 32])
def test_a_damaged_demo_secret_is_replaced(tmp_path: Path, broken: str) -> None:
    """Half a file, or somebody else's, is no secret: a new one takes its place and stays."""
    (tmp_path / SECRET_FILE).write_text(broken, "utf-8")
    config = Config(server=Server(data_dir=str(tmp_path)))
    made = with_demo_secret(config).auth.secret
    assert len(made) >= 32
    assert made == kept_secret(tmp_path) == with_demo_secret(config).auth.secret
    assert [path.name for path in tmp_path.iterdir()] == [SECRET_FILE], "nothing is left lying about"
