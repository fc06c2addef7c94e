"""Logins that this server makes itself, and ends: what an app that keeps users builds on.

The record of a user is its app's; what of it every token is asked about is here (`LoginCuts`), put in force in the
very step in which the record's commit comes back to the loop. So nobody is let in, on this node, by a login that
the record has ended.
"""

import secrets
import time
from collections.abc import Callable, Collection
from typing import Final

import msgspec
import structlog
import trio

from tidings.protocol.channels import user_channel
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.publications import Publication
from tidings.server.auth import Authenticator, CannotIssue
from tidings.server.brokers.base import Broker, BrokerUnavailable
from tidings.server.delivery.encoding import encoded, framed
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.hub import Hub
from tidings.server.identity import Identity
from tidings.server.login_cuts import LoginCut
from tidings.server.revocations import MARGIN_MS, RESERVED
from tidings.server.revoker import Revoker

# What other nodes are still to be told. A login of a user is some 300 bytes.
_WAITING: Final = 10_000

_log = structlog.get_logger("tidings.logins")


class IssuedToken(msgspec.Struct, frozen=True):
    """A token, and when it ends."""

    token: str
    expires_at: int
    """Unix seconds."""


class Farewell(msgspec.Struct, frozen=True):
    """What connections are told before they are closed. Never stored: it is for who is there, and nobody later."""

    event: str
    payload: dict[str, str]


class Ending(msgspec.Struct, frozen=True, tag="logins_ended"):
    """Connections of a user whose logins have ended are to be closed; what nodes tell each other, as JSON."""

    origin: str
    user_id: str
    cut: LoginCut | None
    """To be put in force; None where it is already."""
    code: CloseCode | None
    """With which connections are closed now; None where something has to be told to them before."""
    reason: str | None
    farewell: Farewell | None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Ending).decode


