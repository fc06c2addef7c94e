"""Revocations in the server's database."""

from collections.abc import Sequence

import msgspec

from tidings.server.revocations import NotStored, Revocation
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.requests import Revocation as Row
from tidings.server.store.store import Store


class StoredRevocations:
    """A `RevocationStore` over the store, which must be running: what it has taken survives a crash."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, revocation: Revocation) -> None:
        """Store one; on disk when this returns. Raises NotStored."""
        row = Row(revocation.kind, revocation.value, revocation.before_ms, revocation.until_ms)
        try:
            await self._store.add_revocation(row)
        except StoreUnavailable as error:
            raise NotStored(str(error)) from error

    async def load(self) -> Sequence[Revocation]:
        """All whose time has not passed. Raises NotStored."""
        try:
            rows = await self._store.revocations()
            # A later version may have kinds that this one knows nothing of: then it must not start.
            return msgspec.convert(rows, list[Revocation], from_attributes=True)
        except (StoreUnavailable, msgspec.ValidationError) as error:
            raise NotStored(f"the revocations cannot be read: {error}") from error
