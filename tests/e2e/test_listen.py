"""`tidings listen`, `publish` and `stats` as their user meets them: processes, pipes, signals."""

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog.testing
import trio
from support.commands import Commands
from support.process import PATIENCE, demo, run, running, serve
from support.site import SECRET, listening_site

from tidings.client import AsyncPublisher
from tidings.server.auth import Authenticator
from tidings.server.cli import app
from tidings.server.config import Auth


class Listener:
    """A `tidings listen`, and what it has said so far."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.out = ""
        self.err = ""
        self._changed = trio.Event()

    async def collect(self, stream: trio.abc.ReceiveStream, name: str) -> None:
        """Add what it prints."""
        async for data in stream:
            setattr(self, name, getattr(self, name) + data.decode())
            self._changed.set()
            self._changed = trio.Event()

    async def said(self, text: str, *, times: int = 1) -> None:
        """Wait until it has said something on standard error."""
        await self._wait("err", text, times)

    async def printed(self, text: str) -> None:
        """Wait until it has printed something."""
        await self._wait("out", text, 1)

    async def _wait(self, name: str, text: str, times: int) -> None:
        with trio.move_on_after(PATIENCE):
            while getattr(self, name).count(text) < times:
                await self._changed.wait()
            return
        raise AssertionError((text, self.out, self.err))


@asynccontextmanager
async def listening(*arguments: str, folder: Path, env: dict[str, str]) -> AsyncIterator[Listener]:
    """Run `tidings listen`; killed at the end."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tidings.server", "listen", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "PYTHONWARNINGS": "error", **env},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    listener = Listener(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.collect, process.stdout, "out")
            nursery.start_soon(listener.collect, process.stderr, "err")
            yield listener
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            await process.stdout.aclose()
            await process.stderr.aclose()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """Runs commands in this process, in a folder where no `.env` lies about."""
    monkeypatch.chdir(tmp_path)
    return Commands(monkeypatch, capsys)


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """The port of a server in this process, for what needs none that can be killed."""
    # What it logs would stand among what commands print.
    with structlog.testing.capture_logs():
        async with listening_site() as site:
            yield site.port


def access(port: int) -> dict[str, str]:
    """Where the server is, and the secret to sign with."""
    return {"TIDINGS_URL": f"http://127.0.0.1:{port}", "TIDINGS_AUTH_SECRET": SECRET}


def somebody(port: int) -> AsyncPublisher:
    """Who publishes where `tidings publish` is not what a test is about: a process of it takes a second."""
    token = Authenticator(Auth(secret=SECRET)).issue("root", roles=["admin"], ttl=600)
    return AsyncPublisher(f"http://127.0.0.1:{port}", token=token)


async def test_listen_prints_what_publish_sends(tmp_path: Path, here: Commands) -> None:
    """One line a publication, as it comes, for people and for programs; `publish` prints the position."""
    async with served() as port:
        env = access(port)
        async with (
            listening("all", "room:lobby", folder=tmp_path, env=env) as human,
            listening("room:lobby", "--json", folder=tmp_path, env=env) as machine,
        ):
            await human.said("listening to all, room:lobby")
            await machine.said("listening to room:lobby")
            first = await run(
                "publish", "all", "--event", "news", "--data", '{"text": "h\\u001b[31mé"}',
                folder=tmp_path, env=env,
            )  # fmt: skip
            assert (first.returncode, first.stdout, first.stderr) == (0, "all 1\n", "")
            # Two channels have no order between them.
            await human.printed("  all  news  ")
            assert await here("publish", "room:lobby", env=env) == (0, "room:lobby 1\n", "")
            await human.printed("room:lobby  message  {}\n")
            await machine.printed("\n")
            news = human.out.splitlines()[0]
            assert news.endswith('  all  news  {"text":"h\\u001b[31mé"}')
            (line,) = [json.loads(text) for text in machine.out.splitlines()]
            assert (line["channel"], line["event"], line["payload"], line["offset"]) == (
                "room:lobby", "message", {}, 1,
            )  # fmt: skip
            human.process.send_signal(signal.SIGINT)
            with trio.fail_after(PATIENCE):
                assert await human.process.wait() == 130
            assert "Traceback" not in human.err


