"""One of the drill's clients: `tidings.client` as applications use it, on a line that can be cut."""

import ssl
import time
from collections.abc import Sequence

import trio

from tidings.bench.resume_ledger import Announced, Handed, Sheet, Stream
from tidings.client import (
    Address,
    Client,
    ClientError,
    Connected,
    Event,
    Gap,
    Publication,
    Reconnect,
    Reconnecting,
    Resubscribed,
    connect,
)
from tidings.server.testing.faults import FaultyStream

# Back soon, so that a minute holds many returns; what the server survives of that, it survives of less.
RECONNECT = Reconnect(base=0.2, cap=2.0, stable=1.0)

# A burst after an absence: nothing of it may be dropped here, where it would look like the server's loss.
QUEUE = 20_000


class DrillClient:
    """Subscribes to its channels once, and notes in streams all that it is handed of each."""

    def __init__(
        self, name: str, source: str, user: str, device: str, channels: Sequence[str], sheet: Sheet
    ) -> None:
        """Take the address of this machine to connect from, and the channels beside the user's own."""
        self.name = name
        self.user = user
        self.is_connected = False
        self.connections = 0
        """Times that everything was subscribed to."""
        self.connected_at = 0.0
        """`time.monotonic()` of the last of them."""
        self.recovered = 0
        """Channels that went on from where they stood, of all returns."""
        self.unrecovered = 0
        """Channels that did not, and said so."""
        self.replayed = 0
        """Publications that came after all, at most."""
        self._source = source
        self._device = device
        self._sheet = sheet
        self._line: FaultyStream | None = None
        self.streams = [Stream(name, channel, []) for channel in (f"user:{user}", *channels)]
        sheet.streams += self.streams

    async def live(
        self,
        url: str,
        token: str,
        tls: ssl.SSLContext | None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Connect, subscribe, and read until cancelled; started when it has subscribed to everything."""

        async def dial(address: Address) -> trio.abc.Stream:
            tcp = await trio.open_tcp_stream(address.host, address.port, local_address=self._source)
            line = FaultyStream(tcp)
            if tls is None:
                self._line = line
                return line
            stream = trio.SSLStream(line, tls, server_hostname=address.host, https_compatible=True)
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            self._line = line
            return stream

        try:
            async with (
                connect(
                    url,
                    token=token,
                    device=self._device,
                    reconnect=RECONNECT,
                    dial=dial,
                    on_event=self._told,
                    queue=QUEUE,
                ) as client,
                trio.open_nursery() as nursery,
            ):
                for stream in self.streams:
                    await nursery.start(self._read, client, stream)
                task_status.started()
        except* ClientError as errors:
            self._sheet.faults.extend(
                f"{self.name}: {type(error).__name__}: {error}" for error in errors.exceptions
            )

    def silence(self) -> FaultyStream | None:
        """Let nothing pass any more on the present line, which is returned; None where there is none."""
        if self.is_connected and self._line is not None:
            self._line.stall()
            return self._line
        return None

    async def cut(self, *, reset: bool) -> bool:
        """Cut the present line, with RST or with FIN; whether there was one."""
        line = self._line if self.is_connected else None
        if line is None:
            return False
        await (line.reset() if reset else line.drop())
        return True

    async def _read(self, client: Client, stream: Stream, *, task_status: trio.TaskStatus[None]) -> None:
        items = stream.items
        async with await client.subscribe(stream.channel) as subscription:
            task_status.started()
            async for item in subscription:
                if isinstance(item, Publication):
                    items.append(Handed(item.epoch, item.offset, item.raw))
                else:
                    assert isinstance(item, Gap)
                    items.append(Announced(item.from_offset, item.to_offset, item.epoch, time.monotonic()))

    def _told(self, event: Event) -> None:
        if isinstance(event, Connected):
            self.is_connected = True
            self.connections += 1
            self.connected_at = time.monotonic()
        elif isinstance(event, Reconnecting):
            self.is_connected = False
        elif isinstance(event, Resubscribed):
            self.recovered += len(event.recovered)
            self.unrecovered += len({gap.channel for gap in event.lost})
            self.replayed += sum(each.to_offset - each.from_offset + 1 for each in event.recovered)
