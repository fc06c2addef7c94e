"""Who the users are, as far as an app of this server knows: what other apps ask of it."""

from typing import Protocol


class UserDirectory(Protocol):
    """Kept by one app, as `accounts`. Where there is none, users are whoever a token names."""

    async def has_user(self, user_id: str) -> bool:
        """Whether there is a user with this id. Raises StoreUnavailable."""
