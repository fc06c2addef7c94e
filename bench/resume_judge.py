"""Whether a drill's ledger balances: what was acknowledged, held against what every client was handed. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from tidings.bench.resume_ledger import Accepted, Announced, Handed, Sheet, Stream, read

# Findings told in words, of each kind; the rest are counted.
TOLD = 5

#: What can be wrong, and the promise that it breaks.
PROMISES = {
    "gap": "durable channels: no gap at any client, announced or not",
    "repeated": "every channel: nothing was handed over twice in an epoch",
    "order": "every channel: order kept at every client",
    "bytes": "the same (epoch, offset) has the same bytes, as published, at every client and in the history",
    "stranger": "at each position is what was acknowledged for it, and in durable channels nothing else",
    "promised": "durable channels: each acknowledgement says `disk`, in the one epoch that the channel has",
    "kept": "durable channels: every acknowledged publication is in the history, once, at its position",
    "silent": "memory channels: no silent gap, within an epoch or between two",
    "announced": "memory channels: what was announced as missed is exactly what did not come",
    "fault": "no client lost its subscription, overflowed or gave up",
}

Positions = dict[tuple[str, str | None, int], Accepted]


class Findings:
    """What is wrong, by kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.told: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, text: str, count: int = 1) -> None:
        """Note something that breaks the promise of `kind`."""
        assert kind in PROMISES, kind
        self.counts[kind] += count
        if len(self.told[kind]) < TOLD:
            self.told[kind].append(text)

    def __str__(self) -> str:
        return "; ".join(f"{kind} ({self.counts[kind]}): {told[0]}" for kind, told in self.told.items())


def judge(sheet: Sheet) -> Findings:
    """Everything that is wrong with a ledger. Every stream must have been subscribed from the beginning."""
    findings = Findings()
    for fault in sheet.faults:
        findings.add("fault", fault)
    positions: Positions = {}
    for accepted in sheet.accepted:
        at = (accepted.channel, accepted.epoch, accepted.offset)
        if at in positions:
            findings.add("stranger", f"{at}: acknowledged for {positions[at].id} and for {accepted.id}")
        positions[at] = accepted
    by_channel: defaultdict[str, list[Accepted]] = defaultdict(list)
    for accepted in sheet.accepted:
        by_channel[accepted.channel].append(accepted)
    _acknowledgements(sheet, by_channel, findings)
    _contents(sheet, positions, findings)
    for stream in sheet.streams:
        accepted_here = by_channel[stream.channel]
        if stream.channel in sheet.durable:
            _durable(stream, accepted_here, findings)
        else:
            _volatile(stream, positions, accepted_here, findings)
    for channel, kept in sheet.kept.items():
        _kept(channel, kept, by_channel[channel], findings)
    return findings


def _acknowledgements(
    sheet: Sheet, by_channel: defaultdict[str, list[Accepted]], findings: Findings
) -> None:
    """What was promised, and that no publication was given two positions."""
    for channel in sheet.durable:
        epochs = {accepted.epoch for accepted in by_channel[channel]}
        if len(epochs) > 1 or None in epochs:
            findings.add("promised", f"{channel}: epochs {sorted(map(str, epochs))}")
        for accepted in by_channel[channel]:
            if accepted.durability != "disk":
                findings.add(
                    "promised", f"{channel}: {accepted.offset}: acknowledged as {accepted.durability}"
                )
    ids = Counter(accepted.id for accepted in sheet.accepted)
    for each, count in ids.items():
        if count > 1:
            findings.add("stranger", f"{each}: acknowledged {count} times")


def _contents(sheet: Sheet, positions: Positions, findings: Findings) -> None:
    """What is at each position, wherever it was seen."""
    seen: dict[tuple[str, str | None, int], bytes] = {}
    everywhere = [(stream.client, stream.channel, stream.handed) for stream in sheet.streams]
    everywhere += [("the history", channel, kept) for channel, kept in sheet.kept.items()]
    for who, channel, handed in everywhere:
        for item in handed:
            at = (channel, item.epoch, item.offset)
            before = seen.setdefault(at, item.raw)
            if before is item.raw:
                _content(sheet, at, item.raw, positions.get(at), findings)
            elif before != item.raw:
                findings.add("bytes", f"{who}: {at}: {item.raw[:80]!r} instead of {before[:80]!r}")


def _content(
    sheet: Sheet,
    at: tuple[str, str | None, int],
    raw: bytes,
    accepted: Accepted | None,
    findings: Findings,
) -> None:
    """One position. What a killed server did not come to acknowledge may be there in memory channels alone."""
    payload = read(raw)
    found = payload.id
    if payload.text != sheet.text:
        findings.add("bytes", f"{at}: not what was published: {raw[:80]!r}")
    elif accepted is not None and accepted.id != found:
        findings.add("stranger", f"{at}: {found or raw[:80]!r}, acknowledged was {accepted.id}")
    elif found not in sheet.tried:
        findings.add("stranger", f"{at}: {found or raw[:80]!r} was never published")
    elif accepted is None and at[0] in sheet.durable:
        findings.add("stranger", f"{at}: {found} was published, but not acknowledged for this position")


