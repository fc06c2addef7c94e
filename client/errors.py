"""Everything that the client and the publishers raise of their own."""


class ClientError(Exception):
    """What all errors of this package have in common."""


class CommandRefused(ClientError):
    """The server refused a command; the connection goes on."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        """One of `tidings.protocol.errors.ErrorCode`, or a later server's."""
        self.message = message
        self.retry_after = retry_after
        """Seconds to wait before the same command can succeed, where the server said so."""


class ConnectionLost(ClientError):
    """The connection ended between a command and its answer: nobody knows whether it was carried out."""


class Disconnected(ClientError):
    """The client has ended and will not reconnect."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        """The close code of the WebSocket, or the HTTP status with which the handshake was refused."""
        self.reason = reason


class Overflow(ClientError):
    """A subscriber did not keep up. What was dropped stood exactly where this is raised; iterating goes on."""

    def __init__(self, dropped: int) -> None:
        super().__init__(f"{dropped} dropped: the subscriber does not keep up")
        self.dropped = dropped


class QueueFull(ClientError):
    """As many messages wait to be sent as may: this one was not taken."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} messages wait to be sent: wait for `flush`, or let more of them wait (outbox={limit})"
        )
        self.limit = limit


class PublishRefused(ClientError):
    """The server answered a publisher with a refusal."""

    def __init__(
        self, status: int | None, code: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{code}: {message}" if status is None else f"HTTP {status}, {code}: {message}")
        self.status = status
        """The HTTP status; None for one publication of a batch, whose answer as a whole was 200."""
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds, where the server named them."""


class PublishFailed(ClientError):
    """No answer came, however often it was tried; nobody knows whether the last attempt was carried out."""

    def __init__(self, attempts: int, why: str) -> None:
        super().__init__(f"no answer after {attempts} attempt{'s' if attempts > 1 else ''}: {why}")
        self.attempts = attempts
        self.why = why