async def test_a_listener_comes_back_by_itself(tmp_path: Path) -> None:
    """The server is killed and started again on its port: the listener says so, and prints what comes then."""
    async with running(*serve(), folder=tmp_path) as server:
        port = server.port
        async with (
            somebody(port) as publisher,
            listening("all", folder=tmp_path, env=access(port)) as listener,
        ):
            await listener.said("listening to all")
            await publisher.publish("all", "message", {"n": 1})
            await listener.printed('{"n":1}')
            server.process.kill()
            await listener.said("lost the server")
            await listener.said("trying again in")
            async with running("serve", "--port", str(port), folder=tmp_path):
                await listener.said("back after")
                # A server that has forgotten everything cannot say what was missed.
                await listener.said("all: began anew")
                await publisher.publish("all", "message", {"n": 2})
                await listener.printed('{"n":2}')
            assert listener.process.returncode is None
            assert "Traceback" not in listener.err


async def test_a_device_reads_its_inbox(tmp_path: Path) -> None:
    """What came while nobody listened is printed once for each device, also over a server that was killed."""
    token = {"TIDINGS_TOKEN": Authenticator(Auth(secret=SECRET)).issue("alice", ttl=3600)}
    async with running(*serve(), folder=tmp_path) as server, somebody(server.port) as publisher:
        port = server.port
        alice = {"TIDINGS_URL": f"http://127.0.0.1:{port}", **token}

        async def publish(number: int) -> None:
            await publisher.to_user("alice", "message", {"n": number})

        for number in (1, 2):
            await publish(number)
        async with listening("--device", "laptop", folder=tmp_path, env=alice) as listener:
            await listener.said("listening to user:alice")
            await listener.printed('{"n":2}')
            listener.process.send_signal(signal.SIGINT)
            with trio.fail_after(PATIENCE):
                assert await listener.process.wait() == 130
            assert listener.out.count('{"n":1}') == 1
        await publish(3)
        server.process.kill()
        await server.process.wait()
        async with running("serve", "--port", str(port), folder=tmp_path):
            await publish(4)
            async with (
                listening("--device", "laptop", folder=tmp_path, env=alice) as listener,
                listening("user:alice", "--device", "phone", folder=tmp_path, env=alice) as phone,
                listening("user:alice", folder=tmp_path, env=alice) as onlooker,
            ):
                for each in (listener, phone, onlooker):
                    await each.printed('{"n":4}')
                # The last one may have been on its way when it was ended: that comes again.
                assert '{"n":1}' not in listener.out
                assert '{"n":3}' in listener.out
                for each in (listener, phone, onlooker):
                    assert "Traceback" not in each.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", ""], "--device: 1 to 64"),
        (["--device", "x" * 65], "--device: 1 to 64"),
        ([], "name at least one channel"),
    ],
)
def test_a_device_that_has_no_name(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """An empty or overlong name is told, and so is having neither a channel nor a device."""
    # In this process: it ends before it would speak to anybody.
    with pytest.raises(SystemExit) as ended:
        app(["listen", *arguments])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    assert words in err


async def test_a_reader_that_has_gone_ends_it_quietly(tmp_path: Path) -> None:
    """`tidings listen … | head` ends with the next line, without a complaint."""
    async with served() as port:
        env = access(port)
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tidings.server", "listen", "all"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "TERM": "dumb", **env},
        )
        assert process.stdout is not None
        assert process.stderr is not None
        err = ""
        try:
            with trio.fail_after(PATIENCE):
                while "listening to" not in err:
                    err += (await process.stderr.receive_some()).decode()
                await process.stdout.aclose()
                async with somebody(port) as publisher:
                    await publisher.publish("all", "message")
                async for data in process.stderr:
                    err += data.decode()
                assert await process.wait() == 0
        finally:
            process.kill()
            await process.stderr.aclose()
        assert "Traceback" not in err
        assert "BrokenPipe" not in err


