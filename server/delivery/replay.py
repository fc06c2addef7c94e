"""Sending a subscriber what it missed, at the pace at which it takes it, and then letting it go live."""

from collections.abc import Callable, Sequence

import trio

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.delivery.encoding import position_frames
from tidings.server.delivery.fanout import FLUSH_BYTES, Subscriber
from tidings.server.delivery.history import Histories
from tidings.server.delivery.hold import Hold
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.recent import Entry

#: Whether a publication is not for this subscriber: its position is told, and nothing else of it.
Skips = Callable[[Publication], bool]


class Replay:
    """One subscriber's way from an earlier position into the live channel.

    Three stretches, in order: the pages of the history up to the cut, what came meanwhile, live. Each piece is
    given to the outbox when at most half of that waits, and is at most a quarter of it: so a replay alone
    never makes a slow consumer (3008) of one that reads at all.
    """

    def __init__(
        self,
        hub: Hub,
        histories: Histories,
        subscriber: Subscriber,
        hold: Hold,
        since: int,
        *,
        piece_bytes: int,
        skips: Skips,
    ) -> None:
        """Take where the subscriber stands, and a quarter of its outbox's limit in bytes."""
        self._hub = hub
        self._histories = histories
        self._subscriber = subscriber
        self._hold = hold
        hold.sent = since
        self._piece_bytes = min(piece_bytes, FLUSH_BYTES)
        self._skips = skips
        self._scope = trio.CancelScope()

    async def first_page(self) -> Sequence[Entry] | None:
        """The first page of what was missed, empty where nothing was; None where it cannot all be had.

        Raises BrokerUnavailable.
        """
        return await self._page() if self._hold.sent < self._hold.head.offset else ()

    def begin(self, page: Sequence[Entry]) -> bool:
        """Send a page, and whatever else can be sent at once; whether the subscriber is live now. No await."""
        for piece, offset in self._pieces(page):
            if not self._subscriber.has_room:
                return False  # `run` goes on from here
            self._send(piece, offset)
        return self._finish()

    def skip(self) -> bool:
        """Let the subscriber go on from the cut, sent nothing of what it missed. As `begin`."""
        self._hold.sent = self._hold.head.offset
        return self._finish()

    async def run(self) -> None:
        """Send the rest and go live; or close the subscriber with 3010 where the rest cannot be had any more.

        Returns as soon as the subscription ends. Cancelled, the subscriber stays held back: for whoever ends it.
        """
        hold = self._hold
        hold.on_over = self._scope.cancel
        with self._scope:
            while hold.sent < hold.head.offset:
                page = await self._page()
                # It may have ended before this began, too, and its channel with it.
                if self._is_over():
                    return
                if page is None:
                    self._subscriber.close(CloseCode.INSUFFICIENT_STATE)
                    return
                # What is at hand and has room costs no wait: the others must have their turn all the same.
                await trio.lowlevel.checkpoint()
                for piece, offset in self._pieces(page):
                    await self._subscriber.wait_room()
                    # No await between the two: the subscription may have ended while this waited.
                    if self._is_over():
                        return
                    self._send(piece, offset)
            while not self._hub.join(self._subscriber, hold):
                if self._is_over():
                    return
                await trio.lowlevel.checkpoint()
                await self._subscriber.wait_room()
                self._offer_held()

    def _send(self, piece: bytes, offset: int) -> None:
        # Of what the dialect has no message for nothing is offered, not even an empty piece, and it is passed.
        if piece:
            self._subscriber.offer(piece)
        self._hold.sent = offset

    def _is_over(self) -> bool:
        """Whether nothing more is to be sent: the subscription has ended, or cannot be caught up with."""
        return self._hold.is_over or self._hold.is_lost

    async def _page(self) -> Sequence[Entry] | None:
        hold = self._hold
        return await self._histories.page(hold.channel, hold.head.epoch, hold.sent, hold.head.offset)

    def _finish(self) -> bool:
        hold = self._hold
        if hold.sent < hold.head.offset:
            return False
        if self._hub.join(self._subscriber, hold):
            return True
        # What came meanwhile, and with the first try what was still pending.
        if hold.bytes <= self._piece_bytes and self._subscriber.has_room:
            self._offer_held()
        return self._hub.join(self._subscriber, hold)

    def _offer_held(self) -> None:
        frames = self._hold.take(self._piece_bytes)
        if frames:
            self._subscriber.offer(b"".join(frames))

    def _pieces(self, page: Sequence[Entry]) -> list[tuple[bytes, int]]:
        """A page as pieces for the outbox, each with the offset that the subscriber is at behind it."""
        dialect, framing = self._subscriber.dialect, self._subscriber.framing
        pieces: list[tuple[bytes, int]] = []
        frames: list[bytes] = []
        size = 0
        for entry in page:
            publication = entry.publication
            if self._skips(publication):
                position = Position(publication.epoch, publication.offset)
                told = position_frames(dialect, framing, publication.channel, position, publication.time_ms)
                frame = b"".join(told)
            else:
                frame = entry.frame(dialect, framing)
            if frames and size + len(frame) > self._piece_bytes:
                pieces.append((b"".join(frames), publication.offset - 1))
                frames, size = [], 0
            frames.append(frame)
            size += len(frame)
        if frames:
            pieces.append((b"".join(frames), page[-1].publication.offset))
        return pieces
