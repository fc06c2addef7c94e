"""What a server holds is looked at while nothing is on its way."""

import os
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from tidings.bench.holdings import Holdings, holdings
from tidings.bench.replies import ServerState

SECONDS = 10.0


class _Looked:
    """A server that has one state a look, the last again and again."""

    pid = os.getpid()

    def __init__(self, *outbox_bytes: int) -> None:
        self._outbox_bytes = list(outbox_bytes)
        self.deep: list[bool] = []

    async def ask(self, reply: type[ServerState], do: str, *, deep: bool) -> ServerState:
        """The next of its states."""
        assert do == "stats"
        self.deep.append(deep)
        waiting = self._outbox_bytes.pop(0) if len(self._outbox_bytes) > 1 else self._outbox_bytes[0]
        statistics = dict.fromkeys(("connections", "users", "channels", "subscriptions"), 3)
        return reply(
            statistics=statistics | {"outbox_bytes": waiting},
            closes={},
            objects={"Task": 7} if deep else {},
            blocks=0,
            sockets=3,
            handled=3,
            addresses=1,
            tasks=7,
        )


async def _held(server: Any, like: Holdings | None = None) -> Holdings:
    return await holdings(server, like, SECONDS)


@pytest.mark.parametrize(
    ("outbox_bytes", "deep"),
    [
        ((0,), [False, True]),
        # A heartbeat before the collection, and one after it.
        ((2, 0), [False, False, True]),
        ((0, 2, 0), [False, True, True]),
    ],
)
async def test_a_heartbeat_on_its_way_is_nothing_held(
    autojump_clock: MockClock, outbox_bytes: tuple[int, ...], deep: list[bool]
) -> None:
    """Neither what is compared nor what it is compared with is of a moment in which one is written."""
    server = _Looked(*outbox_bytes)
    alone = await _held(server)
    assert (alone.outbox_bytes, alone.objects, server.deep) == (0, {"Task": 7}, deep)
    server = _Looked(*outbox_bytes)
    assert await _held(server, alone) == alone
    assert server.deep == deep


async def test_what_stays_is_told(autojump_clock: MockClock) -> None:
    """What is still there after all patience is held; the collection is made once."""
    alone = await _held(_Looked(0))
    server = _Looked(2)
    left = await _held(server, alone)
    assert left.difference(alone) == "outbox_bytes: 2 instead of 0"
    assert server.deep.count(True) == 1


def test_a_difference_between_holdings_is_named() -> None:
    """By number, and by class of object."""
    empty = Holdings(0, 0, 0, 0, 0, 0, 0, 0, 12, 11, {"Task": 12, "Outbox": 0})
    assert empty.difference(empty) == ""
    left = msgspec.structs.replace(empty, descriptors=12, objects={"Task": 12, "Outbox": 1})
    assert left.difference(empty) == "descriptors: 12 instead of 11, objects: Outbox: 1 instead of 0"
