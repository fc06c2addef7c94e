"""What is true of all channels, kept beside the server and over its restarts."""

from collections import defaultdict
from collections.abc import Callable

from tidings.protocol.channels import kind_of
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import IDEMPOTENCY_SECONDS, Attachment, Receipt
from tidings.server.policies import Policies


class Book:
    """Everything that was given to a hub, and what must be kept of it.

    Every life of a channel has a log; what is in none was never published. The server's own books are not asked.
    """

    def __init__(
        self,
        policies: Policies,
        now_ms: Callable[[], int],
        *,
        has_log: bool,
        devices: int,
        device_age: float,
    ) -> None:
        self._policies = policies
        self._now_ms = now_ms
        self._has_log = has_log
        self._most_devices = devices
        self._device_age_ms = int(device_age * 1000)
        self.logs: defaultdict[tuple[str, str], list[Publication]] = defaultdict(list)
        self.heads: dict[str, Position] = {}
        self.epochs: defaultdict[str, list[str]] = defaultdict(list)
        """Every epoch that a channel ever had."""
        self.cleared: dict[str, int] = {}
        self.deleted: dict[str, int] = {}
        """As `cleared`, once whoever asked for it was told: from then on nothing of it may come back."""
        self.clearing: set[str] = set()
        self._maybe_gone: dict[str, int] = {}
        """Of inboxes in the log: up to here all devices had acknowledged, so that rows may go."""
        self.devices: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
        """Of each inbox: what a device has acknowledged, and when it was seen."""
        self._looked: dict[str, int] = {}
        """Of each inbox: where they last began who came without a name while none had acknowledged."""
        self.busy: defaultdict[str, int] = defaultdict(int)
        """Calls about an inbox under way: whoever was first, only the server knows."""
        self.keys: dict[tuple[str, str], tuple[str, bytes, Receipt, int]] = {}
        self.told_present: defaultdict[str, set[str]] = defaultdict(set)
        """Who has joined and not left, by the events."""

    def is_durable(self, channel: str) -> bool:
        """Whether it outlives the process."""
        return self._has_log and self._policies.of(channel).durable

    def restart(self) -> None:
        """The process is gone, and what was in its memory."""
        # What never had a publication has nothing that a new life could be mistaken for.
        gone = [name for name, head in self.heads.items() if not (self.is_durable(name) and head.offset)]
        for channel in gone:
            del self.heads[channel]
            self.cleared.pop(channel, None)
            self.deleted.pop(channel, None)
        for channel in [name for name in self.devices if not self.is_durable(name)]:
            del self.devices[channel]
            self._looked.pop(channel, None)
        # Keys of the log live for their whole time from now on.
        self.keys = {
            where: (*known[:3], self._now_ms())
            for where, known in self.keys.items()
            if self.is_durable(where[0])
        }
        self.busy.clear()
        self.clearing.clear()
        self.told_present.clear()

    # --- positions -----------------------------------------------------------------------------------

    def stands(self, channel: str, position: Position, *, published: int, listened: bool) -> None:
        """The server says where a channel stands: behind what was published, or at the beginning of a new life."""
        before = self.heads.get(channel)
        self.heads[channel] = position
        if before is not None and before.epoch == position.epoch:
            assert position.offset == before.offset + published, (channel, before, position)
            return
        assert position.offset == published, (channel, before, position)
        if before is None and self.is_durable(channel) and position.epoch in self.epochs[channel][-1:]:
            return  # without a publication, and kept for its devices
        assert not listened, f"{channel} began a new life, and somebody listens"
        assert before is None or not self.is_durable(channel), (
            f"{channel} began a new life, and is in the log"
        )
        assert position.epoch not in self.epochs[channel], f"{channel} has an old epoch again"
        self._begin(channel, position.epoch)

    def lost(self, channel: str, position: Position) -> None:
        """Its history is lost on purpose, and it goes on from there."""
        self.heads[channel] = position
        self._begin(channel, position.epoch)

    def _begin(self, channel: str, epoch: str) -> None:
        self.epochs[channel].append(epoch)
        self.cleared.pop(channel, None)
        self.deleted.pop(channel, None)
        self.devices.pop(channel, None)
        self._looked.pop(channel, None)

    def published(self, publication: Publication) -> None:
        """The hub is given it; `stands` was told before."""
        log = self.logs[publication.channel, publication.epoch]
        assert publication.offset == len(log) + 1
        assert not log or publication.time_ms >= log[-1].time_ms
        log.append(publication)

    def between(self, channel: str, epoch: str, after: int, until: int) -> list[Publication]:
        """What was published in (after, until]."""
        return self.logs[channel, epoch][after:until]

    # --- what is kept --------------------------------------------------------------------------------

    def first(self, channel: str) -> tuple[int, int]:
        """From which offset on all must be kept, and before which nothing may be."""
        head = self.heads[channel]
        policy = self._policies.of(channel)
        log = self.logs[channel, head.epoch]
        low = max(1, head.offset - policy.history_size + 1, self.cleared.get(channel, 0) + 1)
        oldest_ms = self._now_ms() - int(policy.history_age * 1000)
        while low <= head.offset and log[low - 1].time_ms < oldest_ms:
            low += 1
        if channel in self.clearing:
            return head.offset + 1, low
        return max(low, self._maybe_gone.get(channel, 0) + 1), low

    # --- devices -------------------------------------------------------------------------------------

    def attach(
        self, channel: str, device: str, found: Attachment | None, *, alone: bool, low: int = 1
    ) -> None:
        """A device came to its inbox; None where there were too many. Nothing before `low` was kept as it came."""
        if alone:
            known = self._room_for(channel, device)
            assert (found is None) == (known is None), (channel, device, found, self.devices[channel])
            if found is not None and known is not None:
                sure, now = self.first(channel)
                low = min(low, now)
                starts = max((acknowledged for acknowledged, _ in known.values()), default=None)
                if device in known:
                    starts = known[device][0]
                assert low <= found.first <= sure or found.position != self.heads[channel], (
                    found,
                    low,
                    sure,
                )
                if starts is None:  # what was pushed out meanwhile, it has not been sent
                    assert low - 1 <= found.acknowledged < found.first, (found, low)
                else:
                    assert found.acknowledged == starts, (found, known)
        if found is not None and (device or device in self.devices[channel]):
            # Without a name nobody is enrolled by coming.
            self.devices[channel][device] = (found.acknowledged, self._now_ms())
            self._forget_rows(channel)
        elif found is not None:
            self._looked[channel] = found.acknowledged

    def acknowledged(
        self, channel: str, device: str, offset: int, reached: int | None, *, alone: bool
    ) -> None:
        """A device has said what it has; None where there were too many."""
        if alone:
            known = self._room_for(channel, device)
            assert (reached is None) == (known is None), (channel, device, reached, self.devices[channel])
            if known is not None:
                before = known.get(device, (0, 0))[0]
                assert reached == max(before, min(offset, self.heads[channel].offset))
        if reached is not None:
            self.devices[channel][device] = (reached, self._now_ms())
            self._forget_rows(channel)

    def detach(self, channel: str, device: str) -> None:
        """It was seen."""
        if device in self.devices[channel]:
            self.devices[channel][device] = (self.devices[channel][device][0], self._now_ms())

    def has(self, channel: str, device: str, *, surely: bool = True) -> int:
        """Up to where a device that has come has everything; not `surely`: as far as calls at once may say."""
        known, looked = self.devices[channel].get(device), self._looked.get(channel, 0)
        if known is None:
            return looked
        return known[0] if device or surely else max(known[0], looked)

    def _room_for(self, channel: str, device: str) -> dict[str, tuple[int, int]] | None:
        known = self.devices[channel]
        if device in known or not device:
            return known
        oldest_ms = self._now_ms() - self._device_age_ms
        known = self.devices[channel] = {name: each for name, each in known.items() if each[1] >= oldest_ms}
        return None if len({*known} - {""}) >= self._most_devices else known

    def _forget_rows(self, channel: str) -> None:
        if self.is_durable(channel):
            least = min(acknowledged for acknowledged, _ in self.devices[channel].values())
            self._maybe_gone[channel] = max(least, self._maybe_gone.get(channel, 0))

    # --- keys and members ----------------------------------------------------------------------------

    def known_key(self, channel: str, key: str) -> tuple[str, bytes, Receipt] | None:
        """What was published under a key that must still be known."""
        known = self.keys.get((channel, key))
        if known is None or self._now_ms() - known[3] >= (IDEMPOTENCY_SECONDS - 1) * 1000:
            return None
        return known[:3]

    def is_key_free(self, channel: str, key: str) -> bool:
        """Whether a key must not be known any more."""
        known = self.keys.get((channel, key))
        return known is None or self._now_ms() - known[3] > (IDEMPOTENCY_SECONDS + 1) * 1000

    def came_or_went(self, publication: Publication) -> None:
        """Whoever joins was not there, whoever leaves was."""
        if publication.event not in ("joined", "left") or publication.offset:
            return
        there = self.told_present[publication.channel]
        assert publication.user_id is not None
        assert (publication.user_id in there) == (publication.event == "left"), publication
        there ^= {publication.user_id}

    def is_inbox(self, channel: str) -> bool:
        """Whether it is a user's own, and kept."""
        return kind_of(channel) == "user" and self._policies.is_inbox(channel)