async def test_a_listener_ends_though_its_reader_does_not_read(tmp_path: Path) -> None:
    """Ctrl-C while a line cannot be written, as into a pager that is not scrolled: 130, as ever."""
    async with served() as port:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tidings.server", "listen", "all"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "TERM": "dumb", **access(port)},
        )
        assert isinstance(process.stdout, trio.lowlevel.FdStream)
        assert process.stderr is not None
        fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        err = ""
        try:
            with trio.fail_after(PATIENCE):
                while "listening to" not in err:
                    err += (await process.stderr.receive_some()).decode()
                async with somebody(port) as publisher:
                    await publisher.publish("all", "message", {"text": "x" * 40_000})
                # From the first byte on it waits for the rest of them to be read.
                assert await process.stdout.receive_some(1)
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 130
                async for data in process.stderr:
                    err += data.decode()
        finally:
            process.kill()
            await process.stdout.aclose()
            await process.stderr.aclose()
        assert "Traceback" not in err
        assert "Fatal" not in err


async def test_figures(tmp_path: Path, here: Commands) -> None:
    """`stats` shows a table, `--json` one object a line, `--watch` looks again until it is ended."""
    async with served() as port:
        env = access(port)
        code, out, _ = await here("stats", env=env)
        assert code == 0
        assert "publications" in out
        _, out, _ = await here("stats", "--json", env=env)
        assert json.loads(out)["publications"] == 0
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tidings.server", "stats", "--json", "--watch", "0.1"],
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "TERM": "dumb", **env},
        )
        assert process.stdout is not None
        try:
            text = ""
            with trio.fail_after(PATIENCE):
                while text.count("\n") < 3:
                    text += (await process.stdout.receive_some()).decode()
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 130
        finally:
            process.kill()
            await process.stdout.aclose()
        assert json.loads(text.splitlines()[2])["version"]


