"""A subscriber behind a real outbox and a scripted kernel: it reads as much as a test lets it."""

from typing import Any

from support.fakes import JSON, Kernel, Listener, decode_frame, split_frames
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Dialect
from tidings.server.delivery.outbox import Outbox


class Reader(Listener):
    """Has `room` bytes of kernel buffer (None: reads all at once), and notes why it was closed."""

    def __init__(
        self,
        user_id: str = "alice",
        *,
        limit: int = 65536,
        room: int | None = None,
        dialect: Dialect = JSON,
    ) -> None:
        super().__init__(dialect, user_id)
        self.kernel = Kernel(room)
        self.closed: CloseCode | None = None
        self.outbox = Outbox(
            limit,
            send=self.kernel.send,
            on_overflow=lambda: self._record(CloseCode.SLOW_CONSUMER),
            on_broken=lambda: self._record(CloseCode.ABNORMAL),
        )
        self.is_queueing = True
        """So that nothing goes past the outbox."""

    def offer(self, data: bytes) -> None:
        """As a connection does."""
        self.outbox.offer(data)

    @property
    def has_room(self) -> bool:
        """As a connection does."""
        return self.outbox.has_room

    @has_room.setter
    def has_room(self, _value: bool) -> None:
        """Nobody decides it but the outbox."""

    async def wait_room(self) -> None:
        """As a connection does."""
        await self.outbox.wait_room()

    def read(self, count: int) -> None:
        """Read so many bytes."""
        assert self.kernel.room is not None
        self.kernel.room += count
        self.outbox.flush()

    def close(self, code: CloseCode, reason: str | None = None) -> bool:  # noqa: ARG002  as the hub sees it
        """Note the first."""
        if self.closed is not None:
            return False
        self._record(code)
        self.outbox.discard()
        return True

    @property
    def messages(self) -> list[Any]:
        """Every message of which the whole has come."""
        data = bytes(self.kernel.received)
        while data:
            try:
                return [decode_frame(frame) for frame in split_frames(data)]
            except (AssertionError, IndexError):
                data = data[:-1]
        return []

    def _record(self, code: CloseCode) -> None:
        if self.closed is None:
            self.closed = code
