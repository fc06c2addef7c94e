"""What routes answer a refused request with, ours and those of apps, and how they say so in `/openapi.json`."""

from collections.abc import Mapping
from typing import Annotated

from litestar import HttpMethod, Response, route
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import SecurityRequirement
from msgspec import Meta, Struct

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.access import CHALLENGE

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
        status = status or STATUSES[code]
        if status == 401:
            # RFC 9110 section 15.5.2: it must come with a challenge, wherever below the refusal was made.
            headers = CHALLENGE | (headers or {})
        super().__init__(detail=message, status_code=status, headers=headers)
        self.code = code


def refused(refusal: Refusal) -> Refused:
    """A refusal of the layers below, as a request's end."""
    return Refused(refusal.code, refusal.message)


def detail_of(refusal: Refusal) -> ErrorBody:
    """A refusal as part of an answer about several things."""
    return ErrorBody(ErrorDetail(refusal.code.value, refusal.message))


#: Either of them.
SECURITY: list[SecurityRequirement] = [{"token": []}, {"api_key": []}]

_WORDS: Mapping[int, str] = {
    400: "The request is malformed; the message says where.",
    401: "No credentials, or wrong ones.",
    403: "These credentials do not suffice, or the thing may not be published by anybody.",
    404: "Nothing at this path.",
    405: "This path does not take this method; `Allow` says which it takes.",
    408: "The body did not come in time.",
    409: "The idempotency key was used before, for another publication.",
    413: "The body or the batch is too large.",
    415: "The body is not application/json.",
    417: "`Expect` asks for something other than 100-continue.",
    429: "Too many requests or connections; `Retry-After` says in how many seconds to come again.",
    431: "The request's head is too large.",
    500: "The server failed to do this; it was not the client's fault.",
    503: "Not now: shutting down, full, or too slow; `Retry-After` says when to come again.",
}

# What any request may meet, whatever its path.
_ALWAYS = (400, 404, 405, 408, 429, 431, 500, 503)

# What whoever must say who they are may meet, and who must be an administrator beside that.
_GUARDED = (401,)
_FOR_ADMINS = (403,)

# What whoever sends a body may meet. The front door bounds bodies that nobody asked for, too.
_WITH_BODY = (413, 415, 417)


def answers(
    *more: int,
    body: bool = False,
    guarded: bool = True,
    admins: bool = True,
    words: Mapping[int, str] = {},
) -> dict[int, ResponseSpec]:
    """The refusals of a route: those that any may give, and `more`; `words` say what they mean there.

    `guarded` routes want credentials; with `admins` those of an administrator.
    """
    statuses = {*_ALWAYS, *more, *words, *(_WITH_BODY if body else ())}
    if guarded:
        statuses |= {*_GUARDED, *(_FOR_ADMINS if admins else ())}
    told = {**_WORDS, **words}
    return {
        status: ResponseSpec(ErrorBody, generate_examples=False, description=told[status])
        for status in sorted(statuses)
    }


def options(path: str, *methods: HttpMethod) -> HTTPRouteHandler:
    """The answer to OPTIONS of a path that takes several methods: to stand before their handlers.

    Litestar makes one with the first of the handlers, which would tell its method alone.
    """
    allowed = ", ".join(sorted([*methods, HttpMethod.OPTIONS]))

    @route(path, http_method=HttpMethod.OPTIONS, status_code=204, include_in_schema=False)
    async def tell() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allowed})

    return tell
