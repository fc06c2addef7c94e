"""Lifespans stand around the connections, tasks beside them; neither can take the server down once it runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import msgspec
import pytest
import structlog.testing
import trio
from support.client import RawClient
from support.site import configured
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.server.app import Server
from tidings.server.config import Server as ServerSection
from tidings.server.extension import App, AppFailed, Call, Push
from tidings.server.extension.running import ENTER_SECONDS, LEAVE_SECONDS, RunningApps
from tidings.server.shutdown import Stop

Events = list[str]


def _noted(name: str, events: Events) -> Callable[[Push], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(push: Push) -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        events.append(f"{name} begins")
        try:
            yield
        finally:
            await trio.lowlevel.checkpoint()
            events.append(f"{name} ends")

    return lifespan


def _apps(events: Events) -> list[App]:
    apps = [App("one"), App("two")]
    apps[0].lifespan(_noted("one", events))
    apps[0].lifespan(_noted("one's second", events))
    apps[1].lifespan(_noted("two", events))
    return apps


def _push() -> Push:
    return Server(configured()).context.push


ENTERED = ["one begins", "one's second begins", "two begins"]
LEFT = ["two ends", "one's second ends", "one ends"]


class Ask(msgspec.Struct):
    """Any payload."""


async def test_lifespans_stand_around_connections_and_tasks(autojump_clock: MockClock) -> None:
    """In order in; tasks; then tasks out, and the lifespans in reverse order, each with its awaits done."""
    events: Events = []
    apps = _apps(events)

    @apps[0].task
    async def task(push: Push) -> None:
        events.append("task begins")
        try:
            await trio.sleep_forever()
        finally:
            events.append("task ends")

    running = RunningApps(apps, _push())
    async with trio.open_nursery() as nursery:
        assert await nursery.start(running.run) is None
        await wait_all_tasks_blocked()
        assert events == [*ENTERED, "task begins"]
        running.end()
        await running.wait_left()
        assert events == [*ENTERED, "task begins", "task ends", *LEFT]


async def test_cancelled_apps_wait_for_the_end_and_leave(autojump_clock: MockClock) -> None:
    """However hard the server is stopped: not before the last connection is gone, and then properly."""
    events: Events = []
    running = RunningApps(_apps(events), _push())
    async with trio.open_nursery() as nursery:
        await nursery.start(running.run)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            assert events == ENTERED
            running.end()
            await running.wait_left()
    assert events == [*ENTERED, *LEFT]


async def test_a_server_cancelled_while_it_begins_leaves_what_has_begun(autojump_clock: MockClock) -> None:
    """Ctrl-C during a lifespan that hangs on its way in: it is given up, the ones before it are left."""
    events: Events = []
    app = App("hanging")

    @app.lifespan
    @asynccontextmanager
    async def hang(push: Push) -> AsyncIterator[None]:
        await trio.Event().wait()
        yield

    running = RunningApps([*_apps(events), app], _push())
    with trio.move_on_after(1) as scope:
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(running.run)
            finally:
                running.end()
    assert scope.cancelled_caught
    assert trio.current_time() == 1
    assert events == [*ENTERED, *LEFT]


async def _fail() -> None:
    raise RuntimeError("no database")


@asynccontextmanager
async def _raises(push: Push) -> AsyncIterator[None]:
    await _fail()
    yield


@asynccontextmanager
async def _raises_in_a_task(push: Push) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_fail)
        await trio.Event().wait()
        yield


@asynccontextmanager
async def _hangs(push: Push) -> AsyncIterator[None]:
    await trio.Event().wait()
    yield


@pytest.mark.parametrize(
    ("lifespan", "why"),
    [
        (_raises, "'_raises' failed to begin: RuntimeError: no database"),
        (_raises_in_a_task, "'_raises_in_a_task' failed to begin: ExceptionGroup"),
        (_hangs, f"'_hangs' did not begin within {ENTER_SECONDS:g} s"),
    ],
)
async def test_a_lifespan_that_does_not_begin_keeps_the_server_from_starting(
    autojump_clock: MockClock, lifespan: Callable[[Push], AbstractAsyncContextManager[None]], why: str
) -> None:
    """`run` raises one readable error naming app and cause, never listens, and leaves the ones before it."""
    events: Events = []
    broken, after = App("broken"), App("after")
    broken.lifespan(lifespan)
    after.lifespan(_noted("after", events))

    @broken.task
    async def task(push: Push) -> None:
        events.append("task begins")

    config = configured(server=ServerSection(port=0))
    server = Server(config, apps=[*_apps(events), broken, after])
    listened = False

    async def run() -> None:
        nonlocal listened
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run, Stop())
            listened = True

    with structlog.testing.capture_logs(), pytest.RaisesGroup(AppFailed) as raised:
        await run()
    told = str(raised.value.exceptions[0])
    assert "app 'broken'" in told
    assert why in told
    assert events == [*ENTERED, *LEFT]
    assert not listened
    assert trio.current_time() in (0, ENTER_SECONDS)


async def test_a_server_may_be_stopped_while_it_begins(autojump_clock: MockClock) -> None:
    """One request to stop is enough while a lifespan hangs on its way in: `run` says so, the others are left."""
    events: Events = []
    hanging = App("hanging")
    hanging.lifespan(_hangs)
    server = Server(configured(server=ServerSection(port=0)), apps=[*_apps(events), hanging])
    stop = Stop()

    async def request() -> None:
        await trio.sleep(1)
        stop.request("test")

    with pytest.RaisesGroup(pytest.RaisesExc(AppFailed, match="stopped before its apps had begun")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await server.run(stop)
    assert trio.current_time() == 1
    assert events == [*ENTERED, *LEFT]


async def test_a_lifespan_that_does_not_end_is_cut(autojump_clock: MockClock) -> None:
    """One that hangs on its way out has LEAVE_SECONDS; that is logged, and the others are left all the same."""
    events: Events = []
    apps = _apps(events)

    @apps[1].lifespan
    @asynccontextmanager
    async def stuck(push: Push) -> AsyncIterator[None]:
        yield
        await trio.sleep_forever()

    @apps[1].lifespan
    @asynccontextmanager
    async def failing(push: Push) -> AsyncIterator[None]:
        yield
        raise RuntimeError("planted")

    running = RunningApps(apps, _push())
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(running.run)
            running.end()
    assert trio.current_time() == LEAVE_SECONDS
    assert events == [*ENTERED, *LEFT]
    assert [(line["event"], line["app"]) for line in logs] == [
        ("lifespan failed", "two"),
        ("lifespan did not end in time", "two"),
    ]


async def test_a_lifespan_may_hold_a_nursery(autojump_clock: MockClock) -> None:
    """What runs in a lifespan's own nursery runs while the server does; when it fails, that is logged."""
    app = App("nursery")

    @app.lifespan
    @asynccontextmanager
    async def lifespan(push: Push) -> AsyncIterator[None]:
        async def fail() -> None:
            await trio.sleep(5)
            raise RuntimeError("planted")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            yield

    running = RunningApps([app], _push())
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            assert await nursery.start(running.run) is None
            await trio.sleep(10)
            assert [(line["event"], line["app"]) for line in logs] == [("lifespan failed", "nursery")]
            running.end()
            with trio.fail_after(1):
                await running.wait_left()


