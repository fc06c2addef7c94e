"""The `tidings` command as its user meets it: what it prints, what it refuses, and what it never says."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio
import websockets.sync.client
from support.client import masked
from support.hostile import head
from support.process import demo, run, running, serve
from support.site import SECRET

from tidings.bench.cli import app as bench
from tidings.protocol.frames import Opcode
from tidings.server.auth import Authenticator
from tidings.server.cli import app
from tidings.server.cli.backup import backup
from tidings.server.cli.client import listen, publish, stats
from tidings.server.cli.migrate import migrate
from tidings.server.cli.serve import echo
from tidings.server.cli.serve import serve as serving
from tidings.server.cli.show_config import show_config
from tidings.server.cli.token import token
from tidings.server.cli.user import app as user
from tidings.server.config import Auth, Config, load
from tidings.server.identity import Identity

Tidings = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tidings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tidings:
    """Runs a command that ends by itself; exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)  # where no .env lies about
    for name in ("TIDINGS_AUTH_SECRET", "JWT_SECRET", "PORT"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: str, **env: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            try:
                app(list(arguments))
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_token_prints_a_token_and_nothing_else(tidings: Tidings) -> None:
    """One line on standard output: a token that says what was asked for, accepted under the same secret."""
    code, out, err = tidings(
        "token", "--user", "alice", "--username", "Alice A.", "--role", "admin", "--role", "editor",
        "--group", "red", "--ttl", "60", TIDINGS_AUTH_SECRET=SECRET,
    )  # fmt: skip
    assert (code, err) == (0, "")
    (token,) = out.splitlines()
    identity = Authenticator(Auth(secret=SECRET)).verify(token)
    assert isinstance(identity, Identity)
    assert (identity.user_id, identity.username, identity.group_id) == ("alice", "Alice A.", "red")
    assert identity.roles == {"admin", "editor"}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--user", "no blanks please"], "user id"),
        (["--user", "alice", "--ttl", "0"], "ttl"),
        (["--user", "alice", "--ttl", "999999999"], "ttl"),
        (["--user", "alice", "--role", "a/b"], "role"),
    ],
)
def test_a_token_that_would_be_refused_is_not_printed(
    tidings: Tidings, arguments: list[str], names: str
) -> None:
    """What the server would refuse is refused here, on standard error, with exit 1."""
    code, out, err = tidings("token", *arguments, TIDINGS_AUTH_SECRET=SECRET)
    assert (code, out) == (1, "")
    assert names in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["token", "--user", "alice"]])
@pytest.mark.parametrize("secret", [None, "", "short"])
def test_without_a_secret_it_says_how_to_make_one(
    tidings: Tidings, command: list[str], secret: str | None
) -> None:
    """Exit 1, naming the key and its variable and what makes a good value; nothing starts."""
    code, out, err = tidings(*command, **({} if secret is None else {"TIDINGS_AUTH_SECRET": secret}))
    assert (code, out) == (1, "")
    assert "auth.secret" in err
    assert "32" in err
    if not secret:
        assert "TIDINGS_AUTH_SECRET" in err
        assert "secrets.token_urlsafe" in err