async def _shell(line: str, folder: Path, env: dict[str, str], stdin: bytes = b"") -> tuple[int, str, str]:
    """What a line of shell does, where `tidings` is the command; exit code, standard output, standard error."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [
                "/bin/bash",
                "-c",
                f'tidings() {{ "$PYTHON" -m tidings.server "$@"; }}; set -o pipefail; {line}',
            ],
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "PYTHON": sys.executable, **env},
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.slow  # some processes
async def test_output_that_cannot_be_written(tmp_path: Path, here: Commands) -> None:
    """A reader that has gone is no failure; a full disk, or no standard output at all, is told in one line."""
    async with served() as port:
        env = access(port)
        for line, lines in (
            ("tidings stats --watch 0.1 --json | head -2", 2),
            ("tidings stats --watch 0.1 | head -2", 2),
            ("tidings config | head -1", 1),
        ):
            code, out, err = await _shell(line, tmp_path, env)
            assert (code, len(out.splitlines()), err) == (0, lines, ""), line
        for line, words in (
            ("tidings stats > /dev/full", "No space left"),
            ("tidings publish all >&-", "standard output is closed"),
        ):
            code, out, err = await _shell(line, tmp_path, env)
            assert (code, out, err.count("\n")) == (1, "", 1), (line, err)
            assert err.startswith(f"tidings: cannot write: {words}")
        for line in ("publish all", "stats --watch 0.1 --json", "config"):
            code, _, err = await here(*line.split(), env=env, stdout=Path("/dev/full"))
            assert (code, err.count("\n")) == (1, 1), (line, err)
            assert err.startswith("tidings: cannot write: No space left")


async def test_a_listener_whose_disk_is_full(tmp_path: Path) -> None:
    """It ends with the line that could not be written, with exit 1, and says why without a traceback."""
    options = ("", "--json")
    async with served() as port:
        env = access(port)
        results: dict[str, tuple[int, str, str]] = {}

        async def listen(option: str) -> None:
            results[option] = await _shell(f"tidings listen all {option} > /dev/full", tmp_path, env)

        async with trio.open_nursery() as nursery, somebody(port) as publisher:
            for option in options:
                nursery.start_soon(listen, option)
            with trio.fail_after(PATIENCE):
                while len(results) < len(options):
                    await publisher.publish("all", "news")
                    await trio.sleep(0.1)
    for option, (code, _, err) in results.items():
        assert code == 1, option
        assert err.splitlines()[-1] == "tidings: cannot write: No space left on device"
        assert "Traceback" not in err


@pytest.mark.slow  # some processes
async def test_input_that_is_no_text(tmp_path: Path, here: Commands) -> None:
    """Bytes that are not UTF-8, half characters, and numbers that JSON has not: refused, and not published."""
    async with served() as port:
        env = access(port)
        # A byte that is not UTF-8 comes to a program as half a character.
        for option, given, stdin, words in (
            ("--data", '{"x": "\\ud800"}', b"", "--data: not JSON"),
            ("--data", '{"x": NaN}', b"", "--data: not JSON"),
            ("--data", '{"x": 1e400}', b"", "--data: not JSON"),
            ("--data", '{"x": "\udcff"}', b"", "--data: not JSON"),
            ("--data", "-", b'{"x": "\xff"}', "--data: not JSON"),
            ("--data", "-", b"[" * 100_000, "--data: not JSON"),
            ("--idempotency-key", "\udcff", b"", "--idempotency-key: not UTF-8"),
        ):
            code, out, err = await here("publish", "all", option, given, env=env, stdin=stdin)
            assert (code, out, err.count("\n")) == (1, "", 1), (given, err)
            assert err.startswith(f"tidings: {words}")
        assert await here("listen", "\udcff", env=env) == (1, "", "tidings: channel: not UTF-8\n")
        for line, words in (
            ("--data - <&-", "--data: standard input is closed"),
            ("--data - < /proc/self/mem", "--data: cannot read standard input"),
            ("--event $'\\xff'", "--event: not UTF-8"),
        ):
            code, out, err = await _shell(f"tidings publish all {line}", tmp_path, env)
            assert (code, out, err.count("\n")) == (1, "", 1), (line, err)
            assert err.startswith(f"tidings: {words}")
        code, out, err = await _shell("tidings publish all --data -", tmp_path, env, '{"x":"é"}'.encode())
        assert (code, out, err) == (0, "all 1\n", ""), "the first one"


async def test_refusals_are_readable(tmp_path: Path, here: Commands) -> None:
    """What cannot be done is told on standard error with its cure, exit 1, and nothing on standard output."""
    async with served() as port:
        env = access(port)
        for arguments, words in (
            (["publish", "all", "--data", "[1]"], "JSON object"),
            (["publish", "nonsense"], "channel name"),
            (["publish", "all", "--token", "a.b.c"], "--token"),
            (["publish", "all", "--token", "a", "--api-key", "b"], "not both"),
            (["publish", "all", "--url", "h:1"], "--url"),
            (["listen", "all", "--token", "a.b.c"], "401"),
            (["stats", "--watch", "0"], "--watch"),
            (["publish", "all", "--event", "connected"], "only the server says this"),
            (["publish", "all", "--url", f"https://127.0.0.1:{port}"], "speak TLS"),
        ):
            code, out, err = await here(*arguments, env=env)
            assert (code, out) == (1, ""), (arguments, err)
            assert words in err
            assert "Traceback" not in err
            assert "a.b.c" not in err
            assert "administrator" not in err
    said = {}
    for command in ("listen all", "publish all", "stats"):
        code, _, said[command] = await here(*command.split(), env={})
        assert code == 1
        assert "TIDINGS_TOKEN" in said[command]
    # And the same of a process.
    done = await run("stats", folder=tmp_path, env={})
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said["stats"])


async def test_a_demo_needs_no_token(
    tmp_path: Path, here: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a demo server the commands find its secret; with an API key none is needed."""
    env = {"TIDINGS_AUTH_API_KEYS": '["a-key-that-is-long-enough-for-anybody"]'}
    async with running(*demo(), folder=tmp_path, env=env) as server:
        url = {"TIDINGS_URL": f"ws://127.0.0.1:{server.port}/ws"}
        done = await run("publish", "all", folder=tmp_path, env=url)
        assert (done.returncode, done.stdout) == (0, "all 1\n"), done.stderr
        key = {"TIDINGS_API_KEY": "a-key-that-is-long-enough-for-anybody", **url}
        monkeypatch.chdir(tmp_path / "..")
        for _ in range(2):
            assert await here("publish", "all", "--idempotency-key", "k", env=key) == (0, "all 2\n", "")
