"""Telling the server what of the inbox has been dealt with, so that it is kept no longer."""

from collections.abc import Callable
from typing import Literal

import trio

from tidings.client.errors import CommandRefused
from tidings.client.events import NotAcknowledged
from tidings.client.inflow import Inflow
from tidings.client.link import ANSWER_SECONDS, PASSING, Link, Lost
from tidings.client.publications import Publication
from tidings.protocol.positions import Position

Acknowledge = Literal["auto", "manual"]
"""Who says that a publication of the inbox is dealt with: whoever takes the next one, or `Client.ack`."""

# What is dealt with is told after so many publications, or so many seconds, whichever comes first. A client
# that is killed meanwhile gets so many again.
ACK_EVERY = 100
ACK_SECONDS = 1.0

# Before an acknowledgement that was refused for now is tried again, unless the server names another time.
RETRY_SECONDS = 1.0


class Acknowledgements:
    """Acknowledges the inbox: one command at a time, always for the newest offset.

    Nothing depends on any single one of them: what was lost with a connection is told on the next one. The
    server takes no more than it has sent on the connection: what was dealt with before comes again there, is
    handed to nobody, and is acknowledged as it comes.
    """

    def __init__(self, inflow: Inflow, tell: Callable[[NotAcknowledged], None], *, automatic: bool) -> None:
        """Take what comes, whom to tell of a refusal that is final, and whether what is finished is meant."""
        self._inflow = inflow
        self._tell_event = tell
        self._automatic = automatic
        self._confirmed: Position | None = None
        """Up to where the server knows; None where it serves no inbox."""
        self._wanted = 0
        """The offset that the application has named, in the epoch of `_confirmed`."""
        self._finished = 0
        """Publications that were dealt with since the last command, or came again."""
        self._ahead = 0
        """Up to where is dealt with what has not come on this connection; 0 for nothing."""
        self._hurry = False
        """Whether somebody waits, so that there is nothing to wait for."""
        self._running = False
        self._refusal: CommandRefused | None = None
        self._end: Callable[[], Exception] | None = None
        self._changed = trio.Event()
        inflow.on_finished = self._on_finished
        inflow.on_arrived = self._on_arrived

    def begin(self, position: Position | None) -> None:
        """A new connection: the server has this for acknowledged; None where it serves no inbox."""
        self._stand(position)
        self._refusal = None
        # What the last connection did not get through.
        self._hurry = True
        self._change()

    def _stand(self, position: Position | None) -> None:
        """The server has this for acknowledged."""
        if position is None or self._confirmed is None or self._confirmed.epoch != position.epoch:
            self._wanted = 0
        self._confirmed = position
        self._ahead = 0

    def end(self, error: Callable[[], Exception]) -> None:
        """The client ends: whoever waits gets `error`."""
        self._end = error
        self._change()

    async def acknowledge(self, publication: Publication) -> None:
        """Wait until the server knows that everything up to a publication of the inbox is dealt with.

        Raises ValueError for a publication of another channel, CommandRefused, Disconnected. Returns at once
        where no inbox is kept, and for a publication of an epoch that is over. Cancelled, it is told all the
        same. Idempotent.
        """
        await trio.lowlevel.checkpoint()
        if self._confirmed is None or publication.offset == 0:
            return
        if publication.channel != self._inflow.inbox:
            raise ValueError(
                f"{publication.channel}: only what comes on {self._inflow.inbox} waits to be acknowledged"
            )
        self._wanted = max(self._wanted, publication.offset if self._is_current(publication) else 0)
        self._hurry = True
        self._change()
        while self._is_current(publication) and self._confirmed.offset < publication.offset:
            if self._refusal is not None:
                raise self._refusal
            if self._end is not None:
                raise self._end()
            await self._changed.wait()

    async def flush(self) -> None:
        """Tell at once what is dealt with, and wait for the answer; returns where there is nobody to tell."""
        self._hurry = True
        self._change()
        while self._running and self._due() is not None:
            await self._changed.wait()

    async def run(self, link: Link) -> None:
        """Acknowledge, as long as a connection lives and the server takes it."""
        self._running = True
        try:
            while True:
                await self._something()
                offset = self._due()
                self._finished, self._hurry = 0, False
                if offset is not None and not await self._tell(link, offset):
                    return
        finally:
            self._running = False
            self._change()

    async def _something(self) -> None:
        """Wait until there is something to tell, and then a little for more of it."""
        while not (self._hurry or self._finished):
            await self._changed.wait()
        with trio.move_on_after(ACK_SECONDS):
            while not (self._hurry or self._finished >= ACK_EVERY):
                await self._changed.wait()

    async def _tell(self, link: Link, offset: int) -> bool:
        """Give one command; whether to go on."""
        assert self._confirmed is not None
        epoch, pause = self._confirmed.epoch, RETRY_SECONDS
        with trio.move_on_after(ANSWER_SECONDS):
            try:
                await link.ask("ack", {"channel": self._inflow.inbox, "offset": offset})
            except Lost:
                return False
            except CommandRefused as refusal:
                if refusal.code not in PASSING:
                    self._refusal = refusal
                    self._tell_event(NotAcknowledged(offset, refusal))
                    return False
                pause = max(pause, refusal.retry_after or 0.0)
            else:
                if self._is_current_epoch(epoch):
                    self._confirmed = Position(epoch, offset)
                self._change()
                return True
        await trio.sleep(pause)
        self._finished += 1
        return True

    def _is_current(self, publication: Publication) -> bool:
        """Whether its offset means anything to the server as it is now."""
        return self._is_current_epoch(publication.epoch)

    def _is_current_epoch(self, epoch: str | None) -> bool:
        return self._confirmed is not None and self._confirmed.epoch == epoch

    def _due(self) -> int | None:
        """The offset to acknowledge; None where the server knows everything that it takes."""
        arrived = self._inflow.arrived
        if self._confirmed is None or self._inflow.inbox is None or arrived is None:
            return None
        offset = self._wanted
        if self._automatic:
            handled = self._inflow.handled(self._inflow.inbox)
            if handled is not None and handled.epoch == self._confirmed.epoch:
                offset = max(offset, handled.offset)
        self._ahead = offset if offset > arrived.offset else 0
        offset = min(offset, arrived.offset)
        return offset if offset > self._confirmed.offset else None

    def _on_arrived(self) -> None:
        arrived = self._inflow.arrived
        if self._confirmed is None or arrived is None:
            return
        if arrived.epoch != self._confirmed.epoch:
            # The inbox has begun anew under way: what was dealt with before says nothing of what comes now.
            self._stand(arrived)
            self._change()
        elif self._ahead:
            if arrived.offset >= self._ahead:
                self._ahead, self._hurry = 0, True
                self._change()
            else:
                self._on_finished()

    def _on_finished(self) -> None:
        self._finished += 1
        if self._finished in (1, ACK_EVERY):
            self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
