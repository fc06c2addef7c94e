"""What a position says about a history: what was missed, and whether all of it can be had. Pure."""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, TypeVar

import msgspec

from tidings.protocol.positions import Position


class Offset(Protocol):
    """Whatever has a place in a channel."""

    @property
    def offset(self) -> int:
        """The first publication has 1."""


T = TypeVar("T", bound=Offset)


class Hole(msgspec.Struct, frozen=True):
    """Offsets that are missing from a sequence."""

    first: int
    last: int


Verdict = Literal["recoverable", "epoch", "ahead", "negative", "trimmed"]
"""Whether a client can go on from a position, or why not: its epoch is over, the channel was never there, no
channel ever was, or what it has missed is no longer kept."""


def judge(since: Position, head: Position, first: int) -> Verdict:
    """Whether everything after `since` up to `head` is kept, where `first` is the oldest offset kept.

    `first` is `head.offset + 1` where nothing is kept: then a position at the head can still be gone on from.
    """
    if since.offset < 0:
        return "negative"
    if since.epoch != head.epoch:
        return "epoch"
    if since.offset > head.offset:
        return "ahead"
    return "recoverable" if first <= since.offset + 1 else "trimmed"


def missing(offsets: Iterable[Offset], since: int, until: int) -> Hole | None:
    """The first hole in what should be every offset of (since, until], in order; None where there is none.

    Whatever does not rise by one is a hole: also a repetition, or an offset from outside.
    """
    upcoming = since + 1
    for item in offsets:
        if item.offset != upcoming:
            return Hole(upcoming, max(upcoming, item.offset - 1))
        upcoming += 1
    return Hole(upcoming, until) if upcoming <= until else None


def cut(items: Sequence[T], since: int, until: int) -> list[T]:
    """Of items in order, those of (since, until]: what lies before was heard, what lies behind comes live."""
    return [item for item in items if since < item.offset <= until]


def merge(replayed: Sequence[T], live: Sequence[T]) -> list[T]:
    """What was read and what came meanwhile, each offset once, in order.

    Both must be in order. Where both have an offset, they have the same bytes, so either will do.
    """
    last = replayed[-1].offset if replayed else 0
    return [*replayed, *(item for item in live if item.offset > last)]
