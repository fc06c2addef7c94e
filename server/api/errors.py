"""What a refused request is answered: one shape, whoever refuses it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, cast

import structlog
from litestar.connection import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response
from litestar.types import ExceptionHandlersMap
from msgspec import Meta, Struct

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.http import BodyRefused, PeerGone

# As the handshake's: soon, but not all in the same second as a load balancer's retry.
RETRY_SECONDS = 5

STATUSES: Mapping[ErrorCode, int] = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNKNOWN_TYPE: 400,
    ErrorCode.INVALID_DATA: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.UNRECOVERABLE: 410,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.LIMIT_REACHED: 429,
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNAVAILABLE: 503,
}

# The other way round, for what Litestar and the routes of apps raise with a status alone.
_CODES: Mapping[int, ErrorCode] = {
    401: ErrorCode.UNAUTHORIZED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    409: ErrorCode.CONFLICT,
    410: ErrorCode.UNRECOVERABLE,
    413: ErrorCode.TOO_LARGE,
    429: ErrorCode.RATE_LIMITED,
    501: ErrorCode.UNAVAILABLE,
    502: ErrorCode.UNAVAILABLE,
    503: ErrorCode.UNAVAILABLE,
    504: ErrorCode.UNAVAILABLE,
}

_INTERNAL = "the server failed to do this; it was not your fault"

_log = structlog.get_logger("tidings.api")


class ErrorDetail(Struct, frozen=True):
    """Why a request was refused."""

    code: Annotated[str, Meta(description="For programs: one of a fixed set.", examples=["invalid_data"])]
    message: Annotated[
        str,
        Meta(
            description="For people: what is wrong, and with which field.",
            examples=["Expected `str`, got `int` - at `$.channel`"],
        ),
    ]


class ErrorBody(Struct, frozen=True):
    """The body of every answer that is no success."""

    error: ErrorDetail


class Refused(HTTPException):
    """Ends a request with a refusal. Routes raise it; it is an answer, no fault."""

    def __init__(
        self, code: ErrorCode, message: str, *, status: int = 0, headers: dict[str, str] | None = None
    ) -> None:
        """Take what the client is told; the status follows from the code unless one is given."""
        super().__init__(detail=message, status_code=status or STATUSES[code], headers=headers)
        self.code = code


def refused(refusal: Refusal) -> Refused:
    """A refusal of the layers below, as a request's end."""
    return Refused(refusal.code, refusal.message)


def detail_of(refusal: Refusal) -> ErrorBody:
    """A refusal as part of an answer about several things."""
    return ErrorBody(ErrorDetail(refusal.code.value, refusal.message))


def _answer(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response[ErrorBody]:
    headers = dict(headers or {})
    if status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_SECONDS))
    body = ErrorBody(ErrorDetail(code, message))
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _on_http_exception(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    status = error.status_code
    if status >= 500 and status not in _CODES:
        # Nobody chooses 500: it is what Litestar makes of its own faults.
        _log.error("request failed", exc_info=error)
        return _answer(500, ErrorCode.INTERNAL, _INTERNAL)
    headers = dict(error.headers or {})
    if isinstance(error, Refused):
        return _answer(status, error.code, error.detail, headers)
    if isinstance(error, ValidationException):
        return _answer(status, ErrorCode.INVALID_DATA, _what_is_wrong(error), headers)
    if status == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:
        # The router's; an app that has something to say says it.
        return _answer(status, ErrorCode.NOT_FOUND, "nothing at this path", headers)
    if status == 405:
        allowed = _with_head(headers.pop("allow", headers.pop("Allow", "")))
        return _answer(
            status, ErrorCode.BAD_REQUEST, f"this path takes {allowed}", headers | {"Allow": allowed}
        )
    return _answer(status, _CODES.get(status, ErrorCode.BAD_REQUEST), error.detail, headers)


def _what_is_wrong(error: ValidationException) -> str:
    """Litestar's list of wrong parameters, in a sentence."""
    wrong = error.extra if isinstance(error.extra, list) else []
    said = [_say(item) for item in wrong if isinstance(item, dict)]
    return "; ".join(said) or error.detail


def _say(item: Mapping[str, Any]) -> str:
    name, message = item.get("key", ""), item.get("message", "")
    if message == repr(name):  # of a KeyError
        return "a JSON body is needed" if name == "data" else f"{name}: is needed"
    return f"{name}: {message}"


def _with_head(allowed: str) -> str:
    """The methods that a path takes, with HEAD, which is answered wherever GET is."""
    methods = {method.strip() for method in allowed.split(",") if method.strip()}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _on_body_refused(_: Request[Any, Any, Any], error: BodyRefused) -> Response[Any]:
    """The front door has the answer ready, and puts it in place of this one."""
    response = error.response
    return Response(
        response.body,
        status_code=response.status,
        media_type=response.content_type,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers},
    )


def _on_peer_gone(_: Request[Any, Any, Any], __: PeerGone) -> Response[Any]:
    """Nobody reads this."""
    return _answer(400, ErrorCode.BAD_REQUEST, HTTPStatus.BAD_REQUEST.phrase)


def _on_fault(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What nobody foresaw: the client learns that it happened, the log what."""
    _log.error("request failed", path=request.scope.get("path_template"), exc_info=error)
    return _answer(500, ErrorCode.INTERNAL, _INTERNAL)


EXCEPTION_HANDLERS = cast(
    ExceptionHandlersMap,
    {
        HTTPException: _on_http_exception,
        BodyRefused: _on_body_refused,
        PeerGone: _on_peer_gone,
        Exception: _on_fault,
    },
)
