"""Where the client stands in each channel, and what it has missed. Pure: no waiting, no clock."""

import msgspec

from tidings.client.publications import Gap


class Seen(msgspec.Struct, frozen=True):
    """The last publication of a channel that was handed over, or the position that the server told."""

    epoch: str | None
    """None until the server has told it: publications alone do not."""
    offset: int


class Positions:
    """The last position of each channel."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}

    @property
    def channels(self) -> list[str]:
        """The channels of which anything was heard."""
        return list(self._seen)

    def epoch(self, channel: str) -> str | None:
        """The epoch a channel is in, as far as it is known."""
        seen = self._seen.get(channel)
        return None if seen is None else seen.epoch

    def forget(self, channel: str) -> None:
        """Nothing more is heard of a channel, so that nothing of it can be missed."""
        self._seen.pop(channel, None)

    def told(self, channel: str, epoch: str, offset: int, *, first: int | None = None) -> Gap | None:
        """The server told where a channel stands: what was missed before `first`.

        `first` is the offset of the next publication that will be handed over, where that lies before
        the position told; else it is the one after it.
        """
        upcoming = offset + 1 if first is None else min(first, offset + 1)
        last = self._seen.get(channel)
        self._seen[channel] = Seen(epoch, upcoming - 1)
        if last is None:
            return None
        # [1, 2, 3] was heard, the state was lost, and 5 stands there now: 4 is not what was missed.
        if upcoming <= last.offset if last.epoch is None else last.epoch != epoch:
            return Gap(channel, last.offset + 1, None, epoch)
        if upcoming <= last.offset:
            # Handed over already: `passes` keeps what comes again out.
            self._seen[channel] = Seen(epoch, last.offset)
            return None
        return self._missing(channel, last.offset, upcoming, epoch)

    def passes(self, channel: str, offset: int, epoch: str | None = None) -> tuple[bool, Gap | None]:
        """Whether a publication is new, and what was missed before it; it counts as handed over."""
        last = self._seen.get(channel)
        known = epoch if epoch is not None else None if last is None else last.epoch
        if last is None:
            self._seen[channel] = Seen(known, offset)
            return True, None
        if offset <= last.offset if last.epoch is None else known != last.epoch:
            self._seen[channel] = Seen(known, offset)
            return True, Gap(channel, last.offset + 1, None, known)
        if offset <= last.offset:
            return False, None
        self._seen[channel] = Seen(known, offset)
        return True, self._missing(channel, last.offset, offset, known)

    def skipped(self, channel: str, offset: int) -> Gap | None:
        """Everything up to `offset` came and was not handed over."""
        last = self._seen.get(channel)
        if last is None:
            return None
        self._seen[channel] = Seen(last.epoch, max(offset, last.offset))
        return self._missing(channel, last.offset, offset + 1, last.epoch)

    @staticmethod
    def _missing(channel: str, last: int, upcoming: int, epoch: str | None) -> Gap | None:
        return Gap(channel, last + 1, upcoming - 1, epoch) if upcoming > last + 1 else None