async def test_a_task_that_fails_is_logged_and_no_more(autojump_clock: MockClock) -> None:
    """Its app's name stands in the log; the other tasks go on, those of its own app too."""
    app, beats = App("faulty"), []

    @app.task
    async def failing(push: Push) -> None:
        await trio.sleep(1)
        raise RuntimeError("planted")

    @app.task
    async def failing_in_a_group(push: Push) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failing, push)
            nursery.start_soon(trio.sleep_forever)

    @app.task
    async def ending(push: Push) -> None:
        """End at once, which is no failure."""

    @app.task
    async def beating(push: Push) -> None:
        while True:
            await trio.sleep(1)
            beats.append(push.online_count())

    running = RunningApps([app], _push())
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            assert await nursery.start(running.run) is None
            await trio.sleep(3.5)
            running.end()
    assert beats == [0, 0, 0]
    failed = [(line["event"], line["app"]) for line in logs]
    assert failed == 2 * [("task failed", "faulty")]


async def test_a_server_begins_and_ends_with_its_apps() -> None:
    """On a real port: entered before anybody is served, alive for the last command, left when all are gone."""
    events: Events = []
    app = App("test")
    app.lifespan(_noted("lifespan", events))

    @app.task
    async def greet(push: Push) -> None:
        while not push.is_online("alice"):
            await trio.lowlevel.checkpoint()
        await push.to_user("alice", "greeting", {})

    @app.command("ask", Ask)
    async def ask(call: Call[Ask]) -> None:
        try:
            await call.subscribe("room:r")
            await trio.sleep_forever()
        finally:
            events.append("command ends")

    server = Server(configured(server=ServerSection(port=0, drain_seconds=0)), apps=[app])
    stop = Stop()
    with trio.fail_after(20), structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(partial(server.run, stop))
            assert events == ["lifespan begins"]
            client = RawClient(await trio.open_tcp_stream("127.0.0.1", listening[0].port))
            token = server.context.authenticator.issue("alice", ttl=60)
            await client.handshake(token=token)
            while (await client.receive_json())["type"] != "greeting":
                pass
            assert (await client.command("ask"))["type"] == "subscribed"
            stop.request("test")
        await client.aclose()
    assert events == ["lifespan begins", "command ends", "lifespan ends"]
    assert {"event": "apps", "log_level": "info", "names": ["rooms", "test"]} in logs
