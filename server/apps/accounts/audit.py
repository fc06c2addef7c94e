"""The audit lines: who logged in, failed to, and changed what, of the logger `tidings.audit`.

Each event is a method that takes what may be said and nothing else, so that no caller can log a secret: no
password, no token, no name as it was typed at a login, and of a session only how it begins.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final, Literal

import structlog

from tidings.server.limits import Occasionally

FailureReason = Literal["wrong_password", "unknown_user", "rate_limited", "expired_password", "busy"]

# Enough to find the lines of one login, and nothing that could be shown as one.
_SESSION_CHARS: Final = 6

_FAILURES_PER_SECOND: Final = 10

_log = structlog.get_logger("tidings.audit")


class Audit:
    """Writes the audit lines. `user` is always an id; `by` is the id of who did it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a monotonic clock, in seconds."""
        self._failures = Occasionally(_FAILURES_PER_SECOND, clock)

    def logged_in(self, user: str, session: str, address: str, device: str | None, policy: str) -> None:
        """A password was right and a token was issued, under the policy `many` or `single`."""
        _log.info(
            "logged in",
            user=user,
            session=_short(session),
            peer=address,
            device=device or None,
            policy=policy,
        )

    def login_failed(self, user: str | None, reason: FailureReason, address: str) -> None:
        """No token was issued; ten lines a second at most, which say how many were held back.

        An unknown user's name is not said: people type their passwords there.
        """
        held = self._failures.passes()
        if held is not None:
            _log.warning("login failed", user=user, reason=reason, peer=address, held=held)

    def logged_out(self, user: str, session: str | None) -> None:
        """A user has ended a login."""
        _log.info("logged out", user=user, session=_short(session))

    def refreshed(self, user: str, session: str) -> None:
        """A login was given its next token."""
        _log.info("login refreshed", user=user, session=_short(session))

    def password_changed(self, user: str, by: str) -> None:
        """A user has set a password, knowing the old one."""
        _log.info("password changed", user=user, by=by)

    def password_reset(self, user: str, by: str) -> None:
        """An administrator has set a temporary password."""
        _log.info("password reset", user=user, by=by)

    def user_created(self, user: str, by: str) -> None:
        """There is a new user."""
        _log.info("user created", user=user, by=by)

    def user_updated(self, user: str, by: str, fields: Iterable[str]) -> None:
        """Fields of a user have changed: their names, never what is in them."""
        _log.info("user updated", user=user, by=by, fields=" ".join(sorted(fields)))

    def user_deleted(self, user: str, by: str) -> None:
        """A user is no more."""
        _log.info("user deleted", user=user, by=by)

    def forced_out(self, user: str, connections: int) -> None:
        """Connections of a user were told that their login has ended, and are closed."""
        _log.info("force_logout", user=user, closed=connections)


def _short(session: str | None) -> str | None:
    return None if session is None else session[:_SESSION_CHARS]
