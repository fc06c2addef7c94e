"""The client against real servers on real sockets: stopped, started again, behind TLS, and not there."""

import ssl
from pathlib import Path

import msgspec
import pytest
import trio
from support.secure import Certificates
from support.site import configured, listening_site

from tidings.client import (
    Connected,
    Disconnected,
    Event,
    Gap,
    Publication,
    Reconnect,
    Reconnecting,
    Resubscribed,
    connect,
)
from tidings.server.app import Listening, Server
from tidings.server.shutdown import Stop

# Short, so that nobody waits long for a server that is back.
QUICK = Reconnect(base=0.01, cap=0.05)


async def _serve(
    port: int,
    stop: Stop,
    ended: trio.Event,
    *,
    task_status: trio.TaskStatus[tuple[Server, list[Listening]]],
) -> None:
    config = configured()
    section = msgspec.structs.replace(config.server, port=port, drain_seconds=0.2)
    server = Server(msgspec.structs.replace(config, server=section))
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[list[Listening]]) -> None:
            await server.run(stop, task_status=task_status)

        task_status.started((server, await nursery.start(run)))
    ended.set()


@pytest.mark.parametrize("graceful", [True, False])
async def test_a_server_that_is_stopped_and_started(graceful: bool) -> None:
    """Drained or cut off: the client is back by itself on the same port, and hears what is published then."""
    events: list[Event] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            stop, ended = Stop(), trio.Event()
            server, (address, *_) = await nursery.start(_serve, 0, stop, ended)
            provider = server.context.authenticator
            url = address.url("ws")

            def token() -> str:
                issued: str = provider.issue("alice", roles=["admin"], ttl=600)
                return issued

            async with connect(url, token=token, reconnect=QUICK, on_event=events.append) as client:
                feed = await client.subscribe("room:x")
                await client.publish("room:x", "news", {"n": 1})
                first = await anext(feed)
                assert isinstance(first, Publication)
                told = client.events()
                if graceful:
                    stop.request("test")
                else:
                    stop.abort.cancel()
                assert isinstance(await anext(told), Reconnecting)
                await ended.wait()
                stop = Stop()
                server, _ = await nursery.start(_serve, address.port, stop, trio.Event())
                gap = await anext(feed)
                assert isinstance(gap, Gap)
                assert gap.to_offset is None
                await client.publish("room:x", "news", {"n": 2})
                second = await anext(feed)
                assert isinstance(second, Publication)
                assert second.payload == {"n": 2}
                assert second.epoch != first.epoch
            stop.abort.cancel()
    assert len([event for event in events if isinstance(event, Connected)]) == 2
    assert len([event for event in events if isinstance(event, Resubscribed)]) == 1
    lost = next(event for event in events if isinstance(event, Reconnecting))
    assert lost.code == (3001 if graceful else 1006)


async def test_tls(tmp_path: Path) -> None:
    """wss with a certificate that is trusted works; one that is not is the end, in words, and not a retry."""
    certificates = Certificates(tmp_path)
    with trio.fail_after(30):
        async with listening_site(configured(tls=certificates.config)) as site:
            trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            certificates._authority.configure_trust(trusting)
            url = f"wss://127.0.0.1:{site.port}"
            async with connect(url, token=site.token(), ssl_context=trusting) as client:
                await client.ping()
            with pytest.raises(Disconnected, match="certificate"):
                async with connect(url, token=site.token()):
                    raise AssertionError("it must not get in")
            # Speaking TLS to a plain port, and the other way round, is a failed attempt.
            with pytest.raises(Disconnected):
                async with connect(
                    f"ws://127.0.0.1:{site.port}", token=site.token(), reconnect=Reconnect(attempts=0)
                ):
                    raise AssertionError("it must not get in")


async def test_nobody_listens() -> None:
    """A refused connection is told in the system's words."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with trio.fail_after(30), pytest.raises(Disconnected, match="refused"):
            async with connect(f"http://127.0.0.1:{port}", reconnect=Reconnect(attempts=1, base=0.01)):
                raise AssertionError("it must not get in")
