"""Every refusal becomes an answer of one shape, whoever refuses."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from litestar.connection import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response
from litestar.types import ExceptionHandlersMap

from tidings.protocol.errors import ErrorCode
from tidings.server.answers import RETRY_SECONDS, ErrorBody, ErrorDetail, Refused
from tidings.server.http import BodyRefused, PeerGone
from tidings.server.store.errors import StoreUnavailable

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


def _on_store_unavailable(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Why is for the log: it names hosts and users."""
    _log.warning("the database does not answer", error=str(error))
    return _answer(503, ErrorCode.UNAVAILABLE, "the database does not answer: try again soon")


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
        StoreUnavailable: _on_store_unavailable,
        Exception: _on_fault,
    },
)
