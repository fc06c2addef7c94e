"""An HTTP request and its answer without a connection: what the application behind the front door sees."""

from typing import Any

import msgspec
import trio

from tidings.server.http import Headers, PeerGone, Request


def request(target: str = "/", method: str = "GET", **more: Any) -> Request:
    """A request's head."""
    fields: dict[str, Any] = {
        "headers": [(b"host", b"x")],
        "http_version": "1.1",
        "peer": "192.0.2.1",
        "secure": False,
    }
    return Request(method, target, **(fields | more))


class MemoryExchange:
    """An exchange that keeps what it is told; `fails` is what reading the body raises at its end."""

    def __init__(self, head: Request, *body: bytes, fails: Exception | None = None) -> None:
        self.request = head
        self.always: Headers = []
        self.told: list[Any] = []
        self.gone = False
        self._body = list(body)
        self._fails = fails

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._body:
            return self._body.pop(0)
        if self._fails is not None:
            raise self._fails
        return b""

    async def start(self, status: int, headers: Headers) -> None:
        await trio.lowlevel.checkpoint()
        if self.gone:
            raise PeerGone
        self.told.append((status, [*headers, *self.always]))

    async def send(self, data: bytes, *, more: bool = False) -> None:
        await trio.lowlevel.checkpoint()
        if self.gone:
            raise PeerGone
        self.told.append((data, more))

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(self.told[0][0])

    @property
    def headers(self) -> dict[str, str]:
        """Its headers, names in lower case."""
        return {name.decode().lower(): value.decode() for name, value in self.told[0][1]}

    @property
    def content(self) -> bytes:
        """Its body, which must be complete."""
        assert not self.told[-1][1], "the answer is not complete"
        return b"".join(data for data, _ in self.told[1:])

    @property
    def json(self) -> Any:
        """Its body, decoded."""
        return msgspec.json.decode(self.content)
