"""A connection's own figures over a real socket."""

import trio
from support.client import RawClient
from support.site import listening_site


class Counting(trio.abc.Stream):
    """A stream that counts what it gives."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.received = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        self.received += len(data)
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_what_went_past_the_outbox_counts_too() -> None:
    """Answers through the outbox and publications past it: as many bytes as the client has got."""
    with trio.fail_after(20):
        async with listening_site() as site:
            stream = Counting(await trio.open_tcp_stream("127.0.0.1", site.port))
            async with stream:
                client = RawClient(stream)
                assert (await client.handshake(token=site.token("alice")))[0] == 101
                assert (await client.receive_json())["type"] == "connected"
                await client.command("join_room", {"room": "r"})
                [connection] = site.server.context.hub.connections_of("alice")
                through = connection.bytes_sent
                for number in range(3):
                    await site.server.context.broker.publish("room:r", "e", b'{"n":%d}' % number)
                    assert (await client.receive_json())["data"] == {"n": number}
                assert connection.bytes_sent == through
                assert connection.connection_stats().bytes_sent == stream.received > through