class Logins:
    """Issues tokens and ends logins. Belongs to one server; `run` is a task of it."""

    def __init__(
        self,
        authenticator: Authenticator,
        revoker: Revoker,
        hub: Hub,
        broker: Broker,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take whose tokens they are, whom they let in, and the wall clock (Unix seconds)."""
        self._authenticator = authenticator
        self._revoker = revoker
        self._hub = hub
        self._broker = broker
        self._clock = clock
        self._origin = secrets.token_hex(8)
        self._send, self._receive = trio.open_memory_channel[Ending](_WAITING)

    def now_ms(self) -> int:
        """Unix milliseconds, by the clock that tokens follow."""
        return int(self._clock() * 1000)

    # --- beginning -----------------------------------------------------------------------------------

    def issue(
        self,
        user_id: str,
        *,
        username: str,
        roles: Collection[str],
        ttl: int,
        session_id: str,
        logged_in_ms: int,
        group_id: str | None = None,
        number: int | None = None,
        device: str = "",
    ) -> IssuedToken | None:
        """A token of a login, of a user's `number`-th; None where that login has ended meanwhile.

        Raises AuthConfigError where the server has no key to sign with, and ValueError for what no token can say.
        """
        try:
            token = self._authenticator.issue(
                user_id,
                username=username,
                roles=roles,
                ttl=ttl,
                session_id=session_id,
                logged_in_ms=logged_in_ms,
                group_id=group_id,
                login_number=number,
                device=device,
            )
        except CannotIssue as error:
            if error.refusal.reason == "revoked":
                return None
            raise
        identity = self._authenticator.verify(token)
        return IssuedToken(token, identity.expires_at) if isinstance(identity, Identity) else None

    def provable_ms(self, user_id: str, logged_in_ms: int) -> int:
        """What a login of now may say as its time, as `Revocations.provable_ms`."""
        return self._authenticator.revocations.provable_ms(user_id, logged_in_ms)

    def has_ended(self, identity: Identity) -> bool:
        """Whether the login behind an identity has ended since its token was looked at.

        To be asked again, without an await between the answer and what it permits.
        """
        return self._authenticator.is_revoked(identity)

    # --- ending --------------------------------------------------------------------------------------

    async def log_out(self, identity: Identity, *, longest: int) -> int | Refusal:
        """End one login, of which tokens may live for `longest` seconds; returns how many connections that closed.

        As `Revoker.revoke`, also when cancelled. What is kept for revocations has room for administrators when
        there is none for this.
        """
        now = int(self._clock())
        if identity.login_number is None:
            # Of another issuer, who may make them live as long as any.
            longest = self._authenticator.longest_seconds
        expires_at = max(identity.expires_at, now + longest) + 1
        if identity.session_id is not None:
            outcome = await self._revoker.revoke(
                "session", identity.session_id, expires_at=expires_at, reserve=RESERVED
            )
        elif identity.token_id is not None:
            outcome = await self._revoker.revoke(
                "token", identity.token_id, expires_at=expires_at, reserve=RESERVED
            )
        else:
            return Refusal(
                ErrorCode.FORBIDDEN,
                "this token names neither its login (sid) nor itself (jti): its issuer has to end it",
            )
        return outcome if isinstance(outcome, Refusal) else outcome.closed

    @property
    def span_ms(self) -> int:
        """For how long after a cut it has to be remembered, in milliseconds."""
        return (self._authenticator.longest_seconds + self._authenticator.leeway) * 1000 + MARGIN_MS

    def cut(self, user_id: str, number: int, before_ms: int, spared: str | None = None) -> LoginCut:
        """What ends the logins of a user, but for one, as long as a token of them may live. Nothing is done yet."""
        return LoginCut(user_id, number, before_ms, spared, before_ms + self.span_ms)

    def restore(self, cut: LoginCut) -> None:
        """Put in force what a record says, before the first connection."""
        self._authenticator.revocations.cuts.apply(cut)

    def end(
        self,
        cut: LoginCut,
        *,
        code: CloseCode | None = None,
        reason: str | None = None,
        farewell: Farewell | None = None,
    ) -> int:
        """Put a cut in force, here and on the other nodes; returns how many connections were closed here.

        Synchronous, and whole: from this step on nobody comes in by these logins, and with a `code` whoever is
        connected by one has been told the farewell, and closed. Without one they stay until `close_ended`: for what
        they have to hear first. The other nodes do the same when they hear of it.
        """
        return self._do_and_tell(Ending(self._origin, cut.user_id, cut, code, reason, farewell))

    def close_ended(self, user_id: str, code: CloseCode, reason: str | None = None) -> int:
        """Close the connections of a user whose logins have ended; returns how many that were here."""
        return self._do_and_tell(Ending(self._origin, user_id, None, code, reason, None))

    def _do_and_tell(self, ending: Ending) -> int:
        closed = self._do(ending)
        try:
            self._send.send_nowait(ending)
        except trio.WouldBlock:
            # They find it in the users' records when they start; until then a token is good there.
            _log.error("other nodes cannot be told that logins have ended", user=ending.user_id)
        return closed

    def _do(self, ending: Ending) -> int:
        """No await in here: between the cut and the close nobody may come in, nor anything come between."""
        cut = ending.cut
        if cut is not None:
            self._authenticator.revocations.cuts.apply(cut)
        if ending.code is None:
            return 0
        ended = [
            connection
            for connection in self._hub.connections_of(ending.user_id)
            if self._authenticator.is_revoked(connection.identity)
        ]
        closed = 0
        for connection in ended:
            if ending.farewell is not None:
                self._tell(connection, ending.farewell)
            closed += connection.close(ending.code, ending.reason)
        return closed

    def _tell(self, connection: Subscriber, farewell: Farewell) -> None:
        """Say farewell to one connection, behind all that was published for it.

        Not by the user's channel. There a login that goes on would hear it too, where a node hears late of a cut
        that another has followed; and who is still being sent what it missed would get it behind all of that, so
        never.
        """
        self._hub.settle(connection)
        # It has no position, so that nobody takes it for something that is kept.
        said = Publication(
            user_channel(connection.identity.user_id),
            farewell.event,
            _encode(farewell.payload),
            0,
            "",
            self.now_ms(),
            connection.identity.user_id,
        )
        for frame in framed(connection.dialect, connection.framing, encoded(connection.dialect, [said])):
            connection.offer(frame)

    # --- nodes ---------------------------------------------------------------------------------------

    def told(self, sender: str, message: bytes) -> None:  # noqa: ARG002  of the kind NodeMessage
        """Take what a node says. Never raises; messages of another kind, and our own, are left alone."""
        try:
            ending = _decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if ending.origin != self._origin:
            self._do(ending)

    async def run(self) -> None:
        """Tell the other nodes, until cancelled."""
        async for ending in self._receive:
            try:
                await self._broker.tell_nodes(_encode(ending))
            except BrokerUnavailable as error:
                _log.error(
                    "other nodes were not told that logins have ended",
                    user=ending.user_id,
                    error=str(error),
                )
