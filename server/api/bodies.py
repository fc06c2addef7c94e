"""Request bodies: whole, valid UTF-8, and decoded into the very type that a route declares."""

from collections.abc import Callable
from typing import Any, cast

import msgspec
from litestar.connection import Request
from litestar.connection.base import empty_receive, empty_send
from litestar.types import Receive, Scope, Send

from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.fields import explain
from tidings.server.answers import Refused
from tidings.server.http import PeerGone

_JSON = b"application/json"

Decode = Callable[[bytes], Any]


class JsonRequest(Request[Any, Any, Any]):
    """A request whose `json()`, from which bodies are made, decodes strictly.

    Litestar would decode into plain values and convert them leniently: `"3503"` would pass for a number,
    and the path of a wrong field be lost.
    """

    __slots__ = ("_whole",)

    def __init__(self, scope: Scope, receive: Receive = empty_receive, send: Send = empty_send) -> None:
        """Take what an ASGI application is given."""
        super().__init__(scope, receive, send)
        self._whole: bytes | None = None

    async def body(self) -> bytes:
        """The whole body, read once. Raises BodyRefused, PeerGone.

        Litestar's own counts bytes that the front door has counted, through two generators.
        """
        if self._whole is None:
            pieces = []
            more = True
            while more:
                message = cast(dict[str, Any], await self.receive())
                if message["type"] == "http.disconnect":
                    raise PeerGone
                pieces.append(message["body"])
                more = message["more_body"]
            self._whole = b"".join(pieces)
        return self._whole

    async def json(self) -> Any:
        """The body as the type of the route's `data`, or as plain values where it has none.

        A body without Content-Type is taken for JSON, since nothing else is ever accepted here. Without a
        body the route's default stands, if it has one; Litestar sees to that. Raises Refused.
        """
        content_type = next(
            (value for name, value in self.scope["headers"] if name == b"content-type"), _JSON
        )
        if content_type.partition(b";")[0].strip().lower() != _JSON:
            raise Refused(
                ErrorCode.BAD_REQUEST, "Content-Type: this path takes application/json", status=415
            )
        return _decoded(await self.body(), self._decode())

    def _decode(self) -> Decode:
        """The route's decoder, made when its first body comes."""
        handler = self.route_handler
        decoders: dict[Any, Decode] = self.app.state.decoders
        decode = decoders.get(handler)
        if decode is None:
            field = handler.parsed_data_field
            kind = Any if field is None else field.annotation
            decoder = msgspec.json.Decoder(kind, dec_hook=handler.default_deserializer)
            decode = decoders[handler] = decoder.decode
        return decode


def _decoded(body: bytes, decode: Decode) -> Any:
    try:
        # msgspec does not look into strings that it skips: bad UTF-8 there would pass.
        body.decode()
        return decode(body)
    except UnicodeDecodeError as error:
        raise Refused(ErrorCode.BAD_REQUEST, f"the body is not UTF-8 from byte {error.start} on") from None
    except msgspec.ValidationError as error:
        raise Refused(ErrorCode.INVALID_DATA, explain(error)) from None
    except msgspec.DecodeError as error:
        raise Refused(ErrorCode.BAD_REQUEST, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise Refused(ErrorCode.INVALID_DATA, "the body is nested too deep") from None