def _durable(stream: Stream, accepted: Sequence[Accepted], findings: Findings) -> None:
    """One client must have been handed every publication, once, in order, and be told of no gap."""
    who = f"{stream.client}: {stream.channel}"
    for gap in stream.gaps:
        findings.add("gap", f"{who}: announced {gap.first} to {gap.last} in {gap.epoch}")
    wanted = {(each.epoch, each.offset) for each in accepted}
    epoch = accepted[0].epoch if accepted else None
    # Offsets are given without a hole: one that nobody was told of would be a loss that nobody can see.
    wanted |= {(epoch, offset) for offset in range(1, _head(accepted) + 1)}
    seen: set[tuple[str | None, int]] = set()
    highest = 0
    for item in stream.handed:
        at = item.epoch, item.offset
        if item.epoch != epoch:
            findings.add("promised", f"{who}: {item.offset} in epoch {item.epoch}, not {epoch}")
        if at in seen:
            findings.add("repeated", f"{who}: {item.offset}")
        elif item.offset < highest:
            findings.add("order", f"{who}: {item.offset} behind {highest}")
        seen.add(at)
        highest = max(highest, item.offset)
    if missing := sorted(offset for _, offset in wanted - seen):
        findings.add("gap", f"{who}: never came: {missing[:5]}", len(missing))


def _head(accepted: Sequence[Accepted]) -> int:
    return max((each.offset for each in accepted), default=0)


class _Cursor:
    """Where a client stands in a channel whose epochs end with the server."""

    def __init__(self, stream: Stream, positions: Positions, findings: Findings) -> None:
        self.epoch: str | None = None
        self.upcoming: int | None = 1
        """The next offset; None right behind the announcement of a new epoch."""
        self._told_at = 0.0
        self._who = f"{stream.client}: {stream.channel}"
        self._channel = stream.channel
        self._positions = positions
        self._findings = findings
        self._handed: set[tuple[str | None, int]] = set()

    def announced(self, gap: Announced) -> None:
        if self.upcoming is not None and gap.first > self.upcoming:
            self._add(
                "silent", f"{self.upcoming} to {gap.first - 1}, before the gap announced at {gap.first}"
            )
        elif self.upcoming is not None and gap.first < self.upcoming:
            self._add("announced", f"{gap.first} announced as missed, and handed over before")
        if gap.last is None:
            self.epoch, self.upcoming, self._told_at = gap.epoch, None, gap.at
            return
        if self.epoch is not None and gap.epoch != self.epoch:
            self._add("silent", f"epoch {self.epoch} became {gap.epoch}")
        self.epoch, self.upcoming = gap.epoch, gap.last + 1

    def handed(self, item: Handed) -> None:
        at = item.epoch, item.offset
        if at in self._handed:
            self._add("repeated", f"{at}")
            return
        self._handed.add(at)
        if self.epoch is None:
            self.epoch = item.epoch
        if item.epoch is None or item.epoch != self.epoch:
            self._add("silent", f"epoch {self.epoch} became {item.epoch} at {item.offset}")
            self.epoch, self.upcoming = item.epoch, None
        elif self.upcoming is None:
            self._after_announcement(item.offset)
        elif item.offset > self.upcoming:
            self._add("silent", f"{self.upcoming} to {item.offset - 1} in {self.epoch}")
        elif item.offset < self.upcoming:
            self._add("order", f"{item.offset} in {self.epoch}, where {self.upcoming} was to come")
        self.upcoming = max(self.upcoming or 0, item.offset + 1)

    def end(self, last: Accepted | None) -> None:
        """Hold it against the channel's newest publication."""
        if last is None:
            return
        if self.epoch != last.epoch:
            self._add("silent", f"in epoch {self.epoch} still, the channel is in {last.epoch}")
        elif self.upcoming is None or self.upcoming <= last.offset:
            self._add("silent", f"{self.upcoming} to {last.offset} in {self.epoch} never came")

    def _after_announcement(self, offset: int) -> None:
        """What was lost before the new epoch was told can be nothing that was published after it was told."""
        for earlier in range(1, offset):
            accepted = self._positions.get((self._channel, self.epoch, earlier))
            if accepted is not None and accepted.begun > self._told_at:
                self._add("silent", f"{earlier} in {self.epoch}, published after that epoch was told")

    def _add(self, kind: str, text: str) -> None:
        self._findings.add(kind, f"{self._who}: {text}")


def _volatile(
    stream: Stream, positions: Positions, accepted: Sequence[Accepted], findings: Findings
) -> None:
    """One client's publications and gaps must cover all that there was in the epochs that it knew."""
    cursor = _Cursor(stream, positions, findings)
    for item in stream.items:
        if isinstance(item, Announced):
            cursor.announced(item)
        else:
            cursor.handed(item)
    newest = max(accepted, key=lambda each: each.begun, default=None)
    if newest is not None:
        newest = max(
            (each for each in accepted if each.epoch == newest.epoch), key=lambda each: each.offset
        )
    cursor.end(newest)


def _kept(channel: str, kept: list[Handed], accepted: Sequence[Accepted], findings: Findings) -> None:
    """A durable channel's history: every offset, in order; what is at each, `_contents` says."""
    found = [(str(item.epoch), item.offset) for item in kept]
    expected = sorted({(str(each.epoch), each.offset) for each in accepted})
    if found != expected:
        odd = sorted(set(found).symmetric_difference(expected))
        findings.add(
            "kept", f"{channel}: {len(found)} kept of {len(expected)}, {odd[:5]}", max(len(odd), 1)
        )
