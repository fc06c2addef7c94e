"""Where the client's token comes from."""

import inspect
from collections.abc import Awaitable, Callable

import trio

from tidings.client.credentials import check_credential
from tidings.client.endings import told

#: A token, None for a server that is told later or wants none, or who to ask for one each time.
Token = str | Callable[[], str | Awaitable[str]] | None

# For the provider, which may ask a server of its own.
TOKEN_SECONDS = 30.0


class TokenFailed(Exception):
    """The provider gave no token."""


class TokenSource:
    """A fixed token, or a provider that is asked anew each time."""

    def __init__(self, token: Token) -> None:
        """Raises ValueError for a fixed token that cannot be one, without its value."""
        self._token = token if token is None or callable(token) else check_credential(token, "the token")

    @property
    def can_renew(self) -> bool:
        """Whether asking again may bring another token."""
        return callable(self._token)

    async def get(self) -> str | None:
        """The token now. Raises TokenFailed, with what the provider raised in words."""
        if not callable(self._token):
            await trio.lowlevel.checkpoint()
            return self._token
        try:
            with trio.fail_after(TOKEN_SECONDS):
                given = self._token()
                if inspect.isawaitable(given):
                    given = await given
                return check_credential(given, "the token")
        except trio.TooSlowError:
            raise TokenFailed(f"the token provider took longer than {TOKEN_SECONDS:g} s") from None
        except Exception as error:  # whatever a provider raises must not end a client that lives on
            raise TokenFailed(f"the token provider failed: {told(error)}") from error