def test_config_prints_what_it_can_read_again(tidings: Tidings, tmp_path: Path) -> None:
    """The output is TOML with every key; read as a file it is the same configuration, the secret masked."""
    given = (
        "--set",
        "limits.outbox_bytes=2097152",
        "--set",
        "auth.origins=https://a.example,https://b.example",
    )
    code, out, err = tidings("config", *given, TIDINGS_AUTH_SECRET=SECRET, PORT="8123")
    assert (code, err) == (0, "")
    assert SECRET not in out
    printed = tomllib.loads(out)
    defaults = msgspec.to_builtins(Config())
    assert {section: set(keys) for section, keys in printed.items()} == {
        section: set(keys) for section, keys in defaults.items()
    }
    assert printed["server"]["port"] == 8123
    saved = tmp_path / "tidings.toml"
    saved.write_text(out.replace('secret = "***"', f'secret = "{SECRET}"', 1))
    config = load(saved, environ={})
    assert config.limits.outbox_bytes == 2_097_152
    assert config.auth.origins == ("https://a.example", "https://b.example")
    for line in out.splitlines():
        if line.startswith(("outbox_bytes", "secret", "port")):
            assert "# from" in line


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [
        ("limits.outbox_byte=1", "outbox_bytes"),
        ("limit.outbox_bytes=1", "limits"),
        ("heartbeat.ping_intervall=1", "ping_interval"),
        ("limits.message_bytes=many", "message_bytes"),
    ],
)
def test_a_slip_of_the_hand_is_told_with_the_right_name(
    tidings: Tidings, setting: str, nearest: str
) -> None:
    """An unknown or ill-typed `--set` is exit 1, naming the nearest right key."""
    code, out, err = tidings("config", "--set", setting)
    assert (code, out) == (1, "")
    assert nearest in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["serve", "token", "config", "echo"]),
        (["serve"], ["--config", "--host", "--port", "--set", "--demo", "SIGTERM"]),
        (["token"], ["--user", "--username", "--role", "--group", "--ttl"]),
        (["config"], ["--config", "--set"]),
        (["echo"], ["--port", "--host", "--engine"]),
    ],
)
def test_every_command_has_help(tidings: Tidings, command: list[str], words: list[str]) -> None:
    """`--help` ends with exit 0 and names every option."""
    code, out, _ = tidings(*command, "--help", COLUMNS="200")
    assert code == 0
    for word in words:
        assert word in out
    assert "--no-" not in out


# The others with the long ones: each is a process that loads everything.
_MORE = [pytest.param([option], marks=pytest.mark.slow) for option in ("--help", "-h")]


@pytest.mark.parametrize("arguments", [[], *_MORE])
async def test_the_list_of_commands_says_what_each_does(tmp_path: Path, arguments: list[str]) -> None:
    """In the words of the command's own help, though nothing of it is loaded otherwise."""
    listed = " ".join((await run(*arguments, folder=tmp_path, env={"COLUMNS": "300"})).stdout.split())
    for command in (serving, listen, publish, stats, backup, migrate, token, show_config, echo):
        assert command.__doc__ is not None
        assert command.__doc__.splitlines()[0] in listed
    for group in (bench, user):
        assert group.help is not None
        assert group.help in listed


