"""A broker in memory that fails, hangs and tells what it was asked, as a test wants it to."""

from collections.abc import Iterator
from typing import Any

import msgspec
import trio

from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Member
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.policies import Policies


class UnsteadyBroker(MemoryBroker):
    """Does what is asked about presence before it fails, or without ever doing it."""

    def __init__(self, policies: Policies) -> None:
        self.delivered: list[Publication] = []
        super().__init__(self.delivered.append, policies=policies)
        self.failures: Iterator[tuple[Exception | None, bool]] = iter(())
        """For each call: what it raises, and whether it is done all the same. At the end all is well."""
        self.hangs: trio.Event | None = None
        """Calls do not return before this is set."""
        self.calls: list[tuple[Any, ...]] = []
        self.told: list[tuple[float, str, str, str]] = []
        """What was announced: when, channel, event, user id."""

    async def enter(self, channel: str, member: Member) -> bool:
        self.calls.append(("enter", channel, member.user_id))
        error = await self._begin()
        if error is not None and not error[1]:
            raise error[0]
        first = await super().enter(channel, member)
        if error is not None:
            raise error[0]
        return first

    async def leave(self, channel: str, user_id: str) -> bool:
        self.calls.append(("leave", channel, user_id))
        error = await self._begin()
        if error is None or error[1]:
            await super().leave(channel, user_id)
        if error is not None:
            raise error[0]
        return True

    async def announce(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        excluded_session: str | None = None,
    ) -> None:
        error = await self._begin()
        if error is not None:
            raise error[0]
        told = msgspec.json.decode(payload)
        assert told["channel"] == channel
        assert told["user_id"] == user_id
        self.told.append((trio.current_time(), channel, event, str(user_id)))
        await super().announce(channel, event, payload, user_id=user_id, excluded_session=excluded_session)

    async def _begin(self) -> tuple[Exception, bool] | None:
        if self.hangs is not None:
            await self.hangs.wait()
        error, is_done = next(self.failures, (None, False))
        return None if error is None else (error, is_done)
