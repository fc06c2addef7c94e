"""A new token on a living connection, before the old one ends."""

import time

import msgspec
import trio

from tidings.client.errors import CommandRefused
from tidings.client.link import ANSWER_SECONDS, Link, Lost
from tidings.client.tokens import TokenFailed, TokenSource
from tidings.protocol.messages import answers

# After a refused or failed attempt to renew a token.
RENEW_SECONDS = 5.0

# A token is renewed when so much of its life is over: the server warns 60 s ahead, which is no warning to
# one that lives for a minute.
RENEW_AT = 0.8

wall_clock = time.time
"""Unix seconds: what tokens end by."""


class Renewal:
    """Replaces the token of one connection: in time by our own clock, or when the server says so."""

    def __init__(self, tokens: TokenSource) -> None:
        self._tokens = tokens
        self._expiring = trio.Event()

    def expiring(self) -> None:
        """The server says that the token ends soon."""
        self._expiring.set()

    async def run(self, link: Link) -> None:
        """Renew, for as long as the connection lives."""
        expires_at = (await link.wait_welcome()).expires_at
        while True:
            with trio.move_on_after(self._until(expires_at)):
                await self._expiring.wait()
            self._expiring = trio.Event()
            renewed = not self._tokens.can_renew
            while not renewed:
                with trio.move_on_after(ANSWER_SECONDS):
                    try:
                        reply = await link.ask("refresh", {"token": await self._tokens.get()})
                        expires_at = msgspec.json.decode(reply.data, type=answers.Refreshed).expires_at
                        renewed = True
                    except Lost:
                        return
                    except (CommandRefused, TokenFailed):
                        # Until the server closes with 3005; then a new connection asks for a token again.
                        pass
                if not renewed:
                    await trio.sleep(RENEW_SECONDS)

    def _until(self, expires_at: int) -> float:
        """Seconds until a token is renewed unasked."""
        left = expires_at - wall_clock()
        # With nobody to ask, or a clock that is wrong, the server's word has to do.
        if not self._tokens.can_renew or left <= 0:
            return float("inf")
        return max(RENEW_SECONDS, left * RENEW_AT)