def test_a_command_loads_nothing_of_the_others() -> None:
    """Each process would wait for it: `--version` needs no event loop, `token` no HTTP client and no server."""
    for arguments, heavy in (
        (["--version"], {"trio", "msgspec", "httpx", "litestar"}),
        (["token", "--user", "a"], {"httpx", "litestar", "tidings.client", "tidings.server.app"}),
        (["config"], {"trio", "jwt", "httpx", "litestar", "tidings.client", "tidings.server.app"}),
        (["serve", "--help"], {"httpx", "tidings.client"}),
        (["user", "add", "--help"], {"httpx", "litestar", "sqlalchemy", "argon2", "tidings.client"}),
    ):
        script = (
            "import sys\nfrom tidings.server.cli import app\n"
            f"try:\n    app({arguments})\nexcept SystemExit:\n    pass\n"
            f"found = {heavy} & set(sys.modules)\nsys.exit(f'loaded {{found}}' if found else 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "TIDINGS_AUTH_SECRET": SECRET},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_a_server_without_users_loads_nothing_of_theirs() -> None:
    """Neither a database of records nor hashes nor judges of passwords: it starts as fast, and is as small."""
    theirs = {"sqlalchemy", "alembic", "argon2", "precis_i18n", "zxcvbn"}
    script = f"import sys, tidings.server.cli.run\nsys.exit(repr({theirs} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "''"


@pytest.mark.parametrize(
    "arguments", [["serv"], ["serve", "--prot", "1"], ["serve", "--port", "x"], ["echo"]]
)
def test_wrong_arguments_are_told(tidings: Tidings, arguments: list[str]) -> None:
    """A command or option that does not exist, or a value of another type, is an exit code that is not 0."""
    code, out, err = tidings(*arguments)
    assert code != 0
    assert out + err
    assert "Traceback" not in out + err


def test_version(tidings: Tidings) -> None:
    """`--version` prints the version alone."""
    code, out, _ = tidings("--version")
    assert code == 0
    assert out.strip().replace(".", "").isdigit()


async def test_echo_echoes(tmp_path: Path) -> None:
    """`tidings echo` sends 1 MiB of text, and of bytes, back as it came, to a client that is not ours."""
    async with running("echo", "--port", "0", folder=tmp_path, env={}) as server:

        def converse() -> None:
            with websockets.sync.client.connect(f"ws://127.0.0.1:{server.port}/", max_size=None) as client:
                for message in ("é" * 2**19, bytes(range(256)) * 4096, "", b""):
                    client.send(message)
                    assert client.recv() == message
                client.send(["a", "b", "c"])  # one message of three fragments
                assert client.recv() == "abc"

        await trio.to_thread.run_sync(converse)
        assert server.banner == f"echoing on ws://127.0.0.1:{server.port}/\n"


async def test_demo_tokens_work(tmp_path: Path) -> None:
    """`serve --demo` needs no secret, and two of the tokens that it prints chat through a room."""
    async with running(*demo(), folder=tmp_path, env={}) as server:
        text = await server.printed("Ctrl-C")
        tokens = [line.strip() for line in text.splitlines() if line.strip().startswith("eyJ")]
        assert len(tokens) == 3
        alice, bob = await server.connect(tokens[0]), await server.connect(tokens[1])
        for client in (alice, bob):
            await client.command("join_room", {"room": "lobby"})
        await alice.send_json({"type": "room_message", "data": {"room": "lobby", "text": "hello"}})
        # In a demo those who are in are told who comes.
        while (message := await bob.receive_json())["type"] != "room_message":
            assert message["type"] == "joined"
        assert message["data"]["username"] == "Alice"
        for client in (alice, bob):
            await client.aclose()


async def test_no_log_holds_a_token(tmp_path: Path) -> None:
    """Whichever way a token comes, good or bad, whole or in a broken request: no part of it is in any line."""
    canary = "canary" * 5
    good = Authenticator(Auth(secret=SECRET)).issue("alice", ttl=600)
    bad = f"{canary}.{canary}.{canary}"
    async with running(*serve("limits.connections_per_user=4"), folder=tmp_path) as server:
        for token in (good, bad):
            for path, headers in (
                (f"/ws?token={token}", {}),
                (f"/ws?a=b&token={token}&token={token}", {}),
                ("/ws", {"Authorization": f"Bearer {token}"}),
                ("/ws", {"Authorization": f"Basic {token}"}),
                (f"/nowhere?token={token}", {}),
                (f"/ws?token={token}", {"Origin": f"https://{token[:20]}.example"}),
                (f"/ws?dialect={token}", {}),
                (f"/ws?token={token}", {"Sec-WebSocket-Protocol": f"tidings.v1.json, {token}"}),
            ):
                client = await server.open()
                await client.handshake(path, headers=headers)
                await client.aclose()
            for request in (
                b"GET /ws?token=%b \xff HTTP/1.1",
                b"GET /ws?token=%b HTTP/3.7",
                b"GET %b HTTP/1.1",
                b"%b /ws HTTP/1.1",
            ):
                client = await server.open()
                await client.send(head(request=request % token.encode()))
                await client.response()
                await client.aclose()
            client = await server.open()
            await client.handshake()
            for message in (
                {"type": token, "id": token[:60]},
                {"type": "subscribe", "data": {"channel": token}},
                {"type": "refresh", "data": {"token": token}},
                {"type": "authenticate", "data": {"token": token, "device": ""}},
                {"type": "authenticate", "data": {"token": token}},
                {"type": "refresh", "data": {"token": token}},
            ):
                await client.send_json(message)
            await client.send(
                masked(Opcode.TEXT, b'{"type":"authenticate","data":{"token":"%b' % token.encode())
            )
            await client.send_close(4000)
            assert (await client.closed()).code in (3500, 4000)
            await client.aclose()
        server.process.terminate()
        assert await server.ended() == 0
        lines = server.log.splitlines()
        events = {json.loads(line)["event"] for line in lines}
        assert {"connected", "disconnected", "refused", "drained"} <= events
        for part in (*good.split("."), canary):
            assert [line for line in lines if part[:30] in line] == []
